package concurrency_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/client/concurrency"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

const limit = 10 * time.Second

func setup(t *testing.T) (*fake.Server, *client.Client) {
	t.Helper()
	s := fake.Start(t)
	c, err := client.NewFromURL(s.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return s, c
}

func session(t *testing.T, c *client.Client) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(c, concurrency.WithTTL(30))
	require.NoError(t, err)
	return s
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// watching waits until n watches have been created on the server.
func watching(t *testing.T, s *fake.Server) (wait func(n int)) {
	created := make(chan struct{}, 100)
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		if r.GetCreateRequest() != nil {
			created <- struct{}{}
		}
		return nil, nil
	}
	return func(n int) {
		t.Helper()
		for range n {
			select {
			case <-created:
			case <-time.After(limit):
				t.Fatal("expected a watch")
			}
		}
	}
}

func TestLockIsHandedOnInOrder(t *testing.T) {
	s, c := setup(t)
	wait := watching(t, s)
	a, b, d := session(t, c), session(t, c), session(t, c)
	ma, mb, md := concurrency.NewMutex(a, "/l"), concurrency.NewMutex(b, "/l"), concurrency.NewMutex(d, "/l")
	require.NoError(t, ma.Lock(timeout(t)))
	require.Equal(t, fmt.Sprintf("/l/%x", int64(a.Lease())), ma.Key())
	require.Equal(t, concurrency.ErrLocked, mb.TryLock(timeout(t)))

	order := make(chan string, 2)
	lock := func(name string, m *concurrency.Mutex) {
		if m.Lock(timeout(t)) == nil {
			order <- name
		}
	}
	go lock("b", mb)
	wait(1)
	go lock("d", md)
	wait(1)
	require.Empty(t, order)
	require.NoError(t, ma.Unlock(timeout(t)))
	require.Equal(t, "b", <-order)
	require.Greater(t, mb.Rev(), ma.Rev())
	resp, err := c.Txn(timeout(t)).If(mb.IsOwner()).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	require.Empty(t, order)
	require.NoError(t, b.Close(), "revoking the lease gives the lock up")
	require.Equal(t, "d", <-order)
	require.Equal(t, concurrency.ErrLockReleased, ma.Unlock(timeout(t)))
}

func TestANestedNameIsAnotherLock(t *testing.T) {
	_, c := setup(t)
	deep, flat := concurrency.NewMutex(session(t, c), "a/b"), concurrency.NewMutex(session(t, c), "a")
	require.NoError(t, deep.Lock(timeout(t)))
	require.NoError(t, flat.Lock(timeout(t)))
	require.NoError(t, flat.Unlock(timeout(t)))
	require.NoError(t, flat.TryLock(timeout(t)))
}

func TestWaitingEndsWithTheContextAndLeavesTheLine(t *testing.T) {
	s, c := setup(t)
	wait := watching(t, s)
	ma := concurrency.NewMutex(session(t, c), "/l")
	mb := concurrency.NewMutex(session(t, c), "/l")
	require.NoError(t, ma.Lock(timeout(t)))
	ctx, cancel := context.WithCancel(timeout(t))
	go func() { wait(1); cancel() }()
	require.ErrorIs(t, mb.Lock(ctx), context.Canceled)
	resp, err := c.Get(timeout(t), mb.Key())
	require.NoError(t, err)
	require.Empty(t, resp.Kvs)
}

func TestWaitingEndsWithTheSession(t *testing.T) {
	s, c := setup(t)
	wait := watching(t, s)
	b := session(t, c)
	ma, mb := concurrency.NewMutex(session(t, c), "/l"), concurrency.NewMutex(b, "/l")
	require.NoError(t, ma.Lock(timeout(t)))
	go func() { wait(1); b.Orphan() }()
	require.Equal(t, concurrency.ErrSessionExpired, mb.Lock(timeout(t)))
}

func TestLockSurvivesCompactionWhileWaiting(t *testing.T) {
	s, c := setup(t)
	ma, mb := concurrency.NewMutex(session(t, c), "/l"), concurrency.NewMutex(session(t, c), "/l")
	require.NoError(t, ma.Lock(timeout(t)))
	compacted := false
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		if r.GetCreateRequest() == nil {
			return nil, nil
		}
		if !compacted { // the revision to wait from is gone, and so is the owner
			compacted = true
			s.Set("x=1", "x=2", "x=3")
			s.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte(ma.Key())})
			s.Compact(context.Background(), &pb.CompactionRequest{Revision: s.Rev()})
		}
		return nil, nil
	}
	require.NoError(t, mb.Lock(timeout(t)))
	require.True(t, compacted)
}

func TestElection(t *testing.T) {
	s, c := setup(t)
	wait := watching(t, s)
	a, b := session(t, c), session(t, c)
	ea, eb := concurrency.NewElection(a, "/e"), concurrency.NewElection(b, "/e")
	_, err := ea.Leader(timeout(t))
	require.Equal(t, concurrency.ErrElectionNoLeader, err)
	require.Equal(t, concurrency.ErrElectionNotLeader, ea.Proclaim(timeout(t), "x"))

	seen := eb.Observe(timeout(t))
	wait(1)
	require.NoError(t, ea.Campaign(timeout(t), "one"))
	value := func() string {
		t.Helper()
		select {
		case r, ok := <-seen:
			require.True(t, ok)
			return string(r.Kvs[0].Value)
		case <-time.After(limit):
			t.Fatal("expected a leader")
			return ""
		}
	}
	require.Equal(t, "one", value())
	wait(1)
	require.NoError(t, ea.Proclaim(timeout(t), "two"))
	require.Equal(t, "two", value())

	won := make(chan error, 1)
	go func() { won <- eb.Campaign(timeout(t), "three") }()
	wait(1)
	require.NoError(t, ea.Resign(timeout(t)))
	require.NoError(t, <-won)
	require.Equal(t, "three", value())
	require.NoError(t, ea.Resign(timeout(t)), "resigning twice is nothing")
	resp, err := eb.Leader(timeout(t))
	require.NoError(t, err)
	require.Equal(t, eb.Key(), string(resp.Kvs[0].Key))

	re := concurrency.ResumeElection(b, "/e", eb.Key(), eb.Rev())
	require.NoError(t, re.Proclaim(timeout(t), "four"))
	require.Equal(t, "four", value())
	require.NoError(t, re.Resign(timeout(t)))
	require.Equal(t, concurrency.ErrElectionNotLeader, eb.Proclaim(timeout(t), "late"))
}

func TestCampaignAgainChangesTheValue(t *testing.T) {
	_, c := setup(t)
	e := concurrency.NewElection(session(t, c), "/e")
	require.NoError(t, e.Campaign(timeout(t), "one"))
	require.NoError(t, e.Campaign(timeout(t), "two"))
	resp, err := e.Leader(timeout(t))
	require.NoError(t, err)
	require.Equal(t, "two", string(resp.Kvs[0].Value))
}

func TestSessionAdoptsALease(t *testing.T) {
	_, c := setup(t)
	g, err := c.Grant(timeout(t), 30)
	require.NoError(t, err)
	s, err := concurrency.NewSession(c, concurrency.WithLease(g.ID))
	require.NoError(t, err)
	require.Equal(t, g.ID, s.Lease())
	_, err = c.Revoke(timeout(t), g.ID)
	require.NoError(t, err)
	s.Orphan()
	<-s.Done()
	require.Error(t, s.Ctx().Err())
}
