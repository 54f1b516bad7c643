package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

// keyspace is a store with its hub, written by the test.
type keyspace struct {
	t     *testing.T
	eng   engine.Engine
	store *mvcc.Store
	hub   *Hub

	mu   sync.Mutex
	view mvcc.View
	all  []wire.Change // everything that ever happened
}

func (k *keyspace) KV() mvcc.View {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.view
}

func newKeyspace(t *testing.T) *keyspace {
	eng := mem.New()
	store, err := mvcc.Open(eng, nil)
	require.NoError(t, err)
	k := &keyspace{t: t, eng: eng, store: store, view: store.View()}
	k.hub = NewHub(k, 1)
	return k
}

// tx runs one transaction and publishes it, unless hold is set.
func (k *keyspace) tx(f func(b engine.Batch)) {
	b := k.eng.NewBatch()
	f(b)
	k.store.End()
	require.NoError(k.t, k.eng.Commit(b))
	changes := k.store.TakeChanges()
	k.mu.Lock()
	k.view = k.store.View()
	k.all = append(k.all, changes...)
	k.mu.Unlock()
	k.hub.Publish(k.store.Rev(), changes)
}

func (k *keyspace) put(key, value string) {
	k.tx(func(b engine.Batch) { k.store.Put(b, []byte(key), []byte(value), 0) })
}

func (k *keyspace) delete(r wire.Range) {
	k.tx(func(b engine.Batch) { k.store.Delete(b, r, nil) })
}

// client is the other end of a stream.
type client struct {
	t      *testing.T
	stream *Stream
	cancel context.CancelFunc
	done   chan error
	got    chan *pb.WatchResponse
	gate   chan struct{} // closed: responses flow
}

func (k *keyspace) connect(cfg Config) *client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{t: k.t, cancel: cancel, done: make(chan error, 1), got: make(chan *pb.WatchResponse, 100000), gate: make(chan struct{})}
	close(c.gate)
	cfg.ClusterID, cfg.MemberID = 7, 8
	cfg.Term = func() uint64 { return 3 }
	if cfg.ProgressInterval == 0 {
		cfg.ProgressInterval = time.Hour
	}
	if cfg.FragmentBytes == 0 {
		cfg.FragmentBytes = 1 << 20
	}
	cfg.Send = func(f *wire.Frame) error {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
		var b []byte
		for _, x := range f.Bufs {
			b = append(b, x...)
		}
		if len(b) != f.Size {
			return errors.New("frame size is wrong")
		}
		r := &pb.WatchResponse{}
		if err := proto.Unmarshal(b, r); err != nil {
			return err
		}
		c.got <- r
		return nil
	}
	c.stream = k.hub.NewStream(cfg)
	go func() { c.done <- c.stream.Run(ctx) }()
	k.t.Cleanup(func() {
		cancel()
		require.ErrorIs(k.t, <-c.done, context.Canceled)
	})
	return c
}

func (c *client) next() *pb.WatchResponse {
	c.t.Helper()
	select {
	case r := <-c.got:
		return r
	case <-time.After(10 * time.Second):
		c.t.Fatal("no response within 10 s")
		return nil
	}
}

func (c *client) nothing() {
	c.t.Helper()
	select {
	case r := <-c.got:
		c.t.Fatalf("unexpected response %v", r)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestCreateCancelAndIDs(t *testing.T) {
	k := newKeyspace(t)
	c := k.connect(Config{})
	c.stream.Create(Create{Range: wire.One("a")})
	r := c.next()
	require.True(t, r.Created)
	require.EqualValues(t, 0, r.WatchId)
	require.EqualValues(t, 1, r.Header.Revision)
	require.EqualValues(t, 7, r.Header.ClusterId)
	c.stream.Create(Create{Range: wire.One("a"), ID: 1})
	require.EqualValues(t, 1, c.next().WatchId)
	c.stream.Create(Create{Range: wire.One("b")}) // skips the chosen id
	require.EqualValues(t, 2, c.next().WatchId)
	for _, refused := range []struct {
		create Create
		reason string
	}{
		{Create{Range: wire.One("b"), ID: 2}, ReasonDuplicateID},
		{Create{Range: wire.Range{Lo: "b", Hi: "a"}}, ReasonEmptyRange},
		{Create{Range: wire.One("b"), StartRevision: -1}, wire.ErrCompacted.Error()},
		{Create{Range: wire.One("b"), Refused: "no"}, "no"},
	} {
		c.stream.Create(refused.create)
		r := c.next()
		require.True(t, r.Created && r.Canceled)
		require.EqualValues(t, -1, r.WatchId)
		require.Equal(t, refused.reason, r.CancelReason)
	}
	k.put("a", "1")
	seen := map[int64]bool{}
	for range 2 {
		r := c.next()
		seen[r.WatchId] = true
		require.EqualValues(t, 2, r.Header.Revision)
		require.Len(t, r.Events, 1)
		require.Equal(t, mvccpb.Event_PUT, r.Events[0].Type)
		require.Equal(t, "1", string(r.Events[0].Kv.Value))
	}
	require.Equal(t, map[int64]bool{0: true, 1: true}, seen)
	c.stream.Cancel(0)
	r = c.next()
	require.True(t, r.Canceled)
	require.EqualValues(t, 0, r.WatchId)
	require.Empty(t, r.CancelReason)
	c.stream.Cancel(0)
	c.stream.Cancel(99)
	k.put("a", "2")
	require.EqualValues(t, 1, c.next().WatchId)
	c.nothing()
}

// A stream has so many watchers and no more; one that is cancelled makes room.
func TestWatchersAreBounded(t *testing.T) {
	k := newKeyspace(t)
	c := k.connect(Config{MaxWatchers: 2})
	for range 2 {
		c.stream.Create(Create{Range: wire.One("a")})
		require.False(t, c.next().Canceled)
	}
	c.stream.Create(Create{Range: wire.One("a")})
	r := c.next()
	require.True(t, r.Created && r.Canceled)
	require.Equal(t, ReasonTooMany, r.CancelReason)
	c.stream.Cancel(0)
	require.True(t, c.next().Canceled)
	c.stream.Create(Create{Range: wire.One("a")})
	require.False(t, c.next().Canceled)
}

func TestPastFutureAndCompacted(t *testing.T) {
	k := newKeyspace(t)
	for i := range 10 {
		k.put("a", fmt.Sprint(i)) // revisions 2 to 11
	}
	c := k.connect(Config{})
	c.stream.Create(Create{Range: wire.One("a"), StartRevision: 5, PrevKV: true})
	require.True(t, c.next().Created)
	r := c.next()
	require.Len(t, r.Events, 7)
	require.EqualValues(t, 5, r.Events[0].Kv.ModRevision)
	require.Equal(t, "2", string(r.Events[0].PrevKv.Value))
	require.EqualValues(t, 11, r.Header.Revision)

	c.stream.Create(Create{Range: wire.One("a"), StartRevision: 13, NoDelete: true})
	require.True(t, c.next().Created)
	c.stream.Progress() // dropped: one watcher waits for a later revision
	c.nothing()
	k.put("a", "r12")
	require.EqualValues(t, 0, c.next().WatchId)
	c.stream.Progress() // still dropped: the next revision is the first one it waits for
	c.nothing()
	k.put("a", "r13")
	require.EqualValues(t, 1, c.next().WatchId+c.next().WatchId)
	k.delete(wire.One("a"))
	r = c.next()
	require.EqualValues(t, 0, r.WatchId)
	require.Equal(t, mvccpb.Event_DELETE, r.Events[0].Type)
	require.Equal(t, "r13", string(r.Events[0].PrevKv.Value))
	require.EqualValues(t, 14, r.Events[0].Kv.ModRevision)
	require.Zero(t, r.Events[0].Kv.CreateRevision)
	c.stream.Progress()
	r = c.next()
	require.EqualValues(t, -1, r.WatchId)
	require.EqualValues(t, 14, r.Header.Revision)

	k.tx(func(b engine.Batch) { require.NoError(t, k.store.Compact(b, 10)) })
	c.stream.Create(Create{Range: wire.One("a"), StartRevision: 9})
	require.True(t, c.next().Created)
	r = c.next()
	require.True(t, r.Canceled)
	require.EqualValues(t, 10, r.CompactRevision)
	require.EqualValues(t, 0, r.Header.Revision)
	require.Empty(t, r.CancelReason)
	c.stream.Progress() // the dead watcher still counts until it is canceled
	c.nothing()
	c.stream.Cancel(r.WatchId)
	require.True(t, c.next().Canceled)
	c.stream.Progress()
	require.EqualValues(t, -1, c.next().WatchId)
}

// unseen runs one transaction that is not published, as if another member's state held it.
func (k *keyspace) unseen(f func(b engine.Batch)) {
	b := k.eng.NewBatch()
	f(b)
	k.store.End()
	require.NoError(k.t, k.eng.Commit(b))
	k.store.TakeChanges()
	k.mu.Lock()
	k.view = k.store.View()
	k.mu.Unlock()
}

func TestJumpIsReadFromHistory(t *testing.T) {
	k := newKeyspace(t)
	c := k.connect(Config{})
	c.stream.Create(Create{Range: wire.One("a"), PrevKV: true})
	c.stream.Create(Create{Range: wire.One("a"), StartRevision: 5})
	require.True(t, c.next().Created)
	require.True(t, c.next().Created)
	close2 := make(chan struct{})
	c.gate = close2 // responses wait
	k.put("a", "2")
	for rev := 3; rev <= 6; rev++ {
		k.unseen(func(b engine.Batch) { k.store.Put(b, []byte("a"), []byte(fmt.Sprint(rev)), 0) })
	}
	k.hub.Jump(6)
	k.hub.Jump(6) // nothing lies between
	k.hub.Jump(4)
	require.EqualValues(t, 6, k.hub.Rev())
	k.put("a", "7")
	close(close2)
	seen := map[int64][]string{}
	for len(seen[0]) < 6 || len(seen[1]) < 3 {
		r := c.next()
		for _, e := range r.Events {
			seen[r.WatchId] = append(seen[r.WatchId], string(e.Kv.Value))
			require.Equal(t, string(e.Kv.Value), fmt.Sprint(e.Kv.ModRevision))
			if r.WatchId == 0 && e.Kv.ModRevision > 2 {
				require.Equal(t, fmt.Sprint(e.Kv.ModRevision-1), string(e.PrevKv.Value))
			}
		}
	}
	require.Equal(t, map[int64][]string{0: {"2", "3", "4", "5", "6", "7"}, 1: {"5", "6", "7"}}, seen)
	c.stream.Progress()
	require.EqualValues(t, 7, c.next().Header.Revision)
	c.nothing()

	// What the new state does not hold any more is told as compacted.
	k.unseen(func(b engine.Batch) { k.store.Put(b, []byte("a"), []byte("8"), 0) })
	k.unseen(func(b engine.Batch) { k.store.Put(b, []byte("a"), []byte("9"), 0) })
	k.unseen(func(b engine.Batch) { require.NoError(t, k.store.Compact(b, 9)) })
	k.hub.Jump(9)
	for range 2 {
		require.EqualValues(t, 9, c.next().CompactRevision)
	}
}

func TestProgressNotify(t *testing.T) {
	k := newKeyspace(t)
	c := k.connect(Config{ProgressInterval: 20 * time.Millisecond})
	c.stream.Create(Create{Range: wire.One("a"), Progress: true})
	c.stream.Create(Create{Range: wire.One("b")})
	require.True(t, c.next().Created)
	require.True(t, c.next().Created)
	k.put("z", "1")
	for {
		r := c.next()
		require.EqualValues(t, 0, r.WatchId)
		require.Empty(t, r.Events)
		if r.Header.Revision == 2 {
			break
		}
	}
}

func TestFragment(t *testing.T) {
	k := newKeyspace(t)
	c := k.connect(Config{FragmentBytes: 300})
	c.stream.Create(Create{Range: wire.Range{Lo: "a"}, Fragment: true})
	require.True(t, c.next().Created)
	k.tx(func(b engine.Batch) {
		for i := range 20 {
			k.store.Put(b, fmt.Appendf(nil, "k%02d", i), make([]byte, 40), 0)
		}
	})
	n := 0
	for {
		r := c.next()
		require.EqualValues(t, 2, r.Header.Revision)
		require.LessOrEqual(t, proto.Size(r), 400)
		n += len(r.Events)
		if !r.Fragment {
			break
		}
	}
	require.Equal(t, 20, n)
}

// TestEveryChangeOnceInOrder runs streams that are slow, stop, lag and start in the past beside random transactions.
func TestEveryChangeOnceInOrder(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			k := newKeyspace(t)
			k.hub.entries, k.hub.big = 8, 6
			type want struct {
				c     *client
				r     wire.Range
				start int64
			}
			var wants []map[int64]want
			var clients []*client
			for range 4 {
				c := k.connect(Config{})
				clients = append(clients, c)
				wants = append(wants, map[int64]want{})
				if rng.IntN(2) == 0 {
					c.gate = make(chan struct{})
				}
			}
			key := func() string { return fmt.Sprintf("k%d", rng.IntN(12)) }
			created := make([]int, len(clients))
			for i := range 300 {
				switch rng.IntN(10) {
				case 0:
					n := rng.IntN(len(clients))
					r := wire.One(key())
					if rng.IntN(2) == 0 {
						r = wire.Range{Lo: key()}
					}
					start := int64(0)
					if rng.IntN(2) == 0 {
						start = 1 + rng.Int64N(k.store.Rev()+5)
					}
					id := int64(1000 + i)
					clients[n].stream.Create(Create{Range: r, StartRevision: start, ID: id})
					if start == 0 {
						start = k.store.Rev() + 1
					}
					wants[n][id] = want{clients[n], r, start}
					created[n]++
				case 1:
					k.delete(wire.Range{Lo: key()})
				case 2:
					k.tx(func(b engine.Batch) {
						for range 1 + rng.IntN(9) {
							k.store.Put(b, []byte(key()), []byte("x"), 0)
						}
					})
				default:
					k.put(key(), fmt.Sprint(i))
				}
			}
			for i, c := range clients {
				select {
				case <-c.gate:
				default:
					close(c.gate)
				}
				left := created[i]
				expect := map[int64][]wire.Change{}
				total := 0
				for id, w := range wants[i] {
					for _, ch := range k.all {
						if ch.Rev.Main >= w.start && w.r.Contains(ch.KV.Key()) {
							expect[id] = append(expect[id], ch)
							total++
						}
					}
				}
				known := map[int64]bool{}
				for left > 0 || total > 0 {
					r := c.next()
					if r.Created {
						require.False(t, r.Canceled)
						known[r.WatchId] = true
						left--
						continue
					}
					require.True(t, known[r.WatchId], "an event came before its watcher was created")
					require.NotEmpty(t, r.Events)
					for _, e := range r.Events {
						require.NotEmpty(t, expect[r.WatchId], "too many events")
						w := expect[r.WatchId][0]
						require.Equal(t, w.KV.Key(), string(e.Kv.Key))
						require.Equal(t, w.Rev.Main, e.Kv.ModRevision)
						require.Equal(t, w.Deleted(), e.Type == mvccpb.Event_DELETE)
						require.GreaterOrEqual(t, r.Header.Revision, e.Kv.ModRevision)
						expect[r.WatchId] = expect[r.WatchId][1:]
						total--
					}
					if rest := expect[r.WatchId]; len(rest) > 0 {
						require.Greater(t, rest[0].Rev.Main, r.Events[len(r.Events)-1].Kv.ModRevision, "a revision was divided")
					}
				}
				c.nothing()
			}
		})
	}
}

func TestRangeIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	var x rangeIndex
	var all []*sub
	for range 2000 {
		if len(all) > 0 && rng.IntN(3) == 0 {
			i := rng.IntN(len(all))
			x.remove(all[i])
			all = append(all[:i], all[i+1:]...)
		} else {
			s := &sub{r: wire.Range{Lo: fmt.Sprintf("%02d", rng.IntN(50)), Hi: fmt.Sprintf("%02d", rng.IntN(60))}}
			if rng.IntN(8) == 0 {
				s.r.Hi = ""
			}
			if s.r.Empty() {
				continue
			}
			x.add(s)
			all = append(all, s)
		}
		key := fmt.Sprintf("%02d", rng.IntN(70))
		want := map[*sub]bool{}
		for _, s := range all {
			if s.r.Contains(key) {
				want[s] = true
			}
		}
		got := map[*sub]bool{}
		x.each(key, func(s *sub) {
			require.False(t, got[s])
			got[s] = true
		})
		require.Equal(t, want, got)
	}
}
