package sim

import (
	"fmt"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// system is one run: the members, what lies between them, who uses them, and what is known to be true.
type system struct {
	w       *world
	plan    plan
	bad     Sabotage
	net     *network
	truth   *truth
	members []*member // all that ever were, in the order in which they were thought of
	clients []*client
	watches []*observer
	holders []*lessee
	trees   []*treeClient
	waiters []*waiter
	change  change
	calm    bool          // nothing goes wrong any more, and nobody begins anything
	jumped  time.Duration // by how much clocks have jumped ahead, all together

	requests uint64 // IDs of commands, unique in the run
	lives    uint64 // of all members
	rep      Report
}

func newSystem(o Options, p plan) *system {
	s := &system{w: newWorld(o.Seed), plan: p, bad: o.Sabotage}
	s.w.out = o.Trace
	s.net = &network{s: s, quality: p.link}
	s.truth = newTruth(s)
	return s
}

// start makes the first members and those who use them.
func (s *system) start() {
	var first []cluster.Member
	for range s.plan.voters {
		m := s.newMember(false)
		m.joined = true
		first = append(first, m.id)
	}
	entries, err := cluster.BootstrapEntries(first)
	must(err)
	for _, m := range s.members {
		must(m.create(entries))
		s.guard(func() { must(m.boot()) })
	}
	for i := range s.plan.clients {
		c := &client{s: s, w: s.w, id: i}
		s.clients = append(s.clients, c)
		s.w.after(s.w.span(50*time.Millisecond), c.run)
	}
	for i := range s.plan.observers {
		x := newObserver(s, i)
		s.watches = append(s.watches, x)
		s.w.after(s.w.span(50*time.Millisecond), x.run)
	}
	for i := range s.plan.lessees {
		l := &lessee{s: s, w: s.w, lease: int64(i + 1)}
		s.holders = append(s.holders, l)
		s.w.after(s.w.span(100*time.Millisecond), l.run)
	}
	for i := range s.plan.treeClients {
		c := &treeClient{s: s, w: s.w, n: i}
		s.trees = append(s.trees, c)
		s.w.after(s.w.span(50*time.Millisecond), c.run)
	}
	for i := range s.plan.waiters {
		x := newWaiter(s, i)
		s.waiters = append(s.waiters, x)
		s.w.after(s.w.span(50*time.Millisecond), x.run)
	}
	s.traffic(300*time.Millisecond, 4*time.Second, s.compact)
	s.traffic(50*time.Millisecond, 2*time.Second, s.look)
	if s.plan.users {
		s.traffic(100*time.Millisecond, 2*time.Second, s.changeUsers)
		s.traffic(50*time.Millisecond, time.Second, s.putAs)
	}
	if s.plan.mirror {
		s.traffic(500*time.Millisecond, 8*time.Second, s.moveMirror)
	}
	if s.plan.limits {
		s.traffic(200*time.Millisecond, 3*time.Second, s.changeLimits)
		s.traffic(20*time.Millisecond, 600*time.Millisecond, s.fillQuotas)
	}
	if s.plan.membership {
		s.w.after(s.w.between(200*time.Millisecond, 2*time.Second), s.changeMembers)
	}
	if len(s.plan.faults) > 0 {
		s.w.after(s.w.between(100*time.Millisecond, 3*time.Second), s.misfortune)
	}
}

// run lets time pass.
func (s *system) run(d time.Duration) {
	for end := s.w.now + d; s.w.now < end; {
		s.step()
	}
}

// until lets time pass until something holds, at most d.
func (s *system) until(d time.Duration, holds func() bool) bool {
	for end := s.w.now + d; s.w.now < end; {
		if holds() {
			return true
		}
		s.step()
	}
	return holds()
}

func (s *system) step() {
	s.guard(func() {
		if !s.w.step() {
			fail("world", "nothing is left to happen")
		}
	})
}

// crashed is what a disk operation panics with when the power goes while it runs.
type crashed struct{ m *member }

// guard runs f, in which the power of a member may go.
func (s *system) guard(f func()) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case crashed:
			s.rep.Torn++
			p.m.crash()
		default:
			panic(p)
		}
	}()
	f()
}

// member returns the member with an ID, nil if there never was one.
func (s *system) member(id uint64) *member {
	for _, m := range s.members {
		if uint64(m.id.ID) == id {
			return m
		}
	}
	return nil
}

// running are the members whose process runs, paused ones among them.
func (s *system) running() (out []*member) {
	for _, m := range s.members {
		if m.up {
			out = append(out, m)
		}
	}
	return out
}

// present are the members that belong to the cluster, as far as was applied anywhere.
func (s *system) present() (out []*member) {
	for _, x := range s.truth.machine.View().Cluster.Members() {
		out = append(out, s.member(uint64(x.ID)))
	}
	return out
}

// anyone is a running member, mostly the one that was asked last; nil if none runs.
func (s *system) anyone(last *member) *member {
	if last != nil && last.up && s.w.chance(70) {
		return last
	}
	up := s.running()
	if len(up) == 0 {
		return nil
	}
	return pick(s.w, up)
}

// leader is a member that leads in the highest term, nil if nobody leads.
func (s *system) leader() (best *member) {
	for _, m := range s.running() {
		if m.leadTerm != 0 && (best == nil || m.leadTerm > best.leadTerm) {
			best = m
		}
	}
	return best
}

func (s *system) nextRequest() uint64 {
	s.requests++
	return s.requests
}

func (m *member) String() string { return fmt.Sprintf("m%d", m.n) }
