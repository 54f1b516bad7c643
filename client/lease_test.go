package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

func renewal(t *testing.T, ch <-chan *client.LeaseKeepAliveResponse) *client.LeaseKeepAliveResponse {
	t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(limit):
		t.Fatal("expected a renewal or the end of the channel")
		return nil
	}
}

func TestKeepAliveSharesAStreamAndEndsWithTheLease(t *testing.T) {
	s, c := start(t)
	g, err := c.Grant(timeout(t), 1)
	require.NoError(t, err)
	require.EqualValues(t, fake.LeaseID, g.ID)
	a, err := c.KeepAlive(timeout(t), g.ID)
	require.NoError(t, err)
	b, err := c.KeepAlive(timeout(t), g.ID)
	require.NoError(t, err)
	for range 2 {
		require.EqualValues(t, 1, renewal(t, a).TTL)
		require.EqualValues(t, 1, renewal(t, b).TTL)
	}
	require.Len(t, s.Calls("Lease/LeaseKeepAlive"), 1)
	_, err = c.Revoke(timeout(t), g.ID)
	require.NoError(t, err)
	for renewal(t, a) != nil {
	}
	for renewal(t, b) != nil {
	}
}

func TestKeepAliveOfAnUnknownLeaseCloses(t *testing.T) {
	_, c := start(t)
	ch, err := c.KeepAlive(timeout(t), 7)
	require.NoError(t, err)
	require.Nil(t, renewal(t, ch))
	_, err = c.KeepAliveOnce(timeout(t), 7)
	require.Equal(t, rpctypes.ErrLeaseNotFound, err)
}

func TestKeepAliveStopsWithItsContext(t *testing.T) {
	_, c := start(t)
	g, err := c.Grant(timeout(t), 30)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(timeout(t))
	a, _ := c.KeepAlive(ctx, g.ID)
	b, _ := c.KeepAlive(timeout(t), g.ID)
	renewal(t, a)
	renewal(t, b)
	cancel()
	require.Nil(t, renewal(t, a))
	select {
	case r := <-b:
		require.NotNil(t, r, "the other listener goes on")
	default:
	}
}

func TestKeepAliveSurvivesARestart(t *testing.T) {
	s, c := start(t)
	g, err := c.Grant(timeout(t), 30)
	require.NoError(t, err)
	ch, err := c.KeepAlive(timeout(t), g.ID)
	require.NoError(t, err)
	require.NotNil(t, renewal(t, ch))
	s.Stop()
	s.Restart(t)
	require.NotNil(t, renewal(t, ch), "a new stream renews at once")
}

func TestKeepAliveGivesUpAfterATTLWithoutAnswer(t *testing.T) {
	s, c := start(t)
	g, err := c.Grant(timeout(t), 1)
	require.NoError(t, err)
	ch, err := c.KeepAlive(timeout(t), g.ID)
	require.NoError(t, err)
	require.NotNil(t, renewal(t, ch))
	s.Stop()
	began := time.Now()
	for renewal(t, ch) != nil {
	}
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestKeepAliveAfterClose(t *testing.T) {
	_, c := start(t)
	ch, err := c.KeepAlive(context.Background(), 7)
	require.NoError(t, err)
	require.NoError(t, c.Lease.Close())
	for renewal(t, ch) != nil {
	}
	ch, err = c.KeepAlive(context.Background(), 7)
	require.ErrorAs(t, err, &client.ErrKeepAliveHalted{})
	require.Nil(t, renewal(t, ch))
}

func TestKeepAliveOnceTriesAgain(t *testing.T) {
	s, c := start(t)
	_, err := s.LeaseGrant(context.Background(), &pb.LeaseGrantRequest{TTL: 30, ID: 7})
	require.NoError(t, err)
	failing(s, "Lease/LeaseKeepAlive", 2, rpctypes.ErrGRPCNoLeader)
	r, err := c.KeepAliveOnce(timeout(t), 7)
	require.NoError(t, err)
	require.EqualValues(t, 30, r.TTL)
}

func TestTimeToLive(t *testing.T) {
	_, c := start(t)
	g, err := c.Grant(timeout(t), 60)
	require.NoError(t, err)
	_, err = c.Put(timeout(t), "k", "v", client.WithLease(g.ID))
	require.NoError(t, err)
	r, err := c.TimeToLive(timeout(t), g.ID, client.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("k")}, r.Keys)
	r, err = c.TimeToLive(timeout(t), 7)
	require.NoError(t, err)
	require.EqualValues(t, -1, r.TTL)
	all, err := c.Leases(timeout(t))
	require.NoError(t, err)
	require.Equal(t, []client.LeaseStatus{{ID: g.ID}}, all.Leases)
}
