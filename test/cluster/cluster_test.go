package cluster

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

func TestEveryMemberWritesAndReads(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	for i, m := range g.Members {
		c := g.Connect(m)
		_, err := c.Put(within(t, patience), "k", m.Name)
		require.NoError(t, err)
		for _, other := range g.Members {
			r, err := g.Connect(other).Get(within(t, patience), "k")
			require.NoError(t, err)
			require.Equal(t, m.Name, string(r.Kvs[0].Value))
			require.EqualValues(t, i+2, r.Header.Revision)
		}
	}
	// A lease that one member has granted is kept, shown and revoked by the others.
	l, err := g.Connect(g.Members[0]).Grant(within(t, patience), 60)
	require.NoError(t, err)
	_, err = g.Connect(g.Members[1]).Put(within(t, patience), "leased", "", clientv3.WithLease(l.ID))
	require.NoError(t, err)
	for _, m := range g.Members {
		c := g.Connect(m)
		k, err := c.KeepAliveOnce(within(t, patience), l.ID)
		require.NoError(t, err)
		require.EqualValues(t, 60, k.TTL)
		ttl, err := c.TimeToLive(within(t, patience), l.ID, clientv3.WithAttachedKeys())
		require.NoError(t, err)
		require.InDelta(t, 59, ttl.TTL, 1)
		require.Equal(t, [][]byte{[]byte("leased")}, ttl.Keys)
	}
	_, err = g.Connect(g.Members[2]).Revoke(within(t, patience), l.ID)
	require.NoError(t, err)
	g.Agree()
}

// Who is killed while it leads is replaced at once: its connections tell.
func TestLeaderIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	l := startLoad(t, g, 8, 5*time.Second)
	rounds := 2
	if *long {
		rounds = 20
	}
	var gaps []time.Duration
	for range rounds {
		time.Sleep(500 * time.Millisecond)
		l.resetGap()
		lead := g.Leader()
		lead.Kill()
		time.Sleep(1500 * time.Millisecond)
		l.mu.Lock()
		gaps = append(gaps, l.gap)
		l.mu.Unlock()
		lead.Start()
	}
	l.stop(g)
	t.Logf("%d calls, %d failed; longest waits of a writer: %v", l.calls, len(l.failed), gaps)
	for _, gap := range gaps {
		require.Less(t, gap, 2*time.Second)
	}
	g.Agree()
}

// A rolling restart fails no call.
func TestRollingRestartFailsNoCall(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	l := startLoad(t, g, 8, 5*time.Second)
	rounds := 1
	if *long {
		rounds = 10
	}
	for range rounds {
		for _, m := range g.Members {
			time.Sleep(300 * time.Millisecond)
			m.Stop()
			time.Sleep(200 * time.Millisecond)
			m.Start()
			require.Eventually(t, func() bool { s := g.Status(m); return s != nil && s.Leader != 0 }, patience, 20*time.Millisecond)
		}
	}
	l.stop(g)
	t.Logf("%d calls, longest wait of a writer: %v", l.calls, l.gap)
	require.Empty(t, l.failed)
	g.Agree()
}

func TestFollowerFarBehindCatchesUpBySnapshot(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--snapshot-catchup-entries", "100")
	behind := g.Followers()[0]
	c := g.Connect(g.Others(behind)...)
	put := func(from, to int) {
		for i := from; i < to; i++ {
			_, err := c.Put(within(t, patience), fmt.Sprintf("k%04d", i%1500), strings.Repeat("v", 200))
			require.NoError(t, err)
		}
	}
	put(0, 100)
	lease, err := c.Grant(within(t, patience), 600)
	require.NoError(t, err)
	_, err = c.Put(within(t, patience), "leased", "x", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	for round := range 2 {
		if round == 0 {
			behind.Kill()
		} else {
			behind.Signal(syscall.SIGSTOP) // it keeps its watchers, and wakes up far behind
		}
		before, err := c.Get(within(t, patience), "k0000")
		require.NoError(t, err)
		put(100, 3000)
		if round == 0 {
			behind.Start()
		} else {
			behind.Signal(syscall.SIGCONT)
		}
		g.Agree()
		require.Contains(t, behind.Out.String(), "installed a snapshot")
		require.NotContains(t, behind.Out.String(), "panic")
		// History came along, so that a watcher can go on where it was.
		w := g.Connect(behind).Watch(within(t, patience), "k0", clientv3.WithPrefix(), clientv3.WithRev(before.Header.Revision+1))
		r := <-w
		require.NoError(t, r.Err())
		require.NotEmpty(t, r.Events)
		require.Equal(t, before.Header.Revision+1, r.Events[0].Kv.ModRevision)
		ttl, err := g.Connect(behind).TimeToLive(within(t, patience), lease.ID, clientv3.WithAttachedKeys())
		require.NoError(t, err)
		require.Len(t, ttl.Keys, 1)
	}
	// It starts from what it was sent.
	behind.Stop()
	behind.Start()
	put(0, 50)
	g.Agree()
	behind.Kill()
	behind.Start()
	g.Agree()
}

// A watcher on a follower gets every change once, in order, also when the follower is replaced under it by a snapshot.
func TestWatcherOutlivesASnapshot(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--snapshot-catchup-entries", "50")
	behind := g.Followers()[0]
	w := g.Connect(behind).Watch(within(t, 2*patience), "k", clientv3.WithPrefix())
	time.Sleep(200 * time.Millisecond)
	c := g.Connect(g.Others(behind)...)
	const n = 2500
	for i := range n {
		if i == 500 {
			behind.Signal(syscall.SIGSTOP)
		}
		_, err := c.Put(within(t, patience), fmt.Sprintf("k%d", i%7), fmt.Sprint(i))
		require.NoError(t, err)
	}
	behind.Signal(syscall.SIGCONT)
	seen := 0
	for r := range w {
		require.NoError(t, r.Err())
		for _, ev := range r.Events {
			require.Equal(t, fmt.Sprint(seen), string(ev.Kv.Value))
			seen++
		}
		if seen == n {
			break
		}
	}
	require.Equal(t, n, seen)
}
