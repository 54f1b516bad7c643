package stories

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cairn-kv/cairn/test/process"
)

// S3.1 with v3: the cluster balances the reading of a code table among its members.
func TestS3_1(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	for i := range 500 {
		put(t, c, fmt.Sprintf("codes/%d", i), fmt.Sprintf("meaning-%d", i))
	}
	for _, m := range g.Members {
		get(t, g.Connect(m), "codes/0") // a linearizable read: the member has all
	}
	reading, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	var reads, wrong atomic.Int64
	last := make([]atomic.Int64, 30)
	for i := range last {
		// A reader begins at one member and knows the others, as an application does.
		order := append(append([]*process.Member(nil), g.Members[i%3:]...), g.Members[:i%3]...)
		own := g.Connect(order...)
		done.Go(func() {
			for reading.Err() == nil {
				n := rand.IntN(500)
				ctx, cancel := context.WithTimeout(reading, time.Second)
				r, err := own.Get(ctx, fmt.Sprintf("codes/%d", n), clientv3.WithSerializable())
				cancel()
				if err != nil {
					continue
				}
				if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != fmt.Sprintf("meaning-%d", n) {
					wrong.Add(1)
				}
				reads.Add(1)
				last[i].Store(time.Now().UnixMilli())
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	time.Sleep(5 * time.Second)
	g.Members[1].Kill()
	killed := time.Now().Add(500 * time.Millisecond).UnixMilli()
	soon(t, tFail, func() bool {
		for i := range last {
			if last[i].Load() < killed {
				return false
			}
		}
		return true
	}, "all readers go on")
	stop()
	done.Wait()
	require.Zero(t, wrong.Load(), "wrong answers of %d", reads.Load())
	g.Members[1].Start()

	var own []*clientv3.Client
	for _, m := range g.Members {
		own = append(own, g.Connect(m))
	}
	for n := range 10 {
		put(t, own[0], "codes/7", fmt.Sprint("new-", n))
		for _, o := range own {
			require.Equal(t, fmt.Sprint("new-", n), string(get(t, o, "codes/7").Kvs[0].Value))
		}
		put(t, own[0], "codes/8", fmt.Sprint("new-", n))
		for _, o := range own {
			soon(t, tEvent, func() bool {
				return string(get(t, o, "codes/8", clientv3.WithSerializable()).Kvs[0].Value) == fmt.Sprint("new-", n)
			}, "the update is everywhere")
		}
	}
	g.Members[1].Kill()
	g.Members[2].Kill()
	require.Equal(t, "new-9", string(get(t, own[0], "codes/7", clientv3.WithSerializable()).Kvs[0].Value))
	_, err := own[0].Get(within(t, 8*time.Second), "codes/7")
	require.Error(t, err)
}

// S3.3: a table of workers and the ownership of partitions, with leases.
func TestS3_3(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	const ttl = 3
	// A worker is a session and its key; one that dies renews no more.
	type worker struct {
		c *clientv3.Client
		s *concurrency.Session
	}
	hire := func(name string) *worker {
		w := &worker{c: g.Connect()}
		var err error
		w.s, err = concurrency.NewSession(w.c, concurrency.WithTTL(ttl))
		require.NoError(t, err)
		put(t, w.c, "lb/pool/"+name, name, clientv3.WithLease(w.s.Lease()))
		return w
	}
	c := g.Connect()
	table := map[string]bool{}
	told := follow(t, c, "lb/pool/", get(t, c, "none").Header.Revision+1)
	update := func(want string, d time.Duration) {
		t.Helper()
		e := told.next(d)
		require.Equal(t, want, e.String())
		table[strings.TrimPrefix(string(e.Kv.Key), "lb/pool/")] = e.Type == clientv3.EventTypePut
	}
	dispatch := func(jobs int) map[string]int {
		by := map[string]int{}
		for jobs > 0 {
			for _, w := range []string{"w1", "w2", "w3", "w4"} {
				if table[w] && jobs > 0 {
					by[w]++
					jobs--
				}
			}
		}
		return by
	}
	workers := map[string]*worker{}
	for _, w := range []string{"w1", "w2", "w3"} {
		workers[w] = hire(w)
		update("PUT lb/pool/"+w+"="+w, tEvent)
	}
	require.Equal(t, map[string]int{"w1": 100, "w2": 100, "w3": 100}, dispatch(300))
	workers["w2"].s.Orphan()
	update("DELETE lb/pool/w2", tLease(ttl))
	require.Equal(t, map[string]int{"w1": 50, "w3": 50}, dispatch(100))
	workers["w4"] = hire("w4")
	update("PUT lb/pool/w4=w4", tEvent)
	require.Equal(t, map[string]int{"w1": 100, "w3": 100, "w4": 100}, dispatch(300))

	// Six partitions; a consumer takes three at most.
	owned := func() map[string]string {
		out := map[string]string{}
		for _, kv := range get(t, c, "lb/parts/", clientv3.WithPrefix()).Kvs {
			out[string(kv.Key)] = string(kv.Value)
		}
		return out
	}
	changes := follow(t, c, "lb/parts/", get(t, c, "none").Header.Revision+1)
	stop, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	dead := map[string]context.CancelFunc{}
	for _, name := range []string{"w1", "w3", "w4"} {
		w := workers[name]
		ctx, die := context.WithCancel(stop)
		dead[name] = die
		done.Go(func() {
			for ctx.Err() == nil {
				mine := 0
				for p := range 6 {
					key := fmt.Sprintf("lb/parts/%d", p)
					r, err := w.c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
						Then(clientv3.OpPut(key, name, clientv3.WithLease(w.s.Lease()))).Else(clientv3.OpGet(key)).Commit()
					if err != nil {
						break
					}
					if r.Succeeded || string(r.Responses[0].GetResponseRange().Kvs[0].Value) == name {
						mine++
					}
					if mine == 3 {
						break
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	soon(t, 5*time.Second, func() bool { return len(owned()) == 6 }, "all partitions have owners")
	first := owned()
	time.Sleep(2 * time.Second)
	require.Equal(t, first, owned())
	victim := first["lb/parts/0"]
	dead[victim]()
	workers[victim].s.Orphan()
	before := g.Status(g.Members[0]).RaftTerm
	died := time.Now()
	soon(t, tLeaseLed(ttl)+tEvent, func() bool {
		now := owned()
		for _, by := range now {
			if by == victim {
				return false
			}
		}
		return len(now) == 6
	}, "others have taken what %s had", victim)
	if g.Status(g.Members[0]).RaftTerm == before {
		require.Less(t, time.Since(died), tLease(ttl)+tEvent)
	}
	cancel()
	done.Wait()
	// Nobody got a partition that somebody had.
	held := map[string]bool{}
	for len(changes.ch) > 0 {
		e := <-changes.ch
		k := string(e.Kv.Key)
		require.NotEqual(t, held[k], e.Type == clientv3.EventTypePut, "%v", e)
		held[k] = e.Type == clientv3.EventTypePut
	}
}
