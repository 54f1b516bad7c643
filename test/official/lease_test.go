package official

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeases(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	l, err := c.Grant(ctx, 100)
	require.NoError(t, err)
	require.EqualValues(t, 100, l.TTL)
	_, err = c.Put(ctx, "a", "1", clientv3.WithLease(l.ID))
	require.NoError(t, err)
	_, err = c.Put(ctx, "b", "1", clientv3.WithLease(l.ID))
	require.NoError(t, err)
	_, err = c.Put(ctx, "b", "2") // detached
	require.NoError(t, err)
	ttl, err := c.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.EqualValues(t, 100, ttl.GrantedTTL)
	require.InDelta(t, 99, ttl.TTL, 1)
	require.Equal(t, [][]byte{[]byte("a")}, ttl.Keys)
	all, err := c.Leases(ctx)
	require.NoError(t, err)
	require.Equal(t, []clientv3.LeaseStatus{{ID: l.ID}}, all.Leases)
	rev, err := c.Revoke(ctx, l.ID)
	require.NoError(t, err)
	get, err := c.Get(ctx, "", clientv3.WithFromKey())
	require.NoError(t, err)
	require.Equal(t, rev.Header.Revision, get.Header.Revision)
	require.Len(t, get.Kvs, 1)
	gone, err := c.TimeToLive(ctx, l.ID)
	require.NoError(t, err)
	require.EqualValues(t, -1, gone.TTL)
	_, err = c.KeepAliveOnce(ctx, l.ID)
	require.ErrorContains(t, err, "requested lease not found")
}

// A lease ends after its time, never before, and its keys with it.
func TestALeaseExpires(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	granted := time.Now()
	l, err := c.Grant(ctx, 2)
	require.NoError(t, err)
	put, err := c.Put(ctx, "k", "v", clientv3.WithLease(l.ID))
	require.NoError(t, err)
	for resp := range c.Watch(ctx, "k", clientv3.WithRev(put.Header.Revision+1)) {
		require.NoError(t, resp.Err())
		require.Equal(t, clientv3.EventTypeDelete, resp.Events[0].Type)
		break
	}
	require.NoError(t, ctx.Err())
	require.GreaterOrEqual(t, time.Since(granted), 2*time.Second)
	require.Less(t, time.Since(granted), 6*time.Second)
}

// What is left of a lease that nobody renews survives a crash: it neither ends early nor starts over.
func TestWhatIsLeftOfALeaseSurvivesACrash(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	granted := time.Now()
	l, err := c.Grant(ctx, 60)
	require.NoError(t, err)
	short, err := c.Grant(ctx, 3)
	require.NoError(t, err)
	_, err = c.Put(ctx, "k", "v", clientv3.WithLease(short.ID))
	require.NoError(t, err)
	time.Sleep(4 * time.Second)
	p.kill()
	p.start()
	ttl, err := c.TimeToLive(ctx, l.ID)
	require.NoError(t, err)
	require.EqualValues(t, 60, ttl.GrantedTTL)
	lived := int64(time.Since(granted) / time.Second)
	require.GreaterOrEqual(t, ttl.TTL, 60-lived-1)
	require.Less(t, ttl.TTL, int64(59), "the lease started over")
	// The short one ended before the crash, or ends soon after it.
	require.Eventually(t, func() bool {
		get, err := c.Get(ctx, "k")
		return err == nil && len(get.Kvs) == 0
	}, 6*time.Second, 50*time.Millisecond)
}

// The client keeps a lease alive over a crash of the server.
func TestKeepAliveGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	l, err := c.Grant(ctx, 3)
	require.NoError(t, err)
	_, err = c.Put(ctx, "k", "v", clientv3.WithLease(l.ID))
	require.NoError(t, err)
	alive, err := c.KeepAlive(ctx, l.ID)
	require.NoError(t, err)
	renewals := func(n int) {
		for range n {
			r, ok := <-alive
			require.True(t, ok, "the keep-alive ended")
			require.EqualValues(t, 3, r.TTL)
		}
	}
	renewals(1)
	p.kill()
	p.start()
	began := time.Now()
	for time.Since(began) < 4*time.Second { // longer than it would live without
		renewals(1)
	}
	get, err := c.Get(ctx, "k")
	require.NoError(t, err)
	require.Len(t, get.Kvs, 1)
}
