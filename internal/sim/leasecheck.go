package sim

import (
	"time"

	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/machine"
)

// leaseBook knows every lease and what clients were promised of it.
type leaseBook struct {
	s         *system
	now       map[int64]*tenure  // the leases that are there, and the last ones of IDs that are not
	byRequest map[uint64]*tenure // what a grant or renewal was about
	revokes   map[uint64]bool    // requests of clients to end a lease
}

// tenure is one lease from its grant to its end.
type tenure struct {
	id       int64
	ttl      time.Duration
	granted  time.Duration
	promised time.Duration // it must not end before, of its own accord
	ended    time.Duration // 0 while it is there
	asked    bool          // a client has asked for its end
}

// effects takes note of what an entry did to leases.
func (b *leaseBook) effects(eff *machine.Effects, before *machine.View) {
	for _, e := range eff.Leases {
		var request uint64
		if len(eff.Results) > 0 {
			request = eff.Results[0].ID
		}
		id := e.Lease.ID
		switch e.What {
		case machine.LeaseGranted:
			b.s.rep.Grants++
			b.now[id] = &tenure{id: id, ttl: time.Duration(e.Lease.TTL) * time.Second, granted: b.s.w.now}
			b.byRequest[request] = b.now[id]
		case machine.LeaseRenewed:
			b.byRequest[request] = b.now[id]
		case machine.LeaseRevoked:
			t := b.now[id]
			t.ended = b.s.w.now
			t.asked = t.asked || b.revokes[request]
			if !t.asked {
				b.s.rep.Expired++
			}
			b.s.w.note("lease %d ends", id)
			b.check(t)
			b.keysGone(eff, before, e.Lease)
		}
	}
}

// keysGone checks that the keys of a lease went with it, at one revision.
func (b *leaseBook) keysGone(eff *machine.Effects, before *machine.View, l lease.Lease) {
	keys := before.Leases.Keys(l.ID)
	if len(keys) != len(eff.Changes) {
		fail("lease", "lease %d has ended with %d keys, and %d changes", l.ID, len(keys), len(eff.Changes))
	}
	for i, c := range eff.Changes {
		if !c.Deleted() || c.KV.Key() != keys[i] || c.Rev.Main != eff.Changes[0].Rev.Main {
			fail("lease", "the end of lease %d has changed %v, not deleted %q", l.ID, c.KV.Key(), keys[i])
		}
	}
}

// promise notes that a client was told at a moment that a lease lasts for ttl from when it had asked.
func (b *leaseBook) promise(t *tenure, asked, jumped, ttl time.Duration) {
	until := asked + time.Duration(float64(ttl)/(1+b.s.plan.skew)) - (b.s.jumped - jumped)
	t.promised = max(t.promised, until)
	b.check(t)
}

func (b *leaseBook) check(t *tenure) {
	if t.ended > 0 && !t.asked && t.ended < t.promised-time.Millisecond {
		fail("lease", "lease %d ended at %v, %v before it may", t.id, t.ended, t.promised-t.ended)
	}
}

// jumped makes room for a clock that has jumped ahead: its owner takes leases for older than they are.
func (b *leaseBook) jumped(d time.Duration) {
	for _, t := range b.now {
		t.promised -= d
	}
}

// revokeSlack is how long after its end a leader may take until it asks for the revocation of a lease: it looks every
// half second of its time.
const revokeSlack = time.Second

// checkRevokes checks that a leader that can act has asked for the end of leases whose time is over.
func (m *member) checkRevokes() {
	now := m.w.now
	if !m.acts() || now-m.acted < revokeSlack || now-m.resumed < revokeSlack {
		return
	}
	m.machine.View().Leases.Each(func(l lease.Lease) bool {
		end, ok := m.ends[l.ID]
		if !ok {
			fail("lease", "%v does not watch lease %d", m, l.ID)
		}
		if now > end+revokeSlack && !m.asked[l.ID] {
			fail("lease", "%v leads, lease %d should have ended at %v, and nobody has asked for it at %v", m, l.ID, end, now)
		}
		return true
	})
}

// checkLeasesEnd checks that leases have ended whose time is over, now that there is a leader in peace.
func (s *system) checkLeasesEnd() {
	l := s.leader()
	l.machine.View().Leases.Each(func(x lease.Lease) bool {
		if end := l.ends[x.ID]; s.w.now > end+2*revokeSlack {
			fail("lease", "lease %d should have ended at %v, and is there at %v", x.ID, end, s.w.now)
		}
		if x.RemainingSeconds > x.TTL {
			fail("lease", "a checkpoint of lease %d is above its TTL", x.ID)
		}
		return true
	})
}
