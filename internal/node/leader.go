package node

import (
	"cmp"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// contact is when a member was last heard of. A leader that has not heard of a quorum for an election timeout cannot
// commit anything, and stands in the way of one that could: it gives up. Raft's own check looks at whole intervals and
// may take twice as long.
type contact struct{ heard map[uint64]time.Duration }

// reset begins to count anew, as if all had just been heard of.
func (c *contact) reset(now time.Duration, conf *raftpb.ConfState) {
	clear(c.heard)
	c.welcome(now, conf)
}

// welcome begins to count for members that are new.
func (c *contact) welcome(now time.Duration, conf *raftpb.ConfState) {
	for _, id := range conf.GetVoters() {
		if _, ok := c.heard[id]; !ok {
			c.heard[id] = now
		}
	}
}

// quorum reports whether a majority of the voters, self among them, was heard of since.
func (c *contact) quorum(self uint64, conf *raftpb.ConfState, since time.Duration) bool {
	voters, n := conf.GetVoters(), 0
	for _, id := range voters {
		if id == self || c.heard[id] >= since {
			n++
		}
	}
	return n > len(voters)/2
}

func (n *Node) electionTimeout() time.Duration {
	return n.cfg.Tick * time.Duration(n.cfg.ElectionTicks)
}

func (n *Node) checkContact() {
	if n.role != raft.StateLeader {
		return
	}
	// Votes asked for before the log stalled may make a stalled member the leader.
	if n.stalled || !n.contact.quorum(uint64(n.cfg.ID), n.conf, n.now-n.electionTimeout()) {
		n.GiveUp()
	}
}

// GiveUp ends this member's leadership. Whoever is best placed is asked to take over at once, in case it can still be
// reached; this member leads no more in any case. The only voter does not give up.
func (n *Node) GiveUp() {
	if n.raw.BasicStatus().RaftState != raft.StateLeader || n.sole() {
		return
	}
	term := n.raw.BasicStatus().GetTerm()
	if to := n.successor(); to != 0 {
		n.sends = append(n.sends, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &to, From: new(uint64(n.cfg.ID)), Term: &term})
	}
	// A message of a later term makes any leader a follower. Terms may be skipped.
	_ = n.raw.Step(&raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), To: new(uint64(n.cfg.ID)), From: new(uint64(n.cfg.ID)), Term: new(term + 1)})
}

// SetStalled tells whether the log cannot be written at present. A member in that state must not lead, and does not try.
func (n *Node) SetStalled(stalled bool) {
	n.stalled = stalled
	if stalled {
		n.GiveUp()
	}
}

// successor is the voter, other than this member, that has most of the log, the one last heard of among equals; 0 if
// there is none.
func (n *Node) successor() uint64 {
	var best uint64
	var most uint64
	n.raw.WithProgress(func(id uint64, typ raft.ProgressType, pr tracker.Progress) {
		if id == uint64(n.cfg.ID) || typ == raft.ProgressTypeLearner {
			return
		}
		if best == 0 || cmp.Or(cmp.Compare(pr.Match, most), cmp.Compare(n.contact.heard[id], n.contact.heard[best])) > 0 {
			best, most = id, pr.Match
		}
	})
	return best
}

// Transfer hands leadership to a voter once it has all of the log. It is given up after an election timeout.
func (n *Node) Transfer(to cluster.ID) { n.raw.TransferLeader(uint64(to)) }

// Successor is the voter best placed to lead next, 0 if there is none.
func (n *Node) Successor() cluster.ID { return cluster.ID(n.successor()) }

// Progress is how far a member's log is known to agree with the leader's, and how far the leader's own log goes. Only a
// leader knows.
func (n *Node) Progress(id cluster.ID) (match, last uint64, ok bool) {
	n.raw.WithProgress(func(other uint64, _ raft.ProgressType, pr tracker.Progress) {
		switch other {
		case uint64(id):
			match, ok = pr.Match, true
		case uint64(n.cfg.ID):
			last = pr.Match
		}
	})
	if id == n.cfg.ID {
		last = match
	}
	return match, last, ok && n.role == raft.StateLeader
}

// Unreachable tells that messages to a member were lost.
func (n *Node) Unreachable(id cluster.ID) { n.raw.ReportUnreachable(uint64(id)) }

// SnapshotSent tells that a snapshot has arrived at a member, or has not.
func (n *Node) SnapshotSent(id cluster.ID, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	n.raw.ReportSnapshot(uint64(id), status)
}

// hurry is an election without waiting for the leader's silence to last: its process is known to be gone, or it has given
// up.
type hurry struct {
	next, until time.Duration
}

// hurryStep is how far apart members try. The lower ones in order come first, so that mostly only one tries at a time.
const hurryStep = 40 * time.Millisecond

// Down tells that nothing listens any more where a member was. If it led, an election is called at once. It does no
// harm if that is wrong: who still hears of the leader gives no vote.
func (n *Node) Down(id cluster.ID) {
	if uint64(id) != n.raw.BasicStatus().Lead || id == n.cfg.ID || !n.votes() {
		return
	}
	_ = n.raw.ForgetLeader()
	n.standSoon(id, 0)
	n.campaignInHurry()
}

// campaignTransfer is what raft says in a request for a vote by a member that the leader has asked to take over.
const campaignTransfer = "CampaignTransfer"

// standInstead calls an election soon if this member does not vote for a candidate that the leader has asked to take
// over: the candidate may have less of the log, as the leader's word to it may overtake the entries it has sent before. A
// leader that has given up does not go on, so otherwise all would wait for their timeouts.
func (n *Node) standInstead(request *raftpb.Message) {
	s := n.raw.BasicStatus()
	if string(request.GetContext()) != campaignTransfer || request.GetTerm() != s.GetTerm() || s.GetVote() == request.GetFrom() ||
		s.Lead != raft.None || !n.votes() {
		return
	}
	n.standSoon(cluster.ID(request.GetFrom()), hurryStep)
}

// standSoon plans an election after a time, or, where several members other than one do so, one after the other.
func (n *Node) standSoon(other cluster.ID, after time.Duration) {
	voters := slices.DeleteFunc(slices.Clone(n.conf.GetVoters()), func(v uint64) bool { return v == uint64(other) })
	slices.Sort(voters)
	rank := slices.Index(voters, uint64(n.cfg.ID))
	n.hurry = hurry{next: n.now + after + time.Duration(rank)*hurryStep, until: n.now + n.electionTimeout()}
}

func (n *Node) campaignInHurry() {
	if n.hurry.until == 0 {
		return
	}
	if s := n.raw.BasicStatus(); s.Lead != raft.None || n.now >= n.hurry.until || n.stalled || !n.votes() {
		n.hurry = hurry{}
		return
	}
	if n.now < n.hurry.next {
		return
	}
	n.hurry.next = n.now + time.Duration(len(n.conf.GetVoters()))*hurryStep
	_ = n.raw.Campaign()
}
