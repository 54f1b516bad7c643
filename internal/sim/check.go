package sim

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wal"
)

// checkRecovered looks at what a member has found on its disk.
func (m *member) checkRecovered(rec *wal.Recovered) {
	if at := m.machine.Applied(); at < m.flushed {
		fail("applied index", "%v: the applied index has gone back from %d, which was durable, to %d", m, m.flushed, at)
	}
	if rec.Metadata.NodeID != uint64(m.id.ID) {
		fail("boot", "%v: the log is of member %x", m, rec.Metadata.NodeID)
	}
	if !m.s.bad.Blind {
		m.promised.check(m, rec)
	}
}

// promises are what a member has told others, and what has to be on its disk for that.
type promises struct {
	term        uint64 // the highest
	voted, whom uint64 // the last term it has voted in, and for whom
	acked, upTo uint64 // the last term in which it has acknowledged entries, and up to where
}

// said takes note of a message that has left.
func (p *promises) said(msg *raftpb.Message) {
	term := msg.GetTerm()
	switch {
	case msg.GetType() == raftpb.MsgVoteResp && !msg.GetReject():
		p.voted, p.whom = term, msg.GetTo()
	case msg.GetType() == raftpb.MsgAppResp && !msg.GetReject():
		if term != p.acked {
			p.acked, p.upTo = term, 0
		}
		p.upTo = max(p.upTo, msg.GetIndex())
	case msg.GetType() == raftpb.MsgApp:
	default:
		return
	}
	p.term = max(p.term, term)
}

func (p *promises) check(m *member, rec *wal.Recovered) {
	term, vote, last := rec.HardState.GetTerm(), rec.HardState.GetVote(), rec.Start.Index+uint64(len(rec.Entries))
	switch {
	case term < p.term:
		fail("promises", "%v finds term %d on its disk, and has answered in term %d", m, term, p.term)
	case term == p.voted && vote != p.whom:
		fail("promises", "%v has voted for %v in term %d, but its disk knows of %v", m, m.s.name(cluster.ID(p.whom)), term, m.s.name(cluster.ID(vote)))
	case term == p.acked && last < p.upTo:
		fail("promises", "%v has acknowledged entries up to %d, but the last on its disk is %d", m, p.upTo, last)
	}
}

// giveUpTime is how long a leader that cannot do its work may go on.
const giveUpTime = 1500 * time.Millisecond

// checkGivesUp checks that a leader that hears of no quorum, or whose disk does not answer, does not lead for long.
func (m *member) checkGivesUp() {
	st := m.node.Status()
	now := m.w.now
	if !st.IsLeader || st.Sole || now-m.resumed < giveUpTime || now-m.led < giveUpTime || now-m.confSince < giveUpTime {
		return
	}
	if m.atWork != nil && now-m.since > giveUpTime {
		fail("leader gives up", "%v leads, and its log has not answered for %v", m, now-m.since)
	}
	heard := 0
	for _, v := range m.conf.GetVoters() {
		if cluster.ID(v) == m.id.ID || now-m.heard[v] < giveUpTime {
			heard++
		}
	}
	if n := len(m.conf.GetVoters()); heard <= n/2 {
		fail("leader gives up", "%v leads, and has heard of %d of %d voters in %v", m, heard, n, giveUpTime)
	}
}

// whole reports whether all members are there and agree, and what is missing.
func (s *system) whole() (bool, string) {
	t := s.truth
	end := t.machine.Applied()
	l := s.leader()
	if l == nil || !l.acts() {
		return false, "nobody leads"
	}
	for _, m := range s.present() {
		switch {
		case !m.up:
			return false, m.String() + " is down"
		case m.machine.Applied() != end || m.notified != end:
			return false, fmt.Sprintf("%v has applied %d of %d", m, m.machine.Applied(), end)
		case m.lead != l.id.ID:
			return false, m.String() + " does not know who leads"
		}
	}
	return true, ""
}

// settle ends all faults. The cluster has to become whole within a bounded time.
func (s *system) settle() {
	s.w.note("nothing goes wrong any more")
	s.calm = true
	s.net.heal()
	for _, m := range s.members {
		m.stallUntil = min(m.stallUntil, s.w.now)
		if m.up {
			m.fs.Clear()
			m.lastWord = noMessage
			if m.paused > s.w.now {
				m.paused = s.w.now
				s.w.after(0, m.resume)
			}
		}
	}
	s.run(leastSettle)
	s.awaitWhole()
	s.lastReads()
	s.checkTreeEnds()
	s.awaitWhole() // a lease may have ended meanwhile
	for _, x := range s.watches {
		x.finish()
	}
	for _, x := range s.waiters {
		x.finish()
	}
	s.checkLeasesEnd()
}

func (s *system) awaitWhole() {
	why := ""
	if !s.until(mostSettle, func() (ok bool) { ok, why = s.whole(); return ok }) {
		fail("whole again", "%v after the last fault the cluster is not whole: %s", leastSettle+mostSettle, why)
	}
}

// checkReplay replays the log on a fresh machine, in batches of other sizes, and compares all members with it.
func (s *system) checkReplay() {
	if ok, why := s.whole(); !ok {
		fail("whole again", "%s", why)
	}
	eng := mem.New()
	fresh, err := machine.Open(machineConfig, eng)
	must(err)
	var eff machine.Effects
	entries := s.truth.entries()
	for len(entries) > 0 {
		n := min(len(entries), 1+s.w.rng.IntN(50))
		must(fresh.Apply(entries[:n], &eff))
		eff.Reset()
		entries = entries[n:]
	}
	compactAll(fresh)
	want := dump(eng)
	for _, m := range s.present() {
		compactAll(m.machine)
		if dump(m.eng) != want {
			fail("state", "%v: the log leads to another state when it is replayed: %s", m, difference(m.eng, eng))
		}
	}
}
