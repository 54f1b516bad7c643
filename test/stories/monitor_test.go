package stories

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// S7.3, steps 1 to 3: a node whose lease is renewed now and then. The long run takes the story's 45 s and 30 s.
func TestS7_3(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	ttl, every := 6, 4*time.Second
	if *long {
		ttl, every = 45, 30*time.Second
	}
	c := g.Connect()
	id := grant(t, c, int64(ttl))
	monitor := follow(t, g.Connect(), "monitor/", get(t, c, "none").Header.Revision+1, clientv3.WithPrevKV())
	put(t, c, "monitor/nodes/1", "ok", clientv3.WithLease(id))
	monitor.next(tEvent)
	rev := put(t, c, "monitor/nodes/1", "busy", clientv3.WithLease(id))
	monitor.next(tEvent)
	var last time.Time
	for range 3 {
		time.Sleep(every)
		last = time.Now()
		require.Equal(t, fmt.Sprintf("lease %016x keepalived with TTL(%d)", id, ttl), run(t, g, "lease", "keep-alive", "--once", fmt.Sprintf("%x", id)))
	}
	require.Empty(t, monitor.ch)
	require.Equal(t, rev, get(t, c, "monitor/nodes/1").Header.Revision, "renewals make no revision")
	e := monitor.next(tLease(ttl))
	require.Equal(t, []string{"DELETE monitor/nodes/1", "busy"}, []string{e.String(), string(e.PrevKv.Value)})
	require.GreaterOrEqual(t, e.at.Sub(last), time.Duration(ttl)*time.Second)
}
