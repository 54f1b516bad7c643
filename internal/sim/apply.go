package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
)

// applying is a member's machine at work.
type applying struct {
	applyAt  time.Duration // when the last job for the machine is due
	notified uint64        // the node knows that so much is applied
	sum      sums          // of everything that applying has brought about since the first entry
	ends     map[int64]time.Duration
	asked    map[int64]bool // leases whose revocation was asked for in this leadership
}

// hashEvery is how often the whole state is compared: at every index that it divides.
const hashEvery = 32

// next runs f on the machine, behind what it has to do before.
func (m *member) next(d time.Duration, f func() error) {
	m.applyAt = max(m.applyAt, m.w.now+d)
	m.later(m.applyAt-m.w.now, f)
}

func (m *member) applyLater(j *node.ApplyJob) {
	d := m.w.span(2 * time.Millisecond)
	if m.w.chance(m.s.plan.slowApply) {
		d = m.w.span(m.w.span(2 * time.Second))
	}
	m.next(d, func() error { return m.applyJob(j) })
}

// applyJob gives committed entries to the machine, and hands on what they have done. It stops at each index at which
// members compare their states.
func (m *member) applyJob(j *node.ApplyJob) error {
	var conf []*raftpb.ConfChange
	for left := j.Entries; len(left) > 0; {
		n := 1
		for n < len(left) && left[n-1].GetIndex()%hashEvery != 0 {
			n++
		}
		eff, err := m.apply(left[:n])
		if err != nil {
			return err
		}
		m.handOn(eff)
		conf = append(conf, eff.Conf...)
		left = left[n:]
	}
	cs := m.machine.View().Cluster.ConfState()
	if m.machine.View().Cluster.Removed(m.id.ID) {
		m.retire()
	}
	told := m.tamperConf(conf)
	last := j.Entries[len(j.Entries)-1].GetIndex()
	m.tell(func() error {
		if len(conf) > 0 {
			m.conf, m.confSince, m.confCommit = cs, m.w.now, m.node.Status().Commit
		}
		m.notified = max(m.notified, last)
		if err := m.node.Applied(j, told); err != nil {
			return err
		}
		return m.node.Trim()
	})
	return nil
}

// apply gives entries to the machine and compares what comes of it with what has come of it elsewhere.
func (m *member) apply(entries []*raftpb.Entry) (*machine.Effects, error) {
	before := m.machine.View()
	var eff machine.Effects
	if err := m.machine.Apply(entries, &eff); err != nil {
		return nil, err
	}
	if m.machine.Applied() < before.Applied {
		fail("applied index", "%v: the applied index has gone back from %d to %d", m, before.Applied, m.machine.Applied())
	}
	m.stale = before
	m.sum.add(&eff)
	m.truth().applied(m, entries)
	return &eff, nil
}

// handOn does what the effects ask for.
func (m *member) handOn(eff *machine.Effects) {
	v := m.machine.View()
	if eff.NewTerm != 0 && eff.NewTerm == m.leadTerm {
		m.actingTerm, m.acted = eff.NewTerm, m.w.now
		m.beginToLead()
	}
	m.leaseEffects(eff.Leases)
	if !m.s.bad.DropWatchEvents || !m.w.chance(5) {
		m.hub.Publish(v.KV.Rev(), eff.Changes)
	}
	if !m.s.bad.DropTreeEvents || !m.w.chance(5) {
		m.paths.Publish(eff.Events)
	}
	m.deliver(eff.Results)
	if eff.NewTerm != 0 {
		m.again(eff.NewTerm)
	}
}

// compact takes a step of the compaction that is due.
func (m *member) compact() error {
	m.later(m.w.between(5*time.Millisecond, 100*time.Millisecond), m.compact)
	if _, _, due := m.machine.Compaction(); !due {
		return nil
	}
	_, _, err := m.machine.CompactStep(1 + m.w.rng.IntN(20))
	return err
}

// resetDeadlines starts over with the leases of the machine.
func (m *member) resetDeadlines() {
	m.ends, m.asked = map[int64]time.Duration{}, map[int64]bool{}
	leases := m.machine.View().Leases
	m.deadlines.Reset(m.local(), leases.Each)
	leases.Each(func(l lease.Lease) bool {
		m.expect(l)
		return true
	})
}

// expect notes when a lease has to be over at the latest, if nobody renews it.
func (m *member) expect(l lease.Lease) {
	left := l.TTL
	if l.RemainingSeconds > 0 {
		left = l.RemainingSeconds
	}
	m.ends[l.ID] = m.w.now + m.takes(time.Duration(left)*time.Second)
}

// beginToLead lets the deadlines act: this member leads, and has applied what was committed before.
func (m *member) beginToLead() {
	now := m.local()
	if m.s.bad.ResetDeadlines {
		m.deadlines.Reset(now, func(each func(lease.Lease) bool) {
			m.machine.View().Leases.Each(func(l lease.Lease) bool {
				l.RemainingSeconds = 0
				return each(l)
			})
		})
	}
	m.deadlines.Lead(now)
	for id, at := range m.ends {
		m.ends[id] = max(at, m.w.now+time.Second)
	}
}

func (m *member) leaseEffects(events []machine.LeaseEvent) {
	now := m.local()
	for _, e := range events {
		switch e.What {
		case machine.LeaseRevoked:
			m.deadlines.Forget(e.Lease.ID)
			delete(m.ends, e.Lease.ID)
			delete(m.asked, e.Lease.ID)
		case machine.LeaseRenewed:
			m.deadlines.Renewed(now, e.Lease)
			m.renewed(e.Lease)
		case machine.LeaseGranted:
			m.deadlines.Set(now, e.Lease)
			m.expect(e.Lease)
		default:
			m.deadlines.Set(now, e.Lease)
		}
	}
}

// renewed notes that a lease has its whole time again.
func (m *member) renewed(l lease.Lease) {
	l.RemainingSeconds = 0
	m.expect(l)
}

// replace exchanges the database for another one, and the machine with it.
func (m *member) replace(eng *mem.Engine) error {
	m.eng = eng
	mc, err := machine.Open(machineConfig, m.store())
	if err != nil {
		return err
	}
	before := m.machine.Applied()
	m.machine = mc
	m.flushed = max(m.flushed, mc.Applied())
	m.w.note("%v goes from index %d to a snapshot at %d", m, before, mc.Applied())
	m.truth().restored(m)
	if mc.Applied() < before {
		fail("applied index", "%v: a snapshot takes it back from index %d to %d", m, before, mc.Applied())
	}
	m.stale = mc.View()
	m.resetDeadlines()
	m.lose()
	if !m.s.bad.NoJump {
		m.hub.Jump(mc.View().KV.Rev())
	}
	if !m.s.bad.NoReset {
		m.paths.Reset(mc.View().Tree.Index)
	}
	if mc.View().Cluster.Removed(m.id.ID) {
		m.retire()
	}
	return nil
}
