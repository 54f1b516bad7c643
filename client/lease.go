package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// LeaseID names a lease. People write it in lower-case hex.
type LeaseID int64

const (
	// NoLease is the absence of a lease.
	NoLease LeaseID = 0
	// MaxLeaseTTL is the longest TTL a server grants, in seconds.
	MaxLeaseTTL = 9_000_000_000
	// LeaseResponseChSize is the buffer of a keep-alive channel. Renewals that
	// find it full are dropped; the lease is renewed all the same.
	LeaseResponseChSize = 16
)

// The lease responses. TTLs are seconds.
type (
	LeaseRevokeResponse pb.LeaseRevokeResponse

	LeaseGrantResponse struct {
		*pb.ResponseHeader
		ID    LeaseID
		TTL   int64
		Error string
	}

	LeaseKeepAliveResponse struct {
		*pb.ResponseHeader
		ID  LeaseID
		TTL int64
	}

	LeaseTimeToLiveResponse struct {
		*pb.ResponseHeader
		ID         LeaseID  `json:"id"`
		TTL        int64    `json:"ttl"`
		GrantedTTL int64    `json:"granted-ttl"`
		Keys       [][]byte `json:"keys"`
	}

	LeaseStatus struct {
		ID LeaseID `json:"id"`
	}

	LeaseLeasesResponse struct {
		*pb.ResponseHeader
		Leases []LeaseStatus `json:"leases"`
	}
)

// Lease grants leases and keeps them alive.
type Lease interface {
	// Grant makes a lease of ttl seconds; the server may raise it.
	Grant(ctx context.Context, ttl int64) (*LeaseGrantResponse, error)
	// Revoke ends a lease and deletes its keys.
	Revoke(ctx context.Context, id LeaseID) (*LeaseRevokeResponse, error)
	// TimeToLive tells what is left; an unknown lease has TTL -1, no error.
	TimeToLive(ctx context.Context, id LeaseID, opts ...LeaseOption) (*LeaseTimeToLiveResponse, error)
	Leases(ctx context.Context) (*LeaseLeasesResponse, error)
	// KeepAlive renews the lease every third of its TTL until ctx ends, the
	// lease is gone, or no renewal succeeded for a whole TTL; then the channel
	// is closed. Calls on one lease share its renewals.
	KeepAlive(ctx context.Context, id LeaseID) (<-chan *LeaseKeepAliveResponse, error)
	// KeepAliveOnce renews once; a lease that is gone is ErrLeaseNotFound,
	// returned beside the response.
	KeepAliveOnce(ctx context.Context, id LeaseID) (*LeaseKeepAliveResponse, error)
	// Close stops all renewals and closes their channels.
	Close() error
}

type lessor struct {
	remote       pb.LeaseClient
	c            *Client
	firstTimeout time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // one element: the sender has something new to look at
	done   chan struct{} // closed when the loop has ended

	mu      sync.Mutex
	running bool // the loop has been started
	halted  error
	leases  map[LeaseID]*renewal
}

// NewLease makes the lease part of a client.
func NewLease(c *Client) Lease {
	timeout := defaultFirstKeepAliveTTL
	if c.cfg.DialTimeout > 0 {
		timeout = c.cfg.DialTimeout + time.Second
	}
	return NewLeaseFromLeaseClient(pb.NewLeaseClient(c.conn), c, timeout)
}

// NewLeaseFromLeaseClient makes a Lease over a given remote. keepAliveTimeout
// bounds the wait for the first renewal of a lease.
func NewLeaseFromLeaseClient(remote pb.LeaseClient, c *Client, keepAliveTimeout time.Duration) Lease {
	l := &lessor{
		remote: remote, c: c, firstTimeout: keepAliveTimeout,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		leases: make(map[LeaseID]*renewal),
	}
	if l.firstTimeout < time.Second {
		l.firstTimeout = defaultFirstKeepAliveTTL
	}
	base := context.Background()
	if c != nil {
		base = c.ctx
	}
	l.ctx, l.cancel = context.WithCancel(WithRequireLeader(base))
	return l
}

func (l *lessor) Grant(ctx context.Context, ttl int64) (*LeaseGrantResponse, error) {
	resp, err := l.remote.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl})
	if err != nil {
		return nil, ContextError(ctx, err)
	}
	return &LeaseGrantResponse{resp.GetHeader(), LeaseID(resp.ID), resp.TTL, resp.Error}, nil
}

func (l *lessor) Revoke(ctx context.Context, id LeaseID) (*LeaseRevokeResponse, error) {
	resp, err := l.remote.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(id)})
	if err != nil {
		return nil, ContextError(ctx, err)
	}
	return (*LeaseRevokeResponse)(resp), nil
}

func (l *lessor) TimeToLive(ctx context.Context, id LeaseID, opts ...LeaseOption) (*LeaseTimeToLiveResponse, error) {
	req := &pb.LeaseTimeToLiveRequest{ID: int64(id)}
	for _, o := range opts {
		o(req)
	}
	resp, err := l.remote.LeaseTimeToLive(ctx, req)
	if err != nil {
		return nil, ContextError(ctx, err)
	}
	return &LeaseTimeToLiveResponse{resp.GetHeader(), LeaseID(resp.ID), resp.TTL, resp.GrantedTTL, resp.Keys}, nil
}

func (l *lessor) Leases(ctx context.Context) (*LeaseLeasesResponse, error) {
	resp, err := l.remote.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		return nil, ContextError(ctx, err)
	}
	list := make([]LeaseStatus, len(resp.Leases))
	for i, s := range resp.Leases {
		list[i] = LeaseStatus{LeaseID(s.ID)}
	}
	return &LeaseLeasesResponse{resp.GetHeader(), list}, nil
}

func (l *lessor) KeepAliveOnce(ctx context.Context, id LeaseID) (*LeaseKeepAliveResponse, error) {
	for attempt := 0; ; attempt++ {
		resp, err := l.keepAliveOnce(ctx, id)
		if err == nil {
			if resp.TTL <= 0 {
				err = rpctypes.ErrLeaseNotFound
			}
			return resp, err
		}
		if isHalt(ctx, err) {
			return nil, ContextError(ctx, err)
		}
		wait := min(defaultBackoff<<min(attempt, 10), maxBackoff)
		if sleep(ctx, wait) != nil {
			return nil, ContextError(ctx, err)
		}
	}
}

func (l *lessor) keepAliveOnce(ctx context.Context, id LeaseID) (*LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := l.remote.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	// A failed Send says io.EOF; the reason comes from Recv.
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)})
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return &LeaseKeepAliveResponse{resp.GetHeader(), LeaseID(resp.ID), resp.TTL}, nil
}

// Close stops the loop and waits for it.
func (l *lessor) Close() error {
	l.halt(errors.New("lease client is closed"))
	l.cancel()
	l.mu.Lock()
	running := l.running
	l.mu.Unlock()
	if running {
		<-l.done
	}
	return nil
}
