package peer

import (
	"net/url"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Status is what is known of the connection with a peer.
type Status struct {
	ID          cluster.ID
	URLs        []string
	Temporary   bool      // not a member that is known here: it has made itself known
	Active      bool      // as etcd counts: a stream was opened or a message posted, and nothing has failed since
	ActiveSince time.Time // zero if it is not active

	RoundTrip       time.Duration // smoothed; 0 before the first probe
	ClockDifference time.Duration // how far the peer's clock is behind this one's
	LastError       error         // of the last failure, nil if there was none
	LastErrorAt     time.Time
}

// status is the part of Status that changes.
type status struct {
	mu  sync.Mutex
	now Status
	// armed is set while the loss of the peer has not been told of.
	armed bool
	// reached counts how often the peer was. An attempt that began before the last time says nothing about now.
	reached uint64
}

func (s *status) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// activate notes that the peer was reached. It reports whether it was not active before.
func (s *status) activate(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = true
	s.reached++
	if s.now.Active {
		return false
	}
	s.now.Active, s.now.ActiveSince = true, at
	return true
}

// deactivate notes a failure. It reports whether the peer was active before.
func (s *status) deactivate(at time.Time, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.LastError, s.now.LastErrorAt = err, at
	was := s.now.Active
	s.now.Active, s.now.ActiveSince = false, time.Time{}
	return was
}

// since is for lost: to be asked before an attempt.
func (s *status) since() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached
}

// lost reports, once for each loss, that it has to be told of, if the peer was not reached meanwhile.
func (s *status) lost(since uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed || s.reached != since {
		return false
	}
	s.armed = false
	return true
}

// probed notes a probe's time and the difference of the clocks.
func (s *status) probed(rtt time.Duration, difference func(smoothed time.Duration) time.Duration) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.RoundTrip == 0 {
		s.now.RoundTrip = rtt
	}
	s.now.RoundTrip += (rtt - s.now.RoundTrip) / 8
	s.now.ClockDifference = difference(s.now.RoundTrip)
	return s.now
}

func (p *peer) activated() {
	p.addrs.alive()
	if p.status.activate(time.Now()) {
		p.log.Info("peer became active")
		p.figures.active(true)
	}
}

// failed notes what went wrong with the peer. While it goes on it is only a matter for debugging.
func (p *peer) failed(action, source string, err error) {
	if p.ctx.Err() != nil {
		return // we have ended it
	}
	if p.status.deactivate(time.Now(), err) {
		p.log.Warn("peer became inactive (message send to peer failed)", "action", action, "source", source, "error", err.Error())
		p.figures.active(false)
		p.figures.lost()
		return
	}
	p.log.Debug("peer deactivated again", "action", action, "source", source, "error", err.Error())
}

// unreached moves on to the peer's next address after an attempt has failed. With refused, nobody listened at this one; if
// nobody does at any, raft is told.
func (p *peer) unreached(u *url.URL, refused bool, since uint64) {
	if p.addrs.failed(u, refused) && p.ctx.Err() == nil && !p.temporary && p.status.lost(since) {
		p.log.Warn("peer is down: nothing listens at its addresses")
		p.t.cfg.Raft.Down(p.id)
	}
}
