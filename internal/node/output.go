package node

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Output is the work that Drain hands to the host.
type Output struct {
	Append *AppendJob        // make durable, then call Appended; nil if nothing
	Apply  *ApplyJob         // give to the machine, then call Applied; nil if nothing
	Send   []*raftpb.Message // to peers, at once
	// Snapshots are messages that the state has to be sent with; SnapshotSent is called when that is over.
	Snapshots []*raftpb.Message
	Reads     []ReadsDone
	Notices   []Notice
}

// AppendJob has to be durable before Appended is called. Jobs are to be made durable in order.
type AppendJob struct {
	Entries   []*raftpb.Entry
	HardState *raftpb.HardState // nil if unchanged
	Snapshot  *raftpb.Snapshot  // nil if none
	MustSync  bool
	responses []*raftpb.Message
}

// OnlyCommit reports that the job holds nothing but a moved commit index, which need not be durable, and that nothing
// waits for it: what answers jobs before it must not overtake them.
func (j *AppendJob) OnlyCommit() bool {
	return len(j.Entries) == 0 && j.Snapshot == nil && !j.MustSync && j.HardState != nil && len(j.responses) == 0
}

// Together is how many of the jobs can be written at once: entries that replace earlier ones begin anew, and a snapshot
// stands on its own.
func Together(jobs []*AppendJob) int {
	var last uint64
	for i, j := range jobs {
		if j.Snapshot != nil {
			return max(i, 1)
		}
		if n := len(j.Entries); n > 0 {
			if last != 0 && j.Entries[0].GetIndex() != last+1 {
				return i
			}
			last = j.Entries[n-1].GetIndex()
		}
	}
	return len(jobs)
}

// ApplyJob holds committed entries for the machine.
type ApplyJob struct {
	Entries   []*raftpb.Entry
	responses []*raftpb.Message
}

// ReadsDone releases reads once the machine has applied Index.
type ReadsDone struct {
	Tickets []ReadTicket
	Index   uint64
}

// Notice is a change of leader.
type Notice struct {
	Leader cluster.ID // 0 if there is none
	Term   uint64
}

// Drain moves all work that is ready into out, which it empties first.
func (n *Node) Drain(out *Output) {
	*out = Output{Send: out.Send[:0], Snapshots: out.Snapshots[:0], Reads: out.Reads[:0], Notices: out.Notices[:0]}
	if len(n.readsFlying) == 0 && len(n.readsNext) > 0 {
		n.readsFlying, n.readsNext = n.readsNext, nil
		n.readID++
		n.sendRead()
	} else if n.readHeld && n.certain() {
		n.sendRead()
	}
	if n.raw.HasReady() {
		n.take(n.raw.Ready(), out)
	}
	out.Send = append(out.Send, n.sends...)
	clear(n.sends)
	n.sends = n.sends[:0]
}

func (n *Node) take(rd raft.Ready, out *Output) {
	if rd.SoftState != nil && rd.SoftState.RaftState != n.role {
		n.role = rd.SoftState.RaftState
		if n.role == raft.StateLeader {
			n.contact.reset(n.now, n.conf)
		}
	}
	if rd.SoftState != nil && rd.SoftState.Lead != n.lead {
		n.lead = rd.SoftState.Lead
		out.Notices = append(out.Notices, Notice{Leader: cluster.ID(n.lead), Term: n.raw.BasicStatus().GetTerm()})
		if n.lead != raft.None && len(n.readsFlying) > 0 {
			n.sendRead() // the one who was asked may be gone
		}
	}
	for _, rs := range rd.ReadStates {
		if len(rs.RequestCtx) == 8 && binary.BigEndian.Uint64(rs.RequestCtx) == n.readID && len(n.readsFlying) > 0 {
			out.Reads = append(out.Reads, ReadsDone{Tickets: n.readsFlying, Index: rs.Index})
			n.readsFlying = nil
		}
	}
	var requests []*raftpb.Message
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			job := &AppendJob{Entries: m.GetEntries(), responses: m.GetResponses(), MustSync: rd.MustSync}
			if hs := (&raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}); !raft.IsEmptyHardState(hs) {
				job.HardState = hs
			}
			if !raft.IsEmptySnap(m.GetSnapshot()) {
				job.Snapshot = m.GetSnapshot()
			}
			out.Append = job
			n.fence.see(job.Entries, n)
		case raft.LocalApplyThread:
			out.Apply = &ApplyJob{Entries: m.GetEntries(), responses: m.GetResponses()}
			n.applying++
		default:
			switch m.GetType() {
			case raftpb.MsgSnap:
				out.Snapshots = append(out.Snapshots, m)
			case raftpb.MsgVote:
				requests = append(requests, m)
			case raftpb.MsgHeartbeat:
				if !replaceHeartbeat(out.Send, m) {
					out.Send = append(out.Send, m)
				}
			default:
				out.Send = append(out.Send, m)
			}
		}
	}
	// Raft lets others be asked for their votes before the own one is durable. They could elect a member that forgets the
	// term in a crash, and elect it in the same term again, where it puts other entries into the same places.
	if out.Append != nil {
		out.Append.responses = append(out.Append.responses, requests...)
	} else {
		out.Send = append(out.Send, requests...)
	}
}

// replaceHeartbeat puts a heartbeat in the place of an earlier one to the same member. Each read that is asked for brings
// one, and the last confirms the reads of all.
func replaceHeartbeat(send []*raftpb.Message, m *raftpb.Message) bool {
	for i := len(send) - 1; i >= 0; i-- {
		if o := send[i]; o.GetType() == raftpb.MsgHeartbeat && o.GetTo() == m.GetTo() {
			send[i] = m
			return true
		}
	}
	return false
}

// broken is a broken invariant of raft, printed only if it is shown.
type broken struct {
	format string
	args   []any
}

func (b broken) String() string { return fmt.Sprintf(b.format, b.args...) }
func (b broken) Error() string  { return b.String() }
