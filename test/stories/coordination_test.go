package stories

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cairn-kv/cairn/test/process"
)

// S4.4: tasks whose progress lives as long as who reports it, claims, and a heartbeat check, with leases.
func TestS4_4(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	manager := follow(t, c, "tasks/run/", get(t, c, "none").Header.Revision+1)

	// Of five workers that claim a task one wins.
	wins := make(chan int, 5)
	for i := range 5 {
		own := g.Connect(g.Members[i%3])
		go func() {
			r, err := own.Txn(within(t, patience)).If(clientv3.Compare(clientv3.CreateRevision("tasks/claim/7"), "=", 0)).
				Then(clientv3.OpPut("tasks/claim/7", fmt.Sprint(i))).Commit()
			switch {
			case err != nil:
				wins <- -1
			case r.Succeeded:
				wins <- 1
			default:
				wins <- 0
			}
		}()
	}
	var won int
	for range 5 {
		w := <-wins
		require.GreaterOrEqual(t, w, 0)
		won += w
	}
	require.Equal(t, 1, won)

	const ttl = 3
	w := g.Connect()
	s, err := concurrency.NewSession(w, concurrency.WithTTL(ttl))
	require.NoError(t, err)
	lease := clientv3.WithLease(s.Lease())
	for _, k := range []string{"state", "host"} {
		put(t, w, "tasks/run/7/"+k, "x", lease)
		manager.next(tEvent)
	}
	for p := 10; p <= 40; p += 10 {
		put(t, w, "tasks/run/7/progress", fmt.Sprint(p), lease)
		require.Equal(t, fmt.Sprintf("PUT tasks/run/7/progress=%d", p), manager.next(tEvent).String())
	}
	manager.none((ttl + 1) * time.Second) // it is renewed, and that is no event
	s.Orphan()
	crashed := time.Now()
	gone := map[string]bool{}
	var rev int64
	for i := range 3 {
		e := manager.next(tLease(ttl))
		require.Equal(t, clientv3.EventTypeDelete, e.Type)
		gone[string(e.Kv.Key)] = true
		require.True(t, i == 0 || e.Kv.ModRevision == rev, "all in one revision")
		rev = e.Kv.ModRevision
	}
	require.Len(t, gone, 3)
	require.Greater(t, time.Since(crashed), time.Second)
}
