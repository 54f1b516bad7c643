package stories

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// S6.5: a queue in the order of create revisions.
func TestS6_5(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	first := clientv3.WithFirstCreate()
	var err error

	// 1000 items of five producers; the names have nothing to do with the order.
	var done sync.WaitGroup
	acked := make([][]int64, 5)
	start := get(t, c, "none").Header.Revision
	for p := range 5 {
		own := g.Connect(g.Members[p%3])
		done.Go(func() {
			for i := range 200 {
				r, err := own.Put(within(t, patience), fmt.Sprintf("queue/items/%x", (i*7919+p*104729)%1_000_003), fmt.Sprintf("%d-%d", p, i))
				if err != nil {
					t.Error(err)
					return
				}
				acked[p] = append(acked[p], r.Header.Revision)
			}
		})
	}
	done.Wait()
	all := get(t, c, "queue/items/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	require.Len(t, all.Kvs, 1000)
	next := make([]int, 5)
	for i, kv := range all.Kvs {
		require.Equal(t, start+1+int64(i), kv.CreateRevision, "no gaps")
		var p, n int
		_, err = fmt.Sscanf(string(kv.Value), "%d-%d", &p, &n)
		require.NoError(t, err)
		require.Equal(t, next[p], n, "a producer's items in their order")
		require.Equal(t, acked[p][n], kv.CreateRevision)
		next[p]++
	}

	// Consumers claim the oldest; each item has one.
	var mu sync.Mutex
	took := map[string]int{}
	for i := range 5 {
		own := g.Connect(g.Members[i%3])
		done.Go(func() {
			var last int64
			for {
				r, err := own.Get(within(t, patience), "queue/items/", first...)
				if err != nil {
					t.Error(err)
					return
				}
				if len(r.Kvs) == 0 {
					return
				}
				kv := r.Kvs[0]
				d, err := own.Txn(within(t, patience)).If(clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision)).
					Then(clientv3.OpDelete(string(kv.Key))).Commit()
				if err != nil {
					t.Error(err)
					return
				}
				if d.Succeeded {
					if kv.CreateRevision <= last {
						t.Errorf("revision %d after %d", kv.CreateRevision, last)
					}
					last = kv.CreateRevision
					mu.Lock()
					took[string(kv.Value)]++
					mu.Unlock()
				}
			}
		})
	}
	done.Wait()
	require.Len(t, took, 1000)
	for item, n := range took {
		require.Equal(t, 1, n, item)
	}

	// A consumer of the empty queue is woken by the next item. By etcdctl the oldest comes first.
	empty := get(t, c, "queue/items/", clientv3.WithPrefix())
	w := follow(t, c, "queue/items/", empty.Header.Revision+1)
	put(t, c, "queue/items/b", "older")
	require.Equal(t, "PUT queue/items/b=older", w.next(tEvent).String())
	put(t, c, "queue/items/a", "newer")
	require.Equal(t, "queue/items/b\nolder", run(t, g, "get", "--prefix", "queue/items/", "--sort-by=CREATE", "--order=ASCEND", "--limit=1"))
}

// S6.6: a condition that counts, and one that counts in the same txn as the item is put.
func TestS6_6(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	put(t, c, "queue/condition", "0")
	const goal = 20
	up := func(own *clientv3.Client, more ...clientv3.Op) error {
		for {
			r, err := own.Get(within(t, patience), "queue/condition")
			if err != nil {
				return err
			}
			var v int
			_, _ = fmt.Sscan(string(r.Kvs[0].Value), &v)
			w, err := own.Txn(within(t, patience)).If(clientv3.Compare(clientv3.ModRevision("queue/condition"), "=", r.Kvs[0].ModRevision)).
				Then(append([]clientv3.Op{clientv3.OpPut("queue/condition", fmt.Sprint(v+1))}, more...)...).Commit()
			if err != nil || w.Succeeded {
				return err
			}
		}
	}
	var done sync.WaitGroup
	together := func(f func(i int, own *clientv3.Client) error) {
		for i := range goal {
			own := g.Connect(g.Members[i%3])
			done.Go(func() {
				if err := f(i, own); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
	}
	together(func(_ int, own *clientv3.Client) error { return up(own) })
	require.Equal(t, "20", string(get(t, c, "queue/condition").Kvs[0].Value))

	// The starter sees item and count change together, and starts at the goal: never sooner.
	put(t, c, "queue/condition", "0")
	w := c.Watch(within(t, patience), "queue/", clientv3.WithPrefix(), clientv3.WithRev(get(t, c, "none").Header.Revision+1))
	together(func(i int, own *clientv3.Client) error {
		return up(own, clientv3.OpPut(fmt.Sprintf("queue/items/%02d", i), "small"))
	})
	items, count := 0, 0
	for count < goal {
		r := <-w
		require.NoError(t, r.Err())
		byRev := map[int64]int{}
		for _, e := range r.Events {
			byRev[e.Kv.ModRevision]++
			if string(e.Kv.Key) == "queue/condition" {
				_, _ = fmt.Sscan(string(e.Kv.Value), &count)
			} else {
				items++
			}
		}
		for rev, n := range byRev {
			require.Equal(t, 2, n, "events of revision %d", rev)
		}
		require.Equal(t, count, items)
	}
	var last int64
	for _, kv := range get(t, c, "queue/items/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)).Kvs {
		require.Greater(t, kv.CreateRevision, last)
		last = kv.CreateRevision
		items--
	}
	require.Zero(t, items)
}
