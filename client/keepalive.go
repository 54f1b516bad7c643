package client

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// How keep-alive works. One goroutine (run) owns a bidirectional stream for all
// leases of the client and opens it again, for ever, when it breaks. Beside an
// open stream one goroutine (send) writes the renewals that are due and closes
// what has run out of time. A lease counts as alive for a TTL from the moment
// its renewal was sent, not from the answer: the server's clock started no later
// than that.

const (
	keepAliveReopen  = 500 * time.Millisecond // pause before a new stream
	keepAliveResend  = 500 * time.Millisecond // first wait for an answer
	keepAliveMinTick = 10 * time.Millisecond
)

// renewal is one lease that is kept alive. lessor.mu guards it.
type renewal struct {
	listeners []*listener
	ttl       time.Duration // 0 before the first answer
	due       time.Time     // when to send next
	resend    time.Duration // wait after the next unanswered send
	sent      []time.Time   // sends on this stream without an answer, in order
	deadline  time.Time     // when to give the lease up
}

// listener is one KeepAlive call.
type listener struct {
	ch   chan *LeaseKeepAliveResponse
	ctx  context.Context
	stop func() bool // detaches from ctx
}

func (l *lessor) KeepAlive(ctx context.Context, id LeaseID) (<-chan *LeaseKeepAliveResponse, error) {
	li := &listener{ch: make(chan *LeaseKeepAliveResponse, LeaseResponseChSize), ctx: ctx}
	l.mu.Lock()
	if l.halted != nil {
		err := l.halted
		l.mu.Unlock()
		close(li.ch)
		return li.ch, ErrKeepAliveHalted{Reason: err}
	}
	r := l.leases[id]
	if r == nil {
		now := time.Now()
		r = &renewal{due: now, resend: keepAliveResend, deadline: now.Add(l.firstTimeout)}
		l.leases[id] = r
	}
	r.listeners = append(r.listeners, li)
	li.stop = context.AfterFunc(ctx, func() { l.leave(id, li) })
	if !l.running {
		l.running = true
		go l.run()
	}
	l.mu.Unlock()
	l.nudge()
	return li.ch, nil
}

// nudge makes the sender look at the leases again.
func (l *lessor) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// leave ends one listener; the last one stops the renewals of its lease.
func (l *lessor) leave(id LeaseID, li *listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.leases[id]
	if r == nil {
		return
	}
	for i, other := range r.listeners {
		if other == li {
			close(li.ch)
			r.listeners = append(r.listeners[:i], r.listeners[i+1:]...)
			break
		}
	}
	if len(r.listeners) == 0 {
		delete(l.leases, id)
	}
}

// drop closes all listeners of a lease. The caller holds l.mu.
func (l *lessor) drop(id LeaseID) {
	for _, li := range l.leases[id].listeners {
		li.stop()
		close(li.ch)
	}
	delete(l.leases, id)
}

// halt refuses new calls and closes the listeners there are.
func (l *lessor) halt(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halted == nil {
		l.halted = reason
	}
	for id := range l.leases {
		l.drop(id)
	}
}

// run owns the stream until Close.
func (l *lessor) run() {
	defer close(l.done)
	defer func() { l.halt(l.ctx.Err()) }()
	for l.ctx.Err() == nil {
		_, round := l.c.tokenRound()
		err := l.serveStream()
		switch {
		case isMessage(err, rpctypes.ErrGRPCNoLeader):
			l.dropLeaderless()
		case l.c != nil && l.c.tokens.refused(err):
			err = l.c.tokens.refresh(l.ctx, round)
		}
		if l.c != nil && err != nil && l.ctx.Err() == nil {
			l.c.log.Debug("keep-alive stream ended", "error", err)
		}
		l.waitClosedStream()
	}
}

// waitClosedStream waits before the next attempt, still expiring what is late.
func (l *lessor) waitClosedStream() {
	_ = sleep(l.ctx, keepAliveReopen) // ctx is looked at by the caller
	l.expire(time.Now())
}

// serveStream opens one stream and works on it until it breaks.
func (l *lessor) serveStream() error {
	ctx, cancel := context.WithCancel(l.ctx)
	sending := make(chan struct{})
	var stream pb.Lease_LeaseKeepAliveClient
	// The sender also expires leases while the stream waits for a connection.
	opened := make(chan pb.Lease_LeaseKeepAliveClient, 1)
	go func() {
		defer close(sending)
		l.send(ctx, opened)
	}()
	defer func() { cancel(); <-sending }()

	stream, err := l.remote.LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	for _, r := range l.leases { // answers to the old stream will not come
		r.due, r.resend, r.sent = time.Now(), keepAliveResend, nil
	}
	l.mu.Unlock()
	opened <- stream
	for {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		l.received(resp)
	}
}

// send writes renewals as they fall due, until ctx ends or a write fails (the
// receiver then sees the reason).
func (l *lessor) send(ctx context.Context, opened <-chan pb.Lease_LeaseKeepAliveClient) {
	var stream pb.Lease_LeaseKeepAliveClient
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case stream = <-opened:
		case <-l.wake:
		case <-timer.C:
		}
		now := time.Now()
		next := l.expire(now)
		if stream != nil {
			var ids []LeaseID
			if ids, next = l.takeDue(now); len(ids) > 0 {
				for _, id := range ids {
					if stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)}) != nil {
						return
					}
				}
			}
		}
		timer.Reset(max(keepAliveMinTick, time.Until(next)))
	}
}

// takeDue marks the leases to renew at now as sent, and says when to look again.
func (l *lessor) takeDue(now time.Time) (ids []LeaseID, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next = now.Add(time.Second)
	for id, r := range l.leases {
		if !r.due.After(now) {
			ids = append(ids, id)
			r.sent = append(r.sent, now)
			r.due = now.Add(r.resend)
			r.resend = min(2*r.resend, max(r.ttl/3, keepAliveResend))
		}
		if r.due.Before(next) {
			next = r.due
		}
		if r.deadline.Before(next) {
			next = r.deadline
		}
	}
	return ids, next
}

// expire closes leases that had no answer in time, and says when to look again.
func (l *lessor) expire(now time.Time) (next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next = now.Add(time.Second)
	for id, r := range l.leases {
		if r.deadline.Before(now) {
			l.drop(id)
		} else if r.deadline.Before(next) {
			next = r.deadline
		}
	}
	return next
}

// received books one answer and offers it to the listeners.
func (l *lessor) received(resp *pb.LeaseKeepAliveResponse) {
	ka := &LeaseKeepAliveResponse{resp.GetHeader(), LeaseID(resp.ID), resp.TTL}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.leases[ka.ID]
	if r == nil {
		return // its last listener left meanwhile
	}
	if ka.TTL <= 0 {
		l.drop(ka.ID)
		return
	}
	now := time.Now()
	sent := now
	if len(r.sent) > 0 {
		sent, r.sent = r.sent[0], r.sent[1:]
	}
	r.ttl = time.Duration(min(ka.TTL, MaxLeaseTTL)) * time.Second
	r.deadline = sent.Add(r.ttl)
	r.due = now.Add(r.ttl / 3)
	r.resend = keepAliveResend
	for _, li := range r.listeners {
		select {
		case li.ch <- ka:
		default: // nobody reads: the lease lives on all the same
		}
	}
	l.nudge()
}

// dropLeaderless ends the listeners that asked to hear of a lost leader.
func (l *lessor) dropLeaderless() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, r := range l.leases {
		kept := r.listeners[:0]
		for _, li := range r.listeners {
			if requiresLeader(li.ctx) {
				li.stop()
				close(li.ch)
			} else {
				kept = append(kept, li)
			}
		}
		if r.listeners = kept; len(kept) == 0 {
			delete(l.leases, id)
		}
	}
}

// tokenRound is the token state a stream is about to be opened with; a lessor
// without a client has none.
func (c *Client) tokenRound() (string, uint64) {
	if c == nil {
		return "", 0
	}
	return c.tokens.current()
}
