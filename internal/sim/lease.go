package sim

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// lessee is a client that holds a lease: it is granted it, puts keys under it, renews it for a while and then lets it
// end, or ends it. When it has ended it asks for another one, under the same ID.
type lessee struct {
	s     *system
	w     *world
	m     *member // asked last
	lease int64
	ask   int  // counts questions; answers to any but the last are ignored
	busy  bool // a question is open
	tired bool // it renews the lease no more
}

func (l *lessee) run() {
	if l.s.calm {
		return
	}
	l.w.after(l.w.between(50*time.Millisecond, 600*time.Millisecond), l.run)
	m := l.s.anyone(l.m)
	if l.busy || m == nil {
		return
	}
	l.m = m
	life := m.life
	m.enter(life, func() error {
		l.next(m)
		return m.pump()
	})
}

// begin opens a question. The function it returns tells whether an answer is still waited for.
func (l *lessee) begin() (answered func() bool) {
	l.busy = true
	l.ask++
	ask := l.ask
	l.w.after(requestTimeout, func() {
		if l.ask == ask {
			l.busy = false
		}
	})
	return func() bool {
		if l.ask != ask || !l.busy {
			return false
		}
		l.busy = false
		return true
	}
}

// next decides what to do. What is really the case it knows from the truth: this is a driver, not a check.
func (l *lessee) next(m *member) {
	book := &l.s.truth.leases
	t := book.now[l.lease]
	if t == nil || t.ended > 0 {
		if l.w.chance(40) {
			l.grant(m)
		}
		return
	}
	if !l.tired && l.w.chance(7) {
		l.tired = true
	}
	switch p := l.w.rng.IntN(100); {
	case p < 10:
		key := fmt.Sprintf("lease/%d/%d", l.lease, l.w.rng.IntN(2))
		answered := l.begin()
		m.propose(wire.KindPut, &pb.PutRequest{Key: []byte(key), Value: []byte("held"), Lease: l.lease}, func(machine.Result) { answered() })
	case p < 12:
		t.asked = true
		answered := l.begin()
		id := m.propose(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: l.lease}, func(machine.Result) { answered() })
		book.revokes[id] = true
		// An ID is used again only when the leader has ended its lease: what the leader asks for may just be on its way, and
		// would meet the next lease of that ID.
		l.lease += 100
	case p < 70 && !l.tired:
		l.renew(m)
	}
}

func (l *lessee) grant(m *member) {
	l.tired = l.w.chance(30)
	ttl := time.Duration(minLeaseTTL+l.w.rng.IntN(7)) * time.Second
	asked, jumped := l.w.now, l.s.jumped
	answered := l.begin()
	var id uint64
	id = m.propose(wire.KindLeaseGrant, &pb.LeaseGrantRequest{ID: l.lease, TTL: int64(ttl / time.Second)}, func(r machine.Result) {
		if r.Err == nil {
			l.s.truth.leases.promise(l.s.truth.leases.byRequest[id], asked, jumped, ttl)
		}
		answered()
	})
}

func (l *lessee) renew(m *member) {
	asked, jumped := l.w.now, l.s.jumped
	answered := l.begin()
	m.renew(l.lease, l.w.now+requestTimeout, func(t *tenure, ttl time.Duration) {
		if !answered() || t == nil {
			return
		}
		l.s.rep.Renewals++
		l.w.detail("lease %d is renewed through %v at %v for %v", l.lease, m, asked, ttl)
		l.s.truth.leases.promise(t, asked, jumped, ttl)
	})
}

// renew gives a lease its whole time again and calls answer with the lease and that time; with nil if it is gone. The
// leader does it; another member asks it.
func (m *member) renew(id int64, until time.Duration, answer func(t *tenure, ttl time.Duration)) {
	again := func() {
		if m.w.now < until {
			m.later(20*time.Millisecond, func() error {
				m.renew(id, until, answer)
				return m.pump()
			})
		}
	}
	l := m.s.member(uint64(m.lead))
	switch {
	case l == nil || l == m && !m.acts():
		again()
		return
	case l != m:
		m.s.net.send(m, l, true, func() {
			l.enter(l.life, func() error {
				if l.leadTerm == 0 {
					return nil // it says so, and is asked again or another one is
				}
				l.renew(id, until, func(t *tenure, ttl time.Duration) {
					m.s.net.send(l, m, true, func() { m.enter(m.life, func() error { answer(t, ttl); return nil }) })
				})
				return l.pump()
			})
		})
		return
	}
	book := &m.s.truth.leases
	now := m.local()
	local := m.alone() || m.s.bad.LocalRenewals
	r := m.deadlines.Alive(now, id)
	if local {
		r = m.deadlines.Renew(now, id)
	}
	m.w.detail("%v: lease %d is to be renewed: %+v", m, id, r)
	if !r.Known || r.Expired {
		answer(nil, 0)
		return
	}
	if x, ok := m.machine.View().Leases.Get(id); ok {
		m.renewed(x)
	}
	ttl := time.Duration(r.TTLSeconds) * time.Second
	if local && !r.Reset {
		answer(book.now[id], ttl)
		return
	}
	var request uint64
	request = m.proposeOwn(wire.KindLeaseCheckpoint, &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: id}}}, func(res machine.Result) {
		t := book.byRequest[request]
		m.w.detail("%v: request %d has renewed %+v", m, request, t)
		if t == nil && !book.now[id].asked {
			fail("lease", "the renewal of lease %d is about to be answered, but it had ended before", id)
		}
		answer(t, ttl)
	})
}
