// Package node is the consensus core of one member: raft, the batching of proposals and reads, and the deadlines that a
// leader watches. It is a passive object: it is given inputs and the time, and Drain hands back the work to do.
//
// It must never start a goroutine, read a clock, open a file or a socket, or log.
package node

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Config is what a node starts with.
type Config struct {
	ID            cluster.ID
	Tick          time.Duration // raft's tick, the heartbeat interval
	ElectionTicks int
	PreVote       bool

	// FirstRead is where the IDs of reads start. No other life of any member may use them: a late answer to an earlier
	// life would pass for one to this.
	FirstRead uint64

	// State recovered from the log and the machine.
	HardState *raftpb.HardState
	ConfState *raftpb.ConfState // as of Applied
	Start     Position          // the entry before the first one in Entries
	Entries   []*raftpb.Entry
	Applied   uint64

	// KeepEntries is how many applied entries stay in memory for slow peers (etcd's snapshot-catchup-entries); 0 stands
	// for 5000. A peer that needs older ones is sent a snapshot.
	KeepEntries uint64
}

// Position is a place in the log.
type Position struct{ Index, Term uint64 }

// ReadTicket names a read that waits for its index.
type ReadTicket uint64

const (
	maxMessageBytes   = 1 << 20
	maxInflight       = 512
	maxApplyBytes     = 16 << 20
	readRetry         = 500 * time.Millisecond
	trimEvery         = 1000
	maxKeptBytes      = 64 << 20 // of entries in memory that are applied
	keepBehindApplied = 5000
)

// Node is one member's part in the consensus. One goroutine owns it.
type Node struct {
	cfg  Config
	raw  *raft.RawNode
	log  *raft.MemoryStorage
	conf *raftpb.ConfState // as of applied
	role raft.StateType

	now, nextTick time.Duration
	lead          uint64
	appended      uint64 // last index known durable here
	applied       uint64
	applying      int             // jobs handed out and not reported
	snapshot      *raftpb.Message // waits for them
	trimmed       uint64
	kept          int // bytes of the entries in memory

	contact  contact
	hurry    hurry
	farewell farewell
	fence    fence

	readsNext   []ReadTicket
	readsFlying []ReadTicket
	readID      uint64
	readSent    time.Duration
	readHeld    bool // until certain

	stalled bool // the log cannot be written at present
	sends   []*raftpb.Message
}

// New makes a node from what was recovered. A sole voter campaigns at once: there is nobody to wait for.
func New(cfg Config) (*Node, error) {
	log := raft.NewMemoryStorage()
	if cfg.Start.Index > 0 {
		err := log.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: &cfg.Start.Index, Term: &cfg.Start.Term, ConfState: cfg.ConfState}})
		if err != nil {
			return nil, err
		}
	}
	if cfg.HardState != nil {
		// The commit index is not synced on its own, so the database may know of more than the log says. What was
		// applied was committed.
		if cfg.HardState.GetCommit() < cfg.Applied {
			cfg.HardState.Commit = new(cfg.Applied)
		}
		if err := log.SetHardState(cfg.HardState); err != nil {
			return nil, err
		}
	}
	if err := log.Append(cfg.Entries); err != nil {
		return nil, err
	}
	if cfg.KeepEntries == 0 {
		cfg.KeepEntries = keepBehindApplied
	}
	n := &Node{cfg: cfg, log: log, conf: cfg.ConfState, applied: cfg.Applied, trimmed: cfg.Start.Index, readID: cfg.FirstRead,
		kept: entriesBytes(cfg.Entries), contact: contact{heard: map[uint64]time.Duration{}}}
	n.appended, _ = log.LastIndex()
	if cfg.Applied > n.appended {
		return nil, errors.New("node: the database is ahead of the log: log entries were lost")
	}
	raw, err := raft.NewRawNode(&raft.Config{
		ID: uint64(cfg.ID), ElectionTick: cfg.ElectionTicks, HeartbeatTick: 1,
		Storage: storage{log, n}, Applied: cfg.Applied, AsyncStorageWrites: true,
		MaxSizePerMsg: maxMessageBytes, MaxCommittedSizePerReady: maxApplyBytes, MaxInflightMsgs: maxInflight,
		CheckQuorum: true, PreVote: cfg.PreVote, StepDownOnRemoval: true, Logger: quiet{},
	})
	if err != nil {
		return nil, err
	}
	n.raw = raw
	n.nextTick = cfg.Tick
	if n.sole() {
		if err := raw.Campaign(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// sole reports whether this member is the only voter.
func (n *Node) sole() bool { return len(n.conf.GetVoters()) == 1 && n.votes() }

// votes reports whether this member is one of the voters.
func (n *Node) votes() bool { return slices.Contains(n.conf.GetVoters(), uint64(n.cfg.ID)) }

// Tick tells the node what time it is, as the time since some fixed moment.
func (n *Node) Tick(now time.Duration) {
	n.now = now
	// After a pause the missed ticks are not made up for: they would only start elections.
	if missed := now - n.nextTick; missed > n.cfg.Tick*time.Duration(n.cfg.ElectionTicks) {
		n.nextTick = now
		n.contact.reset(now, n.conf)
	}
	for n.nextTick <= now {
		if !n.stalled || n.sole() {
			n.raw.Tick()
		}
		n.nextTick += n.cfg.Tick
		n.sayFarewell()
	}
	n.checkContact()
	n.campaignInHurry()
	if len(n.readsFlying) > 0 && now-n.readSent >= readRetry {
		n.sendRead()
	}
}

// NextTick is when Tick has something to do.
func (n *Node) NextTick() time.Duration {
	if n.hurry.until > n.now {
		return min(n.nextTick, n.hurry.next)
	}
	return n.nextTick
}

// Term is the term that a proposal made now belongs to.
func (n *Node) Term() uint64 { return n.raw.BasicStatus().GetTerm() }

// Propose steps all commands as one message. Without a leader, or while leadership moves, they are not taken
// (raft.ErrProposalDropped) and the caller keeps them.
//
// A proposal belongs to the term it was made in: only the leader of that term takes it. So once the first entry of a
// later term has been applied, a proposal that has had no effect will never have one, and may be made again.
func (n *Node) Propose(cmds [][]byte) error {
	entries := make([]*raftpb.Entry, len(cmds))
	arena := make([]raftpb.Entry, len(cmds))
	for i, c := range cmds {
		entries[i] = &arena[i]
		entries[i].Data = c
	}
	return n.propose(entries)
}

// ChangeMembers proposes a membership change, as Propose does a command.
func (n *Node) ChangeMembers(cc *raftpb.ConfChange) error {
	data, err := proto.Marshal(cc)
	if err != nil {
		return err
	}
	if !n.mayChange() {
		return raft.ErrProposalDropped
	}
	return n.changed(n.propose([]*raftpb.Entry{{Type: raftpb.EntryConfChange.Enum(), Data: data}}))
}

// propose notes the term in a field that proposals have no other use for.
func (n *Node) propose(entries []*raftpb.Entry) error {
	return n.raw.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(uint64(n.cfg.ID)), LogTerm: new(n.Term()), Entries: entries})
}

// Receive takes a message from a peer. A proposal that cannot be taken now gives raft.ErrProposalDropped and may be
// received again.
func (n *Node) Receive(m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp: // it has heard of this member, and this member of it
		n.contact.heard[m.GetFrom()] = n.now
	case raftpb.MsgProp:
		// Etcd's members do not say which term a proposal belongs to.
		if s := n.raw.BasicStatus(); m.GetLogTerm() != 0 && (m.GetLogTerm() != s.GetTerm() || s.RaftState != raft.StateLeader) {
			return nil
		}
		if changesMembers(m) {
			if !n.mayChange() {
				return raft.ErrProposalDropped
			}
			return n.changed(n.raw.Step(m))
		}
	case raftpb.MsgVote:
		// Raft says nothing to a candidate of an earlier term. Without pre-votes, two members that both campaign, of which
		// one does not know the other, would never get on the same term.
		if term := n.Term(); m.GetTerm() < term {
			n.sends = append(n.sends, &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), To: m.From, From: new(uint64(n.cfg.ID)),
				Term: new(term), Reject: new(true)})
			return nil
		}
		defer n.standInstead(m)
	case raftpb.MsgSnap:
		// Raft takes over the snapshot's configuration at once. Membership changes from before that are still on their way
		// back here would be made to it again.
		if n.applying > 0 {
			n.snapshot = m
			return nil
		}
	case raftpb.MsgReadIndex:
		if !n.certain() {
			return nil // the member asks again
		}
	}
	return n.raw.Step(m)
}

// Read asks for the index that a linearizable read has to wait for. Reads that come while a round is under way share
// the next one: a round must start after the read came.
func (n *Node) Read(t ReadTicket) { n.readsNext = append(n.readsNext, t) }

func (n *Node) sendRead() {
	n.readSent = n.now
	if n.readHeld = !n.certain(); n.readHeld {
		return
	}
	n.raw.ReadIndex(binary.BigEndian.AppendUint64(nil, n.readID))
}

// certain reports whether what this member would answer a read with is not too little. The only voter answers without
// asking anybody, but when it has just begun to lead, it may have acknowledged more before a crash than its commit index
// tells: it has to commit something first. Raft waits for that among several voters only.
func (n *Node) certain() bool {
	s := n.raw.BasicStatus()
	if s.RaftState != raft.StateLeader || !n.sole() {
		return true
	}
	term, err := n.log.Term(s.GetCommit())
	return err == nil && term == s.GetTerm()
}

// Appended reports that a job of Drain is durable, and its snapshot, if it has one, the state of the machine. Jobs are
// reported in the order they were handed out.
func (n *Node) Appended(job *AppendJob) error {
	if s := job.Snapshot; s != nil {
		if err := n.log.ApplySnapshot(s); err != nil {
			return err
		}
		n.conf = s.GetMetadata().GetConfState()
		n.applied = s.GetMetadata().GetIndex()
		n.appended, n.trimmed, n.kept = n.applied, n.applied, 0
	}
	if err := n.log.Append(job.Entries); err != nil {
		return err
	}
	if k := len(job.Entries); k > 0 {
		n.appended = job.Entries[k-1].GetIndex()
		n.kept += entriesBytes(job.Entries)
	}
	if job.HardState != nil {
		if err := n.log.SetHardState(job.HardState); err != nil {
			return err
		}
	}
	return n.respond(job.responses)
}

// Applied reports that a job of Drain has had its effect, with the membership changes it held, refused ones as no-ops.
func (n *Node) Applied(job *ApplyJob, conf []*raftpb.ConfChange) error {
	last, sole := job.Entries[len(job.Entries)-1].GetIndex(), n.sole()
	for _, cc := range conf {
		n.applyConf(cc, last)
	}
	if last > n.applied {
		n.applied = last
	}
	if err := n.respond(job.responses); err != nil {
		return err
	}
	if n.applying--; n.applying == 0 && n.snapshot != nil {
		m := n.snapshot
		n.snapshot = nil
		if err := n.raw.Step(m); err != nil {
			return err
		}
	}
	if !sole && n.sole() {
		_ = n.raw.Campaign() // there is nobody to wait for; a leader ignores it
	}
	return nil
}

func (n *Node) respond(msgs []*raftpb.Message) error {
	for _, m := range msgs {
		if m.GetTo() != uint64(n.cfg.ID) {
			n.sends = append(n.sends, m)
			continue
		}
		if err := n.raw.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
			return err
		}
	}
	return nil
}

// Trim forgets entries that are applied and that no peer will ask for, or not soon enough to be worth their memory.
func (n *Node) Trim() error {
	keep := n.cfg.KeepEntries
	if len(n.conf.GetVoters())+len(n.conf.GetLearners()) == 1 {
		keep = 1
	}
	to := n.trimmed
	if n.applied >= keep+n.trimmed+min(trimEvery, n.cfg.KeepEntries) {
		to = n.applied - keep
	}
	if n.kept > maxKeptBytes {
		to = max(to, n.trimmed+(n.applied-n.trimmed)/2)
	}
	if to <= n.trimmed {
		return nil
	}
	gone, err := n.log.Entries(n.trimmed+1, to+1, math.MaxUint64)
	if err != nil {
		return err
	}
	n.kept -= entriesBytes(gone)
	n.trimmed = to
	return n.log.Compact(to)
}

func entriesBytes(es []*raftpb.Entry) (n int) {
	for _, e := range es {
		n += len(e.GetData())
	}
	return n
}

// Entries are those from first to last, both included, as long as they are in memory.
func (n *Node) Entries(first, last uint64) ([]*raftpb.Entry, error) {
	return n.log.Entries(first, last+1, math.MaxUint64)
}

// Status is what the node knows of itself.
type Status struct {
	ID, Leader            cluster.ID
	Term, Commit, Applied uint64
	IsLeader, Sole        bool
	Transferring          bool // leadership is on its way to another member: proposals wait
}

// Status returns the node's present status.
func (n *Node) Status() Status {
	s := n.raw.BasicStatus()
	return Status{ID: n.cfg.ID, Leader: cluster.ID(s.Lead), Term: s.GetTerm(), Commit: s.GetCommit(), Applied: n.applied,
		IsLeader: s.RaftState == raft.StateLeader, Sole: n.sole(), Transferring: s.LeadTransferee != raft.None}
}

// storage is raft's view of the log, with the configuration as of the applied index.
type storage struct {
	*raft.MemoryStorage
	node *Node
}

func (s storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hs, _, err := s.MemoryStorage.InitialState()
	return hs, s.node.conf, err
}

// Snapshot names the applied state. The host sends the state itself, or a later one, when it sends the message.
func (s storage) Snapshot() (*raftpb.Snapshot, error) {
	n := s.node
	term, err := s.Term(n.applied)
	if err != nil || n.applied == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(n.applied), Term: &term, ConfState: n.conf}}, nil
}

// quiet drops raft's log lines: what matters of them arrives as notices. Broken invariants still panic.
type quiet struct{}

func (quiet) Debug(...any)            {}
func (quiet) Debugf(string, ...any)   {}
func (quiet) Error(...any)            {}
func (quiet) Errorf(string, ...any)   {}
func (quiet) Info(...any)             {}
func (quiet) Infof(string, ...any)    {}
func (quiet) Warning(...any)          {}
func (quiet) Warningf(string, ...any) {}
func (quiet) Fatal(v ...any)          { panic(v) }
func (quiet) Fatalf(f string, v ...any) {
	panic(broken{f, v})
}
func (quiet) Panic(v ...any)            { panic(v) }
func (quiet) Panicf(f string, v ...any) { panic(broken{f, v}) }
