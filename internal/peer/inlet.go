package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// redials are the waits before the next attempt to open a stream. A peer that has just been lost is tried again at once:
// if its process is gone, its port refuses, and raft need not wait for a timeout to know. Then it is etcd's ten times a
// second.
var redials = [...]time.Duration{0, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond}

// lasting is how long a stream has to live for the next attempt to be an immediate one.
const lasting = 200 * time.Millisecond

// inlet opens one stream of a peer and reads it, again and again. It is one goroutine, which ends with the peer.
type inlet struct {
	p    *peer
	kind streamKind
}

func newInlet(p *peer, kind streamKind) *inlet { return &inlet{p, kind} }

func (in *inlet) run() {
	p := in.p
	for attempt := 0; p.ctx.Err() == nil; attempt++ {
		if !sleep(p.ctx, redials[min(attempt, len(redials)-1)]) {
			return
		}
		began := time.Now()
		body, err := in.open(attempt)
		if err != nil {
			p.failed("dial", in.kind.String(), err)
			continue
		}
		p.activated()
		p.log.Info("established TCP streaming connection with remote peer", "stream-reader-type", in.kind.String())
		err = in.read(body)
		_ = body.Close()
		if p.ctx.Err() != nil {
			return
		}
		p.log.Warn("lost TCP streaming connection with remote peer", "stream-reader-type", in.kind.String(), "error", err.Error())
		if !closed(err) {
			p.failed("read", in.kind.String(), err)
		}
		if time.Since(began) > lasting {
			attempt = -1
		}
	}
}

// open asks the peer for the stream.
func (in *inlet) open(attempt int) (io.ReadCloser, error) {
	p := in.p
	u, since := p.addrs.pick(), p.status.since()
	if u == nil {
		return nil, errors.New("peer: no address is known")
	}
	req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, at(u, pathStream+in.kind.name()+"/"+p.t.cfg.ID.String()), nil)
	if err != nil {
		return nil, err
	}
	req.Header = p.t.me.head.Clone()
	req.Header[headTo] = []string{p.id.String()}
	resp, err := p.t.streams.RoundTrip(req)
	if err != nil {
		// A port that resets the first attempt after a loss belongs to a process that is just ending, or to one that is
		// only overloaded: the next attempt, a moment later, tells.
		p.unreached(u, errors.Is(err, syscall.ECONNREFUSED) || attempt > 1 && refused(err), since)
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxHead))
	p.unreached(u, false, since)
	switch resp.StatusCode {
	case http.StatusGone:
		p.expel()
		return nil, errRemoved
	case http.StatusNotFound:
		return nil, errNotKnown
	case http.StatusPreconditionFailed:
		return nil, precondition(text)
	}
	return nil, fmt.Errorf("peer: unexpected status %s", resp.Status)
}

// precondition is the error that the body of a 412 stands for.
func precondition(body []byte) error {
	switch text := strings.TrimSuffix(string(body), "\n"); text {
	case errIncompatible.Error():
		return errIncompatible
	case errOtherCluster.Error():
		return errOtherCluster
	default:
		return fmt.Errorf("peer: precondition failed: %.100q", text)
	}
}

// read brings messages to raft until the stream ends.
func (in *inlet) read(body io.Reader) error {
	p := in.p
	self := uint64(p.t.cfg.ID)
	raft := p.t.cfg.Raft
	f := newFrameReader(in.kind, body, p.t.cfg.ID, p.id)
	var told time.Time
	for {
		m, n, err := f.next()
		if err != nil {
			return err
		}
		p.figures.received(n)
		if m == nil || p.cut.Load() {
			continue
		}
		if m.GetTo() != self || !travels(m) {
			p.figures.notReceived()
			continue
		}
		if isAppend(m) {
			p.t.received.add(1, n, time.Now())
		}
		if err := raft.Process(p.ctx, m); err != nil {
			p.figures.notReceived()
			if now := time.Now(); now.Sub(told) > time.Second && p.ctx.Err() == nil {
				told = now
				p.log.Warn("failed to process Raft message", "message-type", m.GetType().String(), "error", err.Error())
			}
		}
	}
}

// sleep waits, false if the context has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
