package official

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

func session(t *testing.T, c *clientv3.Client) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(c, concurrency.WithTTL(10))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMutex(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := within(t, patience)
	var held, most, turns atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		m := concurrency.NewMutex(session(t, p.client()), "lock")
		wg.Go(func() {
			for range 3 {
				if err := m.Lock(ctx); err != nil {
					t.Errorf("lock: %v", err)
					return
				}
				most.Store(max(most.Load(), held.Add(1)))
				turns.Add(1)
				held.Add(-1)
				if err := m.Unlock(ctx); err != nil {
					t.Errorf("unlock: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 24, turns.Load())
	require.EqualValues(t, 1, most.Load())
	a, b := concurrency.NewMutex(session(t, p.client()), "try"), concurrency.NewMutex(session(t, p.client()), "try")
	require.NoError(t, a.TryLock(ctx))
	require.ErrorIs(t, b.TryLock(ctx), concurrency.ErrLocked)
	require.NoError(t, a.Unlock(ctx))
	require.NoError(t, b.TryLock(ctx))
}

func TestElection(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := within(t, patience)
	first, second := session(t, p.client()), session(t, p.client())
	e1, e2 := concurrency.NewElection(first, "vote"), concurrency.NewElection(second, "vote")
	observed := concurrency.NewElection(session(t, p.client()), "vote").Observe(ctx)
	require.NoError(t, e1.Campaign(ctx, "one"))
	leader := func(want string) {
		t.Helper()
		for r := range observed {
			if string(r.Kvs[0].Value) == want {
				return
			}
		}
		t.Fatalf("%q was never seen to lead", want)
	}
	leader("one")
	won := make(chan error, 1)
	go func() { won <- e2.Campaign(ctx, "two") }()
	require.NoError(t, e1.Proclaim(ctx, "one again"))
	leader("one again")
	select {
	case err := <-won:
		t.Fatalf("two leaders at a time: %v", err)
	default:
	}
	require.NoError(t, first.Close()) // its lease is revoked: the next one leads
	require.NoError(t, <-won)
	leader("two")
	get, err := e2.Leader(ctx)
	require.NoError(t, err)
	require.Equal(t, "two", string(get.Kvs[0].Value))
	require.NoError(t, e2.Resign(ctx))
	_, err = e2.Leader(ctx)
	require.ErrorIs(t, err, concurrency.ErrElectionNoLeader)
}

func TestSTM(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	const accounts, total = 5, 500
	for i := range accounts {
		_, err := c.Put(ctx, fmt.Sprintf("acc%d", i), strconv.Itoa(total/accounts))
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		level := concurrency.SerializableSnapshot
		if w%2 == 1 {
			level = concurrency.Serializable
		}
		wg.Go(func() {
			for i := range 20 {
				from, to := fmt.Sprintf("acc%d", (w+i)%accounts), fmt.Sprintf("acc%d", (w+i+1+i%3)%accounts)
				_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
					a, _ := strconv.Atoi(s.Get(from))
					b, _ := strconv.Atoi(s.Get(to))
					s.Put(from, strconv.Itoa(a-1))
					s.Put(to, strconv.Itoa(b+1))
					return nil
				}, concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx))
				if err != nil {
					t.Errorf("transfer: %v", err)
				}
			}
		})
	}
	wg.Wait()
	get, err := c.Get(ctx, "acc", clientv3.WithPrefix())
	require.NoError(t, err)
	sum := 0
	for _, kv := range get.Kvs {
		n, err := strconv.Atoi(string(kv.Value))
		require.NoError(t, err)
		sum += n
	}
	require.Equal(t, total, sum)
}

func TestMirror(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	const base = 2500 // more than two of the syncer's pages
	for i := 0; i < base; i += 100 {
		ops := make([]clientv3.Op, 100)
		for j := range ops {
			ops[j] = clientv3.OpPut(fmt.Sprintf("m/%04d", i+j), "v")
		}
		_, err := c.Txn(ctx).Then(ops...).Commit()
		require.NoError(t, err)
	}
	s := mirror.NewSyncer(c, "m/", 0)
	pages, errs := s.SyncBase(ctx)
	got := map[string]bool{}
	for page := range pages {
		for _, kv := range page.Kvs {
			got[string(kv.Key)] = true
		}
	}
	require.NoError(t, <-errs)
	require.Len(t, got, base)
	updates := s.SyncUpdates(ctx)
	_, err := c.Put(ctx, "m/new", "v")
	require.NoError(t, err)
	require.Equal(t, "m/new", string((<-updates).Events[0].Kv.Key))
}

func TestNamespaceAndOrdering(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	kv, w := namespace.NewKV(c.KV, "app/"), namespace.NewWatcher(c.Watcher, "app/")
	_, err := kv.Put(ctx, "k", "v")
	require.NoError(t, err)
	_, err = c.Put(ctx, "other", "v")
	require.NoError(t, err)
	get, err := kv.Get(ctx, "", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, get.Kvs, 1)
	require.Equal(t, "k", string(get.Kvs[0].Key))
	raw, err := c.Get(ctx, "app/k")
	require.NoError(t, err)
	require.Len(t, raw.Kvs, 1)
	ev := <-w.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1))
	require.Equal(t, "k", string(ev.Events[0].Kv.Key))
	txn, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("k"), ">", 0)).Then(clientv3.OpDelete("", clientv3.WithFromKey())).Commit()
	require.NoError(t, err)
	require.EqualValues(t, 1, txn.Responses[0].GetResponseDeleteRange().Deleted)

	violated := false
	ordered := ordering.NewKV(c.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { violated = true; return fmt.Errorf("stale") })
	for i := range 20 {
		_, err := c.Put(ctx, "o", strconv.Itoa(i))
		require.NoError(t, err)
		r, err := ordered.Get(ctx, "o", clientv3.WithSerializable())
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(i), string(r.Kvs[0].Value))
	}
	require.False(t, violated)
}

func TestLeasing(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := within(t, patience)
	a, closeA, err := leasing.NewKV(p.client(), "lease/")
	require.NoError(t, err)
	defer closeA()
	b, closeB, err := leasing.NewKV(p.client(), "lease/")
	require.NoError(t, err)
	defer closeB()
	_, err = a.Put(ctx, "k", "1")
	require.NoError(t, err)
	for _, want := range []string{"1", "2", "3"} {
		for _, kv := range []clientv3.KV{a, b, a} { // cached from the second time on
			get, err := kv.Get(ctx, "k")
			require.NoError(t, err)
			require.Equal(t, want, string(get.Kvs[0].Value))
		}
		next, _ := strconv.Atoi(want)
		_, err := b.Put(ctx, "k", strconv.Itoa(next+1)) // takes the key back from a
		require.NoError(t, err)
	}
	_, err = a.Delete(ctx, "k")
	require.NoError(t, err)
	get, err := b.Get(ctx, "k")
	require.NoError(t, err)
	require.Empty(t, get.Kvs)
}

// A session whose lease ends tells its owner.
func TestASessionEnds(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client()
	s := session(t, c)
	_, err := c.Revoke(within(t, patience), s.Lease())
	require.NoError(t, err)
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("the session does not know that its lease is gone")
	}
}
