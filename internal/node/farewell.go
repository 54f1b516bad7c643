package node

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// farewell is what a leader has to say that was removed and left a single voter behind. That one can do nothing before
// it knows that the removal is committed: until then it believes that it needs the vote of the one that has left. A
// message that is lost must not decide about that, so it is said for as long as this member goes on.
type farewell struct{ to, term, commit uint64 }

// applyConf tells raft of a membership change that was applied, at index.
func (n *Node) applyConf(cc *raftpb.ConfChange, index uint64) {
	led := n.raw.BasicStatus().RaftState == raft.StateLeader
	n.conf = n.raw.ApplyConfChange(cc)
	if n.role == raft.StateLeader {
		n.contact.welcome(n.now, n.conf)
	}
	if led && !n.votes() && len(n.conf.GetVoters()) == 1 {
		// Both have voted for what is committed so far, so the other one has it.
		n.farewell = farewell{to: n.conf.GetVoters()[0], term: n.Term(), commit: index}
		n.sayFarewell()
	}
}

func (n *Node) sayFarewell() {
	f := &n.farewell
	if f.to == 0 || n.Term() != f.term {
		return
	}
	n.sends = append(n.sends, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), To: new(f.to), From: new(uint64(n.cfg.ID)),
		Term: new(f.term), Commit: new(f.commit)})
}
