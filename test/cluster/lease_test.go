package cluster

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// A lease that one member has granted can be renewed and looked at through any other at once, also while the leader is
// behind with applying what followers have applied already.
func TestGrantedLeaseIsKnownEverywhere(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	var done sync.WaitGroup
	rounds := 100
	if *long {
		rounds = 2000
	}
	failed := make(chan string, 100_000)
	for i := range 16 {
		var cs []*clientv3.Client
		for _, m := range g.Members {
			cs = append(cs, g.Connect(m))
		}
		done.Go(func() {
			for n := range rounds {
				at, other := (i+n)%3, (i+n+1+n/3%2)%3
				l, err := cs[at].Grant(within(t, patience), 60)
				if err != nil {
					failed <- err.Error()
					return
				}
				if _, err = cs[other].KeepAliveOnce(within(t, patience), l.ID); err != nil {
					failed <- fmt.Sprintf("granted at %d, renewed at %d: %v", at, other, err)
				}
				ttl, err := cs[other].TimeToLive(within(t, patience), l.ID)
				if err != nil || ttl.TTL < 50 {
					failed <- fmt.Sprintf("granted at %d, looked at at %d: %v %v", at, other, ttl, err)
				}
			}
		})
	}
	done.Wait()
	close(failed)
	var all []string
	for f := range failed {
		all = append(all, f)
	}
	require.Empty(t, all)
}
