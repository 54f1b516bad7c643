package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// limit bounds every wait of these tests; it is only reached by failures.
const limit = 10 * time.Second

func start(t *testing.T, edit ...func(*client.Config)) (*fake.Server, *client.Client) {
	t.Helper()
	s := fake.Start(t)
	return s, dial(t, s, edit...)
}

func dial(t *testing.T, s *fake.Server, edit ...func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{Endpoints: []string{s.Addr}, DialTimeout: limit}
	for _, e := range edit {
		e(&cfg)
	}
	c, err := client.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

// next takes one response; a closed channel is the zero response and false.
func next(t *testing.T, ch client.WatchChan) (client.WatchResponse, bool) {
	t.Helper()
	select {
	case r, ok := <-ch:
		return r, ok
	case <-time.After(limit):
		t.Fatal("expected a watch response")
		return client.WatchResponse{}, false
	}
}

// collect takes events until n came, as "PUT k=v@rev".
func collect(t *testing.T, ch client.WatchChan, n int) []string {
	t.Helper()
	var got []string
	for len(got) < n {
		r, ok := next(t, ch)
		require.True(t, ok, "the watch ended after %v", got)
		require.NoError(t, r.Err())
		for _, ev := range r.Events {
			got = append(got, fmt.Sprintf("%s %s=%s@%d", ev.Type, ev.Kv.Key, ev.Kv.Value, ev.Kv.ModRevision))
		}
	}
	return got
}

func TestWatchFollowsARangeFromARevision(t *testing.T) {
	s, c := start(t)
	s.Set("a=1", "b=1", "a=2")
	ch := c.Watch(timeout(t), "a", client.WithRev(2))
	require.Equal(t, []string{"PUT a=1@2", "PUT a=2@4"}, collect(t, ch, 2))
	_, err := c.Delete(timeout(t), "a")
	require.NoError(t, err)
	require.Equal(t, []string{"DELETE a=@5"}, collect(t, ch, 1))
}

func TestWatchResumesAfterARestartWithoutLossOrRepetition(t *testing.T) {
	s, c := start(t)
	s.Set("old=0")
	ch := c.Watch(timeout(t), "", client.WithPrefix())
	idle := c.Watch(timeout(t), "idle") // saw nothing before the break
	s.Set("a=1")
	require.Equal(t, []string{"PUT a=1@3"}, collect(t, ch, 1))
	s.Stop()
	s.Set("a=2", "idle=1")
	s.Restart(t)
	s.Set("a=3")
	require.Equal(t, []string{"PUT a=2@4", "PUT idle=1@5", "PUT a=3@6"}, collect(t, ch, 3))
	require.Equal(t, []string{"PUT idle=1@5"}, collect(t, idle, 1))
	require.GreaterOrEqual(t, len(s.Calls("Watch/Watch")), 2, "one stream before and one after the restart")
}

func TestWatchOverCompactedHistoryEndsWithTheError(t *testing.T) {
	s, c := start(t)
	s.Set("a=1", "a=2", "a=3")
	_, err := c.Compact(timeout(t), 4)
	require.NoError(t, err)
	ch := c.Watch(timeout(t), "a", client.WithRev(2))
	r, ok := next(t, ch)
	require.True(t, ok)
	require.True(t, r.Canceled)
	require.EqualValues(t, 4, r.CompactRevision)
	require.Equal(t, rpctypes.ErrCompacted, r.Err())
	_, ok = next(t, ch)
	require.False(t, ok, "the channel closes after the last response")
}

func TestWatchCompactedWhileDisconnected(t *testing.T) {
	s, c := start(t)
	ch := c.Watch(timeout(t), "a")
	s.Stop()
	s.Set("a=1", "a=2", "a=3")
	_, err := s.Compact(context.Background(), &pb.CompactionRequest{Revision: 4})
	require.NoError(t, err)
	s.Restart(t)
	r, _ := next(t, ch)
	require.Equal(t, rpctypes.ErrCompacted, r.Err())
}

func TestWatchRefusedAtCreation(t *testing.T) {
	s, c := start(t)
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		if string(r.GetCreateRequest().GetKey()) != "secret" {
			return nil, nil
		}
		return &pb.WatchResponse{WatchId: -1, Created: true, Canceled: true,
			CancelReason: "rpc error: code = PermissionDenied desc = etcdserver: permission denied"}, nil
	}
	ok := c.Watch(timeout(t), "open")
	r, _ := next(t, c.Watch(timeout(t), "secret"))
	require.True(t, r.Canceled)
	require.ErrorIs(t, r.Err(), rpctypes.ErrPermissionDenied)
	s.Set("open=1")
	require.Equal(t, []string{"PUT open=1@2"}, collect(t, ok, 1), "the other watch of the stream goes on")
}

func TestWatchCancelledByTheServerKeepsItsQueueAndGivesTheReason(t *testing.T) {
	s, c := start(t)
	ch := c.Watch(timeout(t), "a")
	var once sync.Once
	s.OnWatch = func(r *pb.WatchRequest) (resp *pb.WatchResponse, err error) {
		if r.GetProgressRequest() != nil {
			once.Do(func() { resp = &pb.WatchResponse{WatchId: 0, Canceled: true, CancelReason: "revoked"} })
		}
		return resp, nil
	}
	s.Set("a=1", "a=2")
	require.NoError(t, c.RequestProgress(timeout(t)))
	require.Equal(t, []string{"PUT a=1@2", "PUT a=2@3"}, collect(t, ch, 2))
	r, _ := next(t, ch)
	require.True(t, r.Canceled)
	require.Equal(t, "revoked", r.CancelReason)
	require.ErrorContains(t, r.Err(), "revoked")
	_, open := next(t, ch)
	require.False(t, open)
}

func TestWatchWithRequiredLeaderEndsWithNoLeader(t *testing.T) {
	s, c := start(t)
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		if r.GetProgressRequest() != nil {
			return nil, rpctypes.ErrGRPCNoLeader
		}
		return nil, nil
	}
	ctx := client.WithRequireLeader(timeout(t))
	ch := c.Watch(ctx, "a")
	require.NoError(t, c.RequestProgress(ctx))
	r, _ := next(t, ch)
	require.True(t, r.Canceled)
	require.Equal(t, rpctypes.ErrNoLeader, r.Err())
	require.Equal(t, []string{"true"}, s.Calls("Watch/Watch")[0].MD.Get("hasleader"))
	require.Equal(t, []string{"3.7"}, s.Calls("Watch/Watch")[0].MD.Get("client-api-version"))
}

func TestWatchErrorsThatAreNotTransientEndEveryWatch(t *testing.T) {
	s, c := start(t)
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		if r.GetProgressRequest() != nil {
			return nil, status.Error(codes.Unimplemented, "nothing here")
		}
		return nil, nil
	}
	a, b := c.Watch(timeout(t), "a"), c.Watch(timeout(t), "b")
	require.NoError(t, c.RequestProgress(timeout(t)))
	for _, ch := range []client.WatchChan{a, b} {
		r, _ := next(t, ch)
		require.True(t, r.Canceled)
		require.ErrorContains(t, r.Err(), "nothing here")
		_, open := next(t, ch)
		require.False(t, open)
	}
	s.OnWatch = nil
	s.Set("a=1")
	require.Equal(t, []string{"PUT a=1@2"}, collect(t, c.Watch(timeout(t), "a", client.WithRev(1)), 1),
		"a new watch opens a new stream")
}

func TestWatchJoinsFragments(t *testing.T) {
	s, c := start(t)
	ev := func(k string) *mvccpb.Event {
		return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(k), ModRevision: 2}}
	}
	parts := []*pb.WatchResponse{
		{Header: &pb.ResponseHeader{Revision: 2}, Fragment: true, Events: []*mvccpb.Event{ev("a")}},
		{Header: &pb.ResponseHeader{Revision: 2}, Fragment: true, Events: []*mvccpb.Event{ev("b")}},
		{Header: &pb.ResponseHeader{Revision: 2}, Events: []*mvccpb.Event{ev("c")}},
	}
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		if r.GetProgressRequest() == nil {
			return nil, nil
		}
		if len(parts) == 0 {
			return nil, nil
		}
		p := parts[0]
		parts = parts[1:]
		return p, nil
	}
	ch := c.Watch(timeout(t), "", client.WithPrefix(), client.WithFragment())
	ask := time.NewTicker(time.Millisecond) // requests that meet one still queued are dropped
	defer ask.Stop()
	for stop := time.After(limit); ; {
		select {
		case r := <-ch:
			require.Len(t, r.Events, 3)
			return
		case <-ask.C:
			require.NoError(t, c.RequestProgress(timeout(t)))
		case <-stop:
			t.Fatal("expected the joined response")
		}
	}
}

func TestProgressReachesEveryWatchOfTheStream(t *testing.T) {
	s, c := start(t)
	a, b := c.Watch(timeout(t), "a"), c.Watch(timeout(t), "b")
	s.Set("x=1")
	require.NoError(t, c.RequestProgress(timeout(t)))
	for _, ch := range []client.WatchChan{a, b} {
		r, _ := next(t, ch)
		require.True(t, r.IsProgressNotify())
		require.EqualValues(t, 2, r.Header.Revision)
	}
}

func TestCreatedNotifyComesOnce(t *testing.T) {
	s, c := start(t)
	ch := c.Watch(timeout(t), "a", client.WithCreatedNotify())
	r, _ := next(t, ch)
	require.True(t, r.Created)
	s.Stop()
	s.Restart(t)
	s.Set("a=1")
	require.Equal(t, []string{"PUT a=1@2"}, collect(t, ch, 1))
}

func TestASlowReaderIsParkedAndMissesNothing(t *testing.T) {
	s, c := start(t, func(cfg *client.Config) { cfg.WatchBufferBytes = 4 << 10 })
	ch := c.Watch(timeout(t), "k")
	val := strings.Repeat("v", 1<<10)
	const n = 50
	for range n {
		s.Set("k=" + val)
	}
	got := collect(t, ch, n)
	require.Len(t, got, n)
	for i, g := range got {
		require.Equal(t, fmt.Sprintf("PUT k=%s@%d", val, i+2), g)
	}
}

func TestCancelledContextClosesItsWatchOnly(t *testing.T) {
	s, c := start(t)
	ctx, cancel := context.WithCancel(timeout(t))
	a, b := c.Watch(ctx, "a"), c.Watch(timeout(t), "b")
	cancel()
	_, open := next(t, a)
	require.False(t, open)
	s.Set("b=1")
	require.Equal(t, []string{"PUT b=1@2"}, collect(t, b, 1))
}

func TestCloseClosesWatches(t *testing.T) {
	s, c := start(t)
	ch := c.Watch(context.Background(), "a")
	for range 3 { // the reader is behind: nobody has to drain
		s.Set("a=1")
	}
	require.NoError(t, c.Close())
	for {
		if _, open := next(t, ch); !open {
			break
		}
	}
	_, open := next(t, c.Watch(context.Background(), "a"))
	require.False(t, open, "a watch after Close is closed at once")
	require.ErrorIs(t, c.RequestProgress(context.Background()), client.ErrWatcherClosed)
	require.Error(t, c.Close(), "a second Close says so")
}

func TestWatchRenewsARefusedToken(t *testing.T) {
	s := fake.Start(t)
	s.EnableAuth()
	s.SetUser("u", "p")
	s.OnWatch = func(r *pb.WatchRequest) (*pb.WatchResponse, error) {
		calls := s.Calls("Watch/Watch")
		if r.GetCreateRequest() != nil && calls[len(calls)-1].MD.Get("token")[0] == "token-1" {
			return &pb.WatchResponse{WatchId: -1, Created: true, Canceled: true,
				CancelReason: "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"}, nil
		}
		return nil, nil
	}
	c := dial(t, s, func(cfg *client.Config) { cfg.Username, cfg.Password = "u", "p" })
	ch := c.Watch(timeout(t), "a")
	s.Set("a=1")
	require.Equal(t, []string{"PUT a=1@2"}, collect(t, ch, 1))
	require.Len(t, s.Calls("Auth/Authenticate"), 2)
}

func TestWatchResponseErr(t *testing.T) {
	for _, tc := range []struct {
		r    client.WatchResponse
		want error
	}{
		{client.WatchResponse{}, nil},
		{client.WatchResponse{Canceled: true, CompactRevision: 7}, rpctypes.ErrCompacted},
		{client.WatchResponse{Canceled: true}, rpctypes.ErrFutureRev},
		{client.WatchResponse{Canceled: true, CancelReason: "etcdserver: permission denied"}, rpctypes.ErrPermissionDenied},
		{client.WatchResponse{Canceled: true, CancelReason: "odd"}, status.Error(codes.FailedPrecondition, "odd")},
	} {
		if got := tc.r.Err(); !errors.Is(got, tc.want) {
			t.Errorf("%+v: got %v, want %v", &tc.r, got, tc.want)
		}
	}
}
