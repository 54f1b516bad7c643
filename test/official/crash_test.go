package official

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ack is a write that the server has promised to keep.
type ack struct {
	key, value string
	rev        int64
}

// writer writes ever new values to its own key and notes what was acknowledged, until it is told to stop.
type writer struct {
	key  string
	acks []ack
	errs int
}

func (w *writer) run(ctx context.Context, c *clientv3.Client) {
	for i := 0; ctx.Err() == nil; i++ {
		value := fmt.Sprintf("%s/%d", w.key, i)
		put, err := c.Put(ctx, w.key, value)
		if err != nil {
			w.errs++
			select { // not known to have happened; a later one will tell
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		w.acks = append(w.acks, ack{w.key, value, put.Header.Revision})
	}
}

// storm keeps writers writing while the server is killed and started again, and returns all that was acknowledged.
func storm(t *testing.T, p *process, writers, kills int) []ack {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ws := make([]*writer, writers)
	var wg sync.WaitGroup
	const perClient = 10
	for i := 0; i < writers; i += perClient {
		c := p.client()
		for j := i; j < min(i+perClient, writers); j++ {
			ws[j] = &writer{key: fmt.Sprintf("w%03d", j)}
			wg.Go(func() { ws[j].run(ctx, c) })
		}
	}
	for range kills {
		time.Sleep(100*time.Millisecond + rand.N(200*time.Millisecond))
		p.kill()
		p.start()
	}
	time.Sleep(100 * time.Millisecond)
	stop()
	wg.Wait()
	var acks []ack
	for _, w := range ws {
		acks = append(acks, w.acks...)
	}
	return acks
}

// history reads every event since the first, ordered.
func history(t *testing.T, c *clientv3.Client, rev int64) []*clientv3.Event {
	t.Helper()
	if rev < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out []*clientv3.Event
	for resp := range c.Watch(ctx, "", clientv3.WithFromKey(), clientv3.WithRev(2)) {
		require.NoError(t, resp.Err())
		out = append(out, resp.Events...)
		if len(out) > 0 && out[len(out)-1].Kv.ModRevision >= rev {
			return out
		}
	}
	t.Fatal("the history ends early")
	return nil
}

// A write that was acknowledged is there after any crash, at the revision that was told.
func TestNoAcknowledgedWriteIsLost(t *testing.T) {
	t.Parallel()
	kills := 4
	if *long {
		kills = 60
	}
	p := start(t)
	acks := storm(t, p, 50, kills)
	require.Greater(t, len(acks), 50)
	c := p.client()
	get, err := c.Get(within(t, patience), "w", clientv3.WithPrefix())
	require.NoError(t, err)
	byRev := map[int64]*mvccpb.KeyValue{}
	last := int64(1)
	for _, ev := range history(t, c, get.Header.Revision) {
		require.Equal(t, last+1, ev.Kv.ModRevision, "the history has a gap")
		last = ev.Kv.ModRevision
		byRev[last] = ev.Kv
	}
	for _, a := range acks {
		kv := byRev[a.rev]
		require.NotNil(t, kv, "lost: %v", a)
		require.Equal(t, a.key, string(kv.Key), "revision %d", a.rev)
		require.Equal(t, a.value, string(kv.Value), "revision %d", a.rev)
	}
	t.Logf("%d acknowledged writes, %d kept, %d kills", len(acks), len(byRev), kills)
	p.stop()
}

// A watch of the official client goes on over crashes: every change once, in order.
func TestWatchResumesAcrossCrashes(t *testing.T) {
	t.Parallel()
	kills := 4
	if *long {
		kills = 60
	}
	p := start(t)
	type seen struct {
		events []*clientv3.Event
		err    error
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var final int64
	finalKnown := make(chan struct{})
	results := make(chan seen, 2)
	watch := func(opts ...clientv3.OpOption) {
		var s seen
		defer func() { results <- s }()
		next := int64(2)
		for resp := range p.client().Watch(ctx, "", append(opts, clientv3.WithFromKey(), clientv3.WithRev(2))...) {
			if s.err = resp.Err(); s.err != nil {
				return
			}
			for _, ev := range resp.Events {
				if ev.Kv.ModRevision != next {
					s.err = fmt.Errorf("revision %d where %d was due", ev.Kv.ModRevision, next)
					return
				}
				next++
				s.events = append(s.events, ev)
			}
			select {
			case <-finalKnown:
				if next > final {
					return
				}
			default:
			}
		}
		s.err = fmt.Errorf("the watch ended at revision %d", next)
	}
	go watch()
	go watch(clientv3.WithPrevKV(), clientv3.WithFragment(), clientv3.WithProgressNotify())
	acks := storm(t, p, 8, kills)
	// One more change, so that the watchers get something after they can know where to end.
	c := p.client()
	get, err := c.Get(within(t, patience), "w", clientv3.WithCountOnly())
	require.NoError(t, err)
	final = get.Header.Revision + 1
	close(finalKnown)
	_, err = c.Put(within(t, patience), "z", "end")
	require.NoError(t, err)
	for range 2 {
		select {
		case s := <-results:
			require.NoError(t, s.err)
			for _, a := range acks {
				ev := s.events[a.rev-2]
				require.Equal(t, a.value, string(ev.Kv.Value), "revision %d", a.rev)
			}
		case <-time.After(patience):
			t.Fatalf("a watcher does not get to revision %d\n%s", final, p.out)
		}
	}
}
