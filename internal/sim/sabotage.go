package sim

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
)

// Sabotage breaks the code on purpose, so that a test can show that the checks notice.
type Sabotage struct {
	Blind bool // nobody looks whether a disk holds what its member has promised: other checks have to notice

	AckBeforeSync         bool // the node is told that jobs are durable before they are
	FollowerAckBeforeSync bool // the same, on members that do not lead
	SkipSync              bool // syncs of the log do nothing
	ForgetHistory         bool // the log is released up to an index that the database has not kept
	IndexBeforeEntry      bool // the applied index is stored before what it stands for
	VoteNotSaved          bool // the log is not given votes
	TermNotSaved          bool // the log is not given terms
	KeepConflicts         bool // entries that replace others are not written

	StaleReads   bool // reads are answered from the state before the last batch
	LocalReads   bool // a leader answers reads without asking a quorum
	SoleReads    bool // the only voter takes itself for alone
	ReuseReadIDs bool // the IDs of reads begin at the same number in each life
	ProposeTwice bool // some commands are proposed twice

	ConfTwice   bool // a membership change is told to raft again after the next one
	ConfMissed  bool // one member does not tell raft of membership changes
	ConfDelayed bool // raft is told of a membership change together with the next one

	NoMark            bool // a snapshot is installed without a mark in the log
	MarkBeforeDurable bool // the mark of a snapshot is written before its database is durable
	RollBack          bool // a snapshot that arrives again is installed again
	NoJump            bool // watchers are not told of an installed snapshot

	DropWatchEvents bool // now and then changes are not published
	ResumeLate      bool // a watch is resumed one revision too late

	DropTreeEvents bool // now and then events of the v2 tree are not published
	NoReset        bool // those who wait for them are not told of an installed snapshot
	NoTreeSync     bool // nobody asks for the end of what is over in the tree

	RevokeTwice    bool // the end of a lease is asked for twice
	ForwardRevokes bool // what a leader asks for is proposed by others when it does not lead any more
	LocalRenewals  bool // a leader renews leases without the log
	ResetDeadlines bool // a new leader gives all leases their whole time again
	StalledLeaders bool // nobody tells the node of a disk that does not answer
}

// tampered is what sabotage has to remember of a member's life.
type tampered struct {
	saved    *raftpb.HardState
	entries  uint64 // the last entry that the log was given
	lastConf *raftpb.ConfChange
	held     []*raftpb.ConfChange
}

// reportsEarly reports whether a job is reported before it is durable.
func (m *member) reportsEarly() bool {
	return m.s.bad.AckBeforeSync || m.s.bad.FollowerAckBeforeSync && m.leadTerm == 0
}

// tamperWrite changes what the log is given.
func (m *member) tamperWrite(hs *raftpb.HardState, entries []*raftpb.Entry) (*raftpb.HardState, []*raftpb.Entry) {
	bad := &m.s.bad
	if hs != nil && bad.VoteNotSaved {
		hs = &raftpb.HardState{Term: new(hs.GetTerm()), Vote: new(uint64(0)), Commit: new(hs.GetCommit())}
	}
	if hs != nil && bad.TermNotSaved {
		if m.saved == nil {
			m.saved = hs
		}
		hs = &raftpb.HardState{Term: new(m.saved.GetTerm()), Vote: new(m.saved.GetVote()), Commit: new(hs.GetCommit())}
	}
	if n := len(entries); n > 0 {
		if bad.KeepConflicts && entries[0].GetIndex() <= m.entries {
			keep := entries[:0:0]
			for _, e := range entries {
				if e.GetIndex() > m.entries {
					keep = append(keep, e)
				}
			}
			entries = keep
		}
		if k := len(entries); k > 0 {
			m.entries = entries[k-1].GetIndex()
		}
	}
	return hs, entries
}

// tamperConf changes what raft is told of membership changes.
func (m *member) tamperConf(conf []*raftpb.ConfChange) []*raftpb.ConfChange {
	bad := &m.s.bad
	switch {
	case bad.ConfMissed && m.n == 0 && m.machine.Applied() > 10:
		return nil
	case bad.ConfTwice:
		var out []*raftpb.ConfChange
		for _, cc := range conf {
			out = append(out, cc)
			if m.lastConf != nil {
				out = append(out, m.lastConf)
			}
			if cc.GetNodeId() != 0 {
				m.lastConf = cc
			}
		}
		return out
	case bad.ConfDelayed:
		if m.held = append(m.held, conf...); len(m.held) < 2 {
			return nil
		}
		out := m.held
		m.held = nil
		return out
	}
	return conf
}

// hasty is an engine that makes the applied index visible, and durable perhaps, before what it stands for.
type hasty struct{ *mem.Engine }

type hastyBatch struct {
	engine.Batch
	first engine.Batch
}

// NewBatch implements engine.Engine.
func (h hasty) NewBatch() engine.Batch {
	return &hastyBatch{h.Engine.NewBatch(), h.Engine.NewBatch()}
}

// Set implements engine.Batch.
func (b *hastyBatch) Set(s engine.Space, key, value []byte) {
	if s == engine.Meta {
		b.first.Set(s, key, value)
	}
	b.Batch.Set(s, key, value)
}

// Commit implements engine.Engine.
func (h hasty) Commit(b engine.Batch) error {
	own := b.(*hastyBatch)
	if err := h.Engine.Commit(own.first); err != nil {
		return err
	}
	return h.Engine.Commit(own.Batch)
}
