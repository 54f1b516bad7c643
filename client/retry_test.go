package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// failing makes the first n calls of a method fail and counts all of them.
func failing(s *fake.Server, method string, n int32, err error) *atomic.Int32 {
	var count atomic.Int32
	s.Hook = func(_ context.Context, m string, _ any) error {
		if m == method && count.Add(1) <= n {
			return err
		}
		return nil
	}
	return &count
}

func TestWhatIsTriedAgain(t *testing.T) {
	unavailable := status.Error(codes.Unavailable, "going away")
	get := func(ctx context.Context, c *client.Client) error { _, err := c.Get(ctx, "a"); return err }
	put := func(ctx context.Context, c *client.Client) error { _, err := c.Put(ctx, "a", "1"); return err }
	readTxn := func(ctx context.Context, c *client.Client) error {
		_, err := c.Txn(ctx).Then(client.OpGet("a"), client.OpTxn(nil, []client.Op{client.OpGet("b")}, nil)).Commit()
		return err
	}
	writeTxn := func(ctx context.Context, c *client.Client) error {
		_, err := c.Txn(ctx).Then(client.OpGet("a")).Else(client.OpPut("a", "1")).Commit()
		return err
	}
	for _, tc := range []struct {
		name, method string
		call         func(context.Context, *client.Client) error
		err          error
		attempts     int32
		want         error
	}{
		{"a read", "KV/Range", get, unavailable, 3, nil},
		{"a read without leader", "KV/Range", get, rpctypes.ErrGRPCNoLeader, 3, nil},
		{"a read with a semantic error", "KV/Range", get, rpctypes.ErrGRPCCompacted, 1, rpctypes.ErrCompacted},
		{"a write of unknown outcome", "KV/Put", put, unavailable, 1, unavailable},
		{"a write that timed out on the server", "KV/Put", put, rpctypes.ErrGRPCTimeout, 1, rpctypes.ErrTimeout},
		{"a write refused for want of a leader", "KV/Put", put, rpctypes.ErrGRPCNoLeader, 3, nil},
		{"a write refused for load", "KV/Put", put, rpctypes.ErrGRPCRequestTooManyRequests, 1, rpctypes.ErrTooManyRequests},
		{"a read-only txn", "KV/Txn", readTxn, unavailable, 3, nil},
		{"a txn that may write", "KV/Txn", writeTxn, unavailable, 1, unavailable},
		{"a learner alone", "KV/Put", put, rpctypes.ErrGRPCNotSupportedForLearner, 1, errors.New("etcdserver: rpc not supported for learner")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, c := start(t, func(cfg *client.Config) { cfg.BackoffWaitBetween = time.Millisecond })
			count := failing(s, tc.method, 2, tc.err)
			err := tc.call(timeout(t), c)
			if tc.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want.Error())
			}
			require.Equal(t, tc.attempts, count.Load())
		})
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	s, c := start(t, func(cfg *client.Config) {
		cfg.BackoffWaitBetween, cfg.MaxUnaryRetries = time.Microsecond, 7
	})
	count := failing(s, "KV/Range", 1000, rpctypes.ErrGRPCNoLeader)
	_, err := c.Get(timeout(t), "a")
	require.Equal(t, rpctypes.ErrNoLeader, err)
	require.EqualValues(t, 7, count.Load())
}

func TestALearnerIsLeftForAnotherEndpoint(t *testing.T) {
	learner, voter := fake.Start(t), fake.Start(t)
	learner.Hook = func(context.Context, string, any) error { return rpctypes.ErrGRPCNotSupportedForLearner }
	c := dial(t, learner, func(cfg *client.Config) { cfg.Endpoints = append(cfg.Endpoints, voter.Addr) })
	for range 6 {
		_, err := c.Put(timeout(t), "a", "1")
		require.NoError(t, err)
	}
	require.EqualValues(t, 7, voter.Rev())
}

func TestTheContextEndsACallWithItsOwnError(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := lis.Addr().String()
	lis.Close() // now nobody listens there
	c, err := client.New(client.Config{Endpoints: []string{addr}})
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	_, err = c.Get(ctx, "a")
	require.Equal(t, context.DeadlineExceeded, err)
	require.Contains(t, c.TransportError(), "connection refused")
}

func TestARefusedTokenIsRenewedOnceForAll(t *testing.T) {
	s := fake.Start(t)
	s.EnableAuth()
	s.SetUser("u", "p")
	s.Hook = func(_ context.Context, m string, _ any) error {
		if calls := s.Calls(m); m == "KV/Range" && calls[len(calls)-1].MD.Get("token")[0] == "token-1" {
			return rpctypes.ErrGRPCInvalidAuthToken
		}
		return nil
	}
	c := dial(t, s, func(cfg *client.Config) { cfg.Username, cfg.Password = "u", "p" })
	errs := make(chan error)
	for range 8 {
		go func() { _, err := c.Get(timeout(t), "a"); errs <- err }()
	}
	for range 8 {
		require.NoError(t, <-errs)
	}
	require.Len(t, s.Calls("Auth/Authenticate"), 2)
}

func TestAuthenticationInNew(t *testing.T) {
	s := fake.Start(t)
	s.EnableAuth()
	s.SetUser("u", "p")
	_, err := client.New(client.Config{Endpoints: []string{s.Addr}, Username: "u", Password: "wrong"})
	require.Equal(t, rpctypes.ErrAuthFailed, err)

	off := fake.Start(t)
	c := dial(t, off, func(cfg *client.Config) { cfg.Username, cfg.Password = "u", "p" })
	_, err = c.Get(timeout(t), "a")
	require.NoError(t, err, "credentials do no harm on a server without auth")
	require.Empty(t, off.Calls("KV/Range")[0].MD.Get("token"))

	c = dial(t, off, func(cfg *client.Config) { cfg.Token = "mine" })
	_, err = c.Get(timeout(t), "a")
	require.NoError(t, err)
	require.Equal(t, []string{"mine"}, off.Calls("KV/Range")[1].MD.Get("token"))

	c = dial(t, off, func(cfg *client.Config) { cfg.Username = "u" })
	_, err = c.Get(timeout(t), "a")
	require.NoError(t, err, "an empty password attempts nothing")
	require.Len(t, off.Calls("Auth/Authenticate"), 1)
}

func TestConfigErrors(t *testing.T) {
	for _, tc := range []struct {
		cfg  client.Config
		want error
	}{
		{client.Config{}, client.ErrNoAvailableEndpoints},
		{client.Config{Endpoints: []string{"a:1"}, Token: "t", Username: "u"}, client.ErrMutuallyExclusiveCfg},
		{client.Config{Endpoints: []string{"http://a:1", "https://b:1"}}, client.ErrMixedEndpoints},
	} {
		_, err := client.New(tc.cfg)
		require.ErrorIs(t, err, tc.want)
	}
	_, err := client.New(client.Config{Endpoints: []string{"a:1"}, MaxCallRecvMsgSize: 1, MaxCallSendMsgSize: 2})
	require.Error(t, err)
}

func TestRejectOldCluster(t *testing.T) {
	s := fake.Start(t)
	st, err := s.Status(context.Background(), nil)
	require.NoError(t, err)
	st.Version = "3.5.9"
	s.StatusResponse = st
	_, err = client.New(client.Config{Endpoints: []string{s.Addr}, RejectOldCluster: true})
	require.ErrorIs(t, err, client.ErrOldCluster)
}

func TestSnapshotReadsToTheEndOrSaysWhyNot(t *testing.T) {
	s, c := start(t)
	s.Blob, s.BlobVersion = make([]byte, 2000), "3.7.0"
	s.Blob[1999] = 9
	failing(s, "Maintenance/Snapshot", 2, rpctypes.ErrGRPCNoLeader)
	resp, err := c.SnapshotWithVersion(timeout(t))
	require.NoError(t, err)
	require.Equal(t, "3.7.0", resp.Version)
	require.EqualValues(t, 2000, resp.Size)
	got, err := io.ReadAll(resp.Snapshot)
	require.NoError(t, err)
	require.Equal(t, s.Blob, got)
	require.NoError(t, resp.Snapshot.Close())

	s.Blob = make([]byte, 64<<20) // more than the windows hold, so Stop cuts it
	resp, err = c.SnapshotWithVersion(timeout(t))
	require.NoError(t, err)
	s.Stop()
	_, err = io.ReadAll(resp.Snapshot)
	require.Error(t, err)
}
