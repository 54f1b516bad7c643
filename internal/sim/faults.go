package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// fault is a way in which things go wrong.
type fault struct {
	name  string
	often float64 // percent of the seeds that have it
	alone bool    // it can also hit a member that is alone
	hit   func(*system)
}

var allFaults = []fault{
	{"crash", 70, true, (*system).crashOne},
	{"kill", 50, true, (*system).killOne},
	{"crash at work", 60, true, (*system).armCrash},
	{"crash after an answer", 40, false, (*system).crashAfterAnswer},
	{"crash of the leader", 50, false, (*system).crashLeader},
	{"power loss", 40, true, (*system).powerLoss},
	{"isolation", 50, false, (*system).isolate},
	{"one way", 50, false, (*system).cutOneWay},
	{"pair", 40, false, (*system).cutPair},
	{"split", 40, false, (*system).split},
	{"bad network", 50, false, (*system).worsen},
	{"slow network", 40, false, (*system).slowDown},
	{"stall", 50, true, (*system).stall},
	{"pause", 50, true, (*system).pauseOne},
	{"clock jump", 30, true, (*system).jumpClock},
	{"false report", 40, false, (*system).falseReport},
	{"transfer", 40, false, (*system).transfer},
	{"restart", 40, true, (*system).restart},
}

func faultNamed(name string) fault {
	for _, f := range allFaults {
		if f.name == name {
			return f
		}
	}
	panic("no fault is called " + name)
}

// misfortune makes something go wrong now and then.
func (s *system) misfortune() {
	if s.calm {
		return
	}
	s.w.after(s.w.between(s.plan.pace/4, s.plan.pace*2), s.misfortune)
	pick(s.w, s.plan.faults).hit(s)
}

// victim is a running member, the leader more often than others.
func (s *system) victim() *member {
	if l := s.leader(); l != nil && s.w.chance(50) {
		return l
	}
	return s.anyone(nil)
}

func (s *system) crashOne() {
	if m := s.victim(); m != nil {
		m.cutPower()
	}
}

func (s *system) killOne() {
	if m := s.victim(); m != nil && !m.retiring {
		m.kill()
	}
}

func (s *system) crashLeader() {
	if m := s.leader(); m != nil {
		m.cutPower()
	}
}

// cutPower crashes a member, but for one that was removed and is not to be switched off yet.
func (m *member) cutPower() {
	if !m.retiring || !m.needed() {
		m.crash()
	}
}

// armCrash makes the power go in the middle of one of the next operations on a member's disk.
func (s *system) armCrash() {
	m := s.victim()
	if m == nil || m.retiring {
		return
	}
	op := pick(s.w, []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpCreate, vfs.OpSyncDir})
	m.fs.Sleep(func(time.Duration) { panic(crashed{m}) })
	m.fs.Add(vfs.Rule{Op: op, Skip: s.w.rng.IntN(6), Times: 1, Delay: 1})
	s.w.note("the power of %v will go during a %v", m, op)
}

// crashAfterAnswer makes the power go as soon as a member has answered a request of another: what it has answered for
// has to be there when it comes back, which is soon.
func (s *system) crashAfterAnswer() {
	if m := s.victim(); m != nil && !m.retiring {
		m.lastWord = pick(s.w, []raftpb.MessageType{raftpb.MsgVoteResp, raftpb.MsgVoteResp, raftpb.MsgAppResp, raftpb.MsgApp, raftpb.MsgReadIndex})
		s.w.note("the power of %v will go after a %v", m, m.lastWord)
	}
}

func (s *system) powerLoss() {
	s.w.note("the power goes everywhere")
	for _, m := range s.running() {
		m.cutPower()
	}
}

// cut cuts the links that which says, for a while.
func (s *system) cut(what string, d time.Duration, which func(from, to *member) bool) {
	s.rep.Cuts++
	s.w.note("cut for %v: %s", d, what)
	var cut [][2]*member
	for _, a := range s.members {
		for _, b := range s.members {
			if a != b && which(a, b) {
				s.net.link(a, b).cut++
				cut = append(cut, [2]*member{a, b})
			}
		}
	}
	s.w.after(d, func() {
		for _, c := range cut {
			if l := s.net.link(c[0], c[1]); l.cut > 0 {
				l.cut--
			}
		}
		s.w.note("no more cut: %s", what)
	})
}

// spell is how long a fault lasts: mostly not for long.
func (s *system) spell() time.Duration {
	if s.w.chance(50) {
		return s.w.between(50*time.Millisecond, time.Second)
	}
	return s.w.between(500*time.Millisecond, 6*time.Second)
}

func (s *system) isolate() {
	if v := s.victim(); v != nil {
		s.cut(v.String()+" alone", s.spell(), func(a, b *member) bool { return a == v || b == v })
	}
}

func (s *system) cutOneWay() {
	v := s.victim()
	if v == nil {
		return
	}
	if s.w.chance(50) {
		s.cut("nothing reaches "+v.String(), s.spell(), func(_, b *member) bool { return b == v })
	} else {
		s.cut("nothing comes from "+v.String(), s.spell(), func(a, _ *member) bool { return a == v })
	}
}

func (s *system) cutPair() {
	x, y := s.victim(), s.anyone(nil)
	if x == nil || x == y {
		return
	}
	both := s.w.chance(50)
	s.cut(x.String()+" and "+y.String(), s.spell(), func(a, b *member) bool { return a == x && b == y || both && a == y && b == x })
}

func (s *system) split() {
	side := make([]bool, len(s.members))
	for i := range side {
		side[i] = s.w.chance(50)
	}
	s.cut("in two", s.spell(), func(a, b *member) bool { return side[a.n] != side[b.n] })
}

// worsen makes all links bad for a while.
func (s *system) worsen() {
	old := s.net.quality
	s.net.quality.lose = s.w.rng.Float64() * 30
	s.net.quality.repeat = s.w.rng.Float64() * 20
	s.net.quality.disorder = s.w.rng.Float64() * 60
	s.w.note("the network gets bad")
	s.w.after(s.spell(), func() {
		if !s.calm {
			s.net.quality = old
		}
	})
}

func (s *system) slowDown() {
	s.net.slow = s.w.between(5*time.Millisecond, 250*time.Millisecond)
	s.w.note("the network gets slow: %v", s.net.slow)
	s.w.after(s.spell(), func() { s.net.slow = 0 })
}

// stall makes a disk not answer for a while.
func (s *system) stall() {
	if m := s.victim(); m != nil {
		d := s.w.between(100*time.Millisecond, 4*time.Second)
		s.rep.Stalls++
		s.w.note("the disk of %v stalls for %v", m, d)
		m.stallUntil = max(m.stallUntil, s.w.now+d)
	}
}

func (s *system) pauseOne() {
	if m := s.victim(); m != nil {
		d := s.w.between(50*time.Millisecond, 4*time.Second)
		s.rep.Pauses++
		s.w.note("%v does nothing for %v", m, d)
		m.pause(d)
	}
}

func (s *system) jumpClock() {
	if m := s.victim(); m != nil {
		d := s.w.between(100*time.Millisecond, 4*time.Second)
		s.rep.Jumps++
		s.w.note("the clock of %v jumps by %v", m, d)
		m.jump(d)
		m.enter(m.life, m.pump)
	}
}

// falseReport tells a member that another one is down which is not.
func (s *system) falseReport() {
	m, other := s.anyone(nil), s.leader()
	if m != nil && other != nil && m != other {
		s.w.note("%v is told that %v is down", m, other)
		m.enter(m.life, func() error { return m.down(other) })
	}
}

// restart stops a member in good order, the leader after it has handed over, and starts it again.
func (s *system) restart() {
	m := s.victim()
	if m == nil || m.retiring {
		return
	}
	s.w.note("%v is restarted", m)
	m.enter(m.life, func() error {
		wait := time.Duration(0)
		if to := m.node.Successor(); to != 0 && m.leadTerm != 0 {
			m.node.Transfer(to)
			wait = s.w.between(0, 200*time.Millisecond)
		}
		m.later(wait, func() error {
			if err := m.eng.Flush(); err != nil {
				return err
			}
			m.flushed = m.machine.Applied()
			if err := m.log.Close(); err != nil {
				return err
			}
			m.end()
			s.rep.Restarts++
			s.reportDown(m)
			s.w.after(s.w.between(0, 300*time.Millisecond), m.reboot)
			return nil
		})
		return m.pump()
	})
}

func (s *system) transfer() {
	if l := s.leader(); l != nil {
		to := s.anyone(nil)
		s.rep.Transfers++
		s.w.note("%v is to hand over to %v", l, to)
		l.enter(l.life, func() error {
			l.node.Transfer(to.id.ID)
			return l.pump()
		})
	}
}
