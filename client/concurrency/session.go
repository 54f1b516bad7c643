// Package concurrency builds locks and elections out of the client's leases,
// transactions and watches. Its keys are laid out as etcd's clients in every
// language lay them out (name/leaseHex, oldest create revision wins), so all of
// them can take part in one lock or election.
//
// A lock here is a lease: it protects for as long as the session's lease lives.
// Work that must never run twice has to be guarded by the server too, with
// Mutex.IsOwner in its transactions or with the create revision of the key as a
// fencing token. The package knows nothing but package client.
package concurrency

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/client"
)

const defaultTTLSeconds = 60

// Session is a lease that is kept alive while the process lives. It owns one
// goroutine, which Orphan and Close end.
type Session struct {
	c          *client.Client
	id         client.LeaseID
	ttlSeconds int
	base       context.Context

	ctx    context.Context // ends with the lease, as far as it can be known
	cancel context.CancelFunc
	done   chan struct{}
	stop   func()
	once   sync.Once
}

type sessionOptions struct {
	ttlSeconds int
	lease      client.LeaseID
	ctx        context.Context
}

// SessionOption adjusts NewSession.
type SessionOption func(*sessionOptions)

// WithTTL sets the TTL in seconds, 60 otherwise. It is ignored unless positive.
func WithTTL(seconds int) SessionOption {
	return func(o *sessionOptions) {
		if seconds > 0 {
			o.ttlSeconds = seconds
		}
	}
}

// WithLease adopts a lease in place of granting one.
func WithLease(id client.LeaseID) SessionOption {
	return func(o *sessionOptions) { o.lease = id }
}

// WithContext bounds the grant and the life of the session by ctx.
func WithContext(ctx context.Context) SessionOption {
	return func(o *sessionOptions) { o.ctx = ctx }
}

// NewSession grants a lease and keeps it alive. On failure no lease is left
// behind, unless the revoke fails as well (it then expires by itself).
func NewSession(c *client.Client, opts ...SessionOption) (*Session, error) {
	o := sessionOptions{ttlSeconds: defaultTTLSeconds, ctx: c.Ctx()}
	for _, set := range opts {
		set(&o)
	}
	id := o.lease
	if id == client.NoLease {
		resp, err := c.Grant(o.ctx, int64(o.ttlSeconds))
		if err != nil {
			return nil, err
		}
		id = resp.ID
	}
	keepCtx, stop := context.WithCancel(o.ctx)
	renewals, err := c.KeepAlive(keepCtx, id)
	if err != nil {
		stop()
		if o.lease == client.NoLease {
			_ = revoke(c, o.ctx, id, o.ttlSeconds)
		}
		return nil, err
	}
	s := &Session{
		c: c, id: id, ttlSeconds: o.ttlSeconds, base: o.ctx,
		done: make(chan struct{}), stop: stop,
	}
	s.ctx, s.cancel = context.WithCancel(o.ctx)
	go func() {
		defer close(s.done)
		defer s.cancel()
		for range renewals {
		}
	}()
	return s, nil
}

// Client is the client the session lives on.
func (s *Session) Client() *client.Client { return s.c }

// Lease is the session's lease.
func (s *Session) Lease() client.LeaseID { return s.id }

// Done is closed when the lease is lost, or renewing it has ended for any other
// reason. The lease may have expired on the server a moment earlier.
func (s *Session) Done() <-chan struct{} { return s.done }

// Ctx ends with Done.
func (s *Session) Ctx() context.Context { return s.ctx }

// Orphan ends the renewals and leaves the lease to expire.
func (s *Session) Orphan() {
	s.once.Do(s.stop)
	<-s.done
}

// Close ends the renewals and revokes the lease, within the TTL of the session.
func (s *Session) Close() error {
	s.Orphan()
	return revoke(s.c, s.base, s.id, s.ttlSeconds)
}

func revoke(c *client.Client, ctx context.Context, id client.LeaseID, limitSeconds int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(limitSeconds)*time.Second)
	defer cancel()
	_, err := c.Revoke(ctx, id)
	return err
}
