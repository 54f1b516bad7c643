package sim

import (
	"fmt"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wal"
)

// sums stand for everything that applying has brought about. Each kind has its own, so that they do not depend on how
// entries were grouped.
type sums struct{ results, changes, leases, conf uint64 }

func mix(h uint64, parts ...string) uint64 {
	for _, p := range parts {
		h = mixInt(h, int64(len(p)))
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
	}
	return h
}

func mixInt(h uint64, parts ...int64) uint64 {
	for _, p := range parts {
		h = (h ^ uint64(p)) * 1099511628211
		h ^= h >> 29
	}
	return h
}

func (s *sums) add(eff *machine.Effects) {
	for i := range eff.Results {
		s.result(&eff.Results[i])
	}
	for i := range eff.Changes {
		c := &eff.Changes[i]
		s.changes = mix(mixInt(s.changes, c.Rev.Main, c.Rev.Sub), string(c.KV), string(c.Prev))
	}
	for _, e := range eff.Leases {
		s.leases = mixInt(s.leases, e.Lease.ID, e.Lease.TTL, e.Lease.RemainingSeconds, int64(e.What))
	}
	for _, cc := range eff.Conf {
		s.conf = mix(s.conf, string(marshalConf(cc)))
	}
}

func (s *sums) result(r *machine.Result) {
	h := mixInt(s.results, int64(r.ID), int64(r.Kind), r.Rev, int64(r.Term), r.Deleted, r.Lease.ID, r.Lease.TTL, r.CompactRev)
	if r.Err != nil {
		h = mix(h, r.Err.Error())
	}
	if r.Txn != nil {
		h = mix(h, fmt.Sprint(r.Txn.Succeeded))
		for _, op := range r.Txn.Ops {
			h = mixInt(h, op.Rev, op.Deleted)
			if op.Range != nil {
				for _, kv := range op.Range.KVs {
					h = mix(h, string(kv))
				}
			}
		}
	}
	s.results = mix(h, string(r.Prev))
}

var finishedCompact = "finishedCompactRev" // how far a member has got with removing is its own affair

// stateHash is a hash of a state that does not depend on how far a compaction has got.
func stateHash(eng *mem.Engine, v *machine.View) uint64 {
	e := eng.View()
	defer e.Release()
	h := uint64(14695981039346656037)
	for _, s := range engine.Spaces[1:] {
		must(e.Scan(s, nil, nil, func(k, value []byte) bool {
			if string(k) != finishedCompact {
				h = mix(h, string(k), string(value))
			}
			return true
		}))
	}
	kv, err := v.KV.HashKV(e, 0, v.KV.CompactRev())
	must(err)
	return mixInt(h, int64(kv), v.KV.Rev(), v.KV.CompactRev()) | 1
}

// dump is the content of an engine as text.
func dump(e engine.Engine) string {
	var b strings.Builder
	for _, s := range engine.Spaces {
		must(e.Scan(s, nil, nil, func(k, v []byte) bool {
			fmt.Fprintf(&b, "%v %q %q\n", s.Bucket(), k, v)
			return true
		}))
	}
	return b.String()
}

// difference is the first line in which two engines differ.
func difference(a, b engine.Engine) string {
	x, y := strings.Split(dump(a), "\n"), strings.Split(dump(b), "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("%s / %s", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(x), len(y))
}

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
	s.awaitWhole() // a lease may have ended meanwhile
	for _, x := range s.watches {
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

func compactAll(m *machine.Machine) {
	for {
		if _, _, due := m.Compaction(); !due {
			return
		}
		_, _, err := m.CompactStep(100)
		must(err)
	}
}
