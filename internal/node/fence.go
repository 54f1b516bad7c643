package node

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// fence is how far a leader must have applied before it takes a membership change: up to the last one, and up to where its
// term began. One that comes earlier raft replaces by an entry that does nothing, and nobody would learn that it has.
type fence struct {
	term, index uint64
	taken       bool // a change was stepped, and where it has come to lie is not known yet
}

// see notes where the term begins and where changes lie, from entries on their way to the log.
func (f *fence) see(entries []*raftpb.Entry, n *Node) {
	s := n.raw.BasicStatus()
	if s.RaftState != raft.StateLeader {
		return
	}
	for _, e := range entries {
		switch {
		case e.GetTerm() != s.GetTerm():
		case f.term != s.GetTerm():
			*f = fence{term: s.GetTerm(), index: e.GetIndex()}
		case e.GetType() != raftpb.EntryNormal:
			f.index = e.GetIndex()
		}
	}
	f.taken = false
}

// mayChange reports whether a membership change would be taken. What another member leads, it decides.
func (n *Node) mayChange() bool {
	s := n.raw.BasicStatus()
	if s.RaftState != raft.StateLeader {
		return true
	}
	return n.fence.term == s.GetTerm() && !n.fence.taken && n.fence.index <= n.applied
}

// changed notes that a change was stepped.
func (n *Node) changed(err error) error {
	if s := n.raw.BasicStatus(); err == nil && s.RaftState == raft.StateLeader && n.fence.term == s.GetTerm() {
		n.fence.taken = true
	}
	return err
}

func changesMembers(m *raftpb.Message) bool {
	for _, e := range m.GetEntries() {
		if e.GetType() != raftpb.EntryNormal {
			return true
		}
	}
	return false
}
