package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

const tick = 100 * time.Millisecond

// member drives one node as a host would, with a disk and a machine that only remember.
type member struct {
	t       *testing.T
	node    *Node
	hard    *raftpb.HardState
	entries []*raftpb.Entry // on its disk
	applied []string
	last    uint64 // applied index
	reads   []ReadsDone
	leaders []cluster.ID
	held    bool // the disk does not answer
	waiting []*AppendJob
	out     []*raftpb.Message
}

func voters(ids ...uint64) *raftpb.ConfState { return &raftpb.ConfState{Voters: ids} }

func (m *member) start(id cluster.ID, cs *raftpb.ConfState) {
	m.t.Helper()
	n, err := New(Config{ID: id, Tick: tick, ElectionTicks: 10, PreVote: true, HardState: m.hard, ConfState: cs, Entries: m.entries, Applied: m.last})
	require.NoError(m.t, err)
	m.node = n
}

func (m *member) work() {
	m.t.Helper()
	for range 100 {
		var out Output
		m.node.Drain(&out)
		m.out = append(m.out, out.Send...)
		m.reads = append(m.reads, out.Reads...)
		for _, n := range out.Notices {
			m.leaders = append(m.leaders, n.Leader)
		}
		if out.Append != nil {
			m.waiting = append(m.waiting, out.Append)
		}
		if !m.held {
			for _, j := range m.waiting {
				m.persist(j)
				require.NoError(m.t, m.node.Appended(j))
			}
			m.waiting = nil
		}
		if out.Apply != nil {
			var conf []*raftpb.ConfChange
			for _, e := range out.Apply.Entries {
				require.Equal(m.t, m.last+1, e.GetIndex(), "applied in order")
				m.last = e.GetIndex()
				switch {
				case e.GetType() == raftpb.EntryConfChange:
					cc := &raftpb.ConfChange{}
					require.NoError(m.t, proto.Unmarshal(e.GetData(), cc))
					conf = append(conf, cc)
				case len(e.GetData()) > 0:
					m.applied = append(m.applied, string(e.GetData()))
				}
			}
			require.NoError(m.t, m.node.Applied(out.Apply, conf))
			require.NoError(m.t, m.node.Trim())
		}
	}
}

func (m *member) persist(j *AppendJob) {
	if j.HardState != nil {
		m.hard = j.HardState
	}
	for _, e := range j.Entries {
		i := slices.IndexFunc(m.entries, func(o *raftpb.Entry) bool { return o.GetIndex() == e.GetIndex() })
		if i >= 0 {
			m.entries = m.entries[:i]
		}
		m.entries = append(m.entries, e)
	}
}

func cmds(s ...string) (out [][]byte) {
	for _, c := range s {
		out = append(out, []byte(c))
	}
	return out
}

func TestSoleVoterLeadsAtOnceAndAfterARestart(t *testing.T) {
	m := &member{t: t}
	m.start(5, voters(5))
	m.work()
	s := m.node.Status()
	require.True(t, s.IsLeader && s.Sole)
	require.Equal(t, cluster.ID(5), s.Leader)
	require.Equal(t, []cluster.ID{5}, m.leaders)
	require.NoError(t, m.node.Propose(cmds("a", "b", "c")))
	m.work()
	require.Equal(t, []string{"a", "b", "c"}, m.applied)

	term := s.Term
	m.leaders = nil
	m.start(5, voters(5)) // nothing is applied twice
	m.work()
	require.NoError(t, m.node.Propose(cmds("d")))
	m.work()
	require.Equal(t, []string{"a", "b", "c", "d"}, m.applied)
	require.Greater(t, m.node.Status().Term, term)
}

// The commit index is not synced on its own, so after a crash the log may hold more that was acknowledged.
func TestSoleVoterAnswersNoReadBeforeItKnowsWhatItAcknowledged(t *testing.T) {
	m := &member{t: t}
	m.start(5, voters(5))
	m.work()
	require.NoError(t, m.node.Propose(cmds("a")))
	m.work()
	require.NoError(t, m.node.Propose(cmds("acknowledged")))
	m.work()
	wrote := m.last
	m.hard.Commit = new(wrote - 1) // what the disk has of it
	m.last = wrote - 1
	m.start(5, voters(5))
	m.held = true
	m.node.Read(1)
	m.work()
	require.NoError(t, m.node.Receive(&raftpb.Message{Type: raftpb.MsgReadIndex.Enum(), From: new(uint64(6)),
		Entries: []*raftpb.Entry{{Data: []byte("12345678")}}})) // of a learner
	m.work()
	require.Empty(t, m.reads)
	require.Empty(t, m.out)
	m.held = false
	m.work()
	require.Len(t, m.reads, 1)
	require.GreaterOrEqual(t, m.reads[0].Index, wrote)
}

func TestNothingIsAppliedBeforeItIsDurable(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters(1))
	m.work()
	m.held = true
	require.NoError(t, m.node.Propose(cmds("a")))
	m.work()
	require.Empty(t, m.applied)
	require.NoError(t, m.node.Propose(cmds("b", "c"))) // gathers behind it
	m.work()
	require.Empty(t, m.applied)
	m.held = false
	m.work()
	require.Equal(t, []string{"a", "b", "c"}, m.applied)
}

// A follower is told of a commit while the entries before it are on their way to its disk.
func TestCommitDoesNotAnswerForEntriesThatAreNotDurable(t *testing.T) {
	m := &member{t: t}
	m.start(2, voters(1, 2, 3))
	m.work()
	m.held = true
	entry := func(i uint64) *raftpb.Entry {
		return &raftpb.Entry{Index: &i, Term: new(uint64(1)), Data: []byte{byte(i)}}
	}
	app := func(prev, term, commit uint64, entries ...*raftpb.Entry) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(1)),
			Index: &prev, LogTerm: &term, Commit: &commit, Entries: entries}
	}
	require.NoError(t, m.node.Receive(app(0, 0, 0, entry(1), entry(2))))
	m.work()
	require.NoError(t, m.node.Receive(app(2, 1, 2)))
	m.work()
	require.Len(t, m.waiting, 2)
	require.False(t, m.waiting[1].OnlyCommit())
	require.Empty(t, m.applied)
	for _, r := range m.out {
		require.NotEqual(t, raftpb.MsgAppResp, r.GetType(), "acknowledged before it is durable")
	}
	m.held = false
	m.work()
	require.Equal(t, []string{"\x01", "\x02"}, m.applied)
}

func TestNobodyIsAskedForAVoteBeforeTheOwnOneIsDurable(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters(1, 2, 3))
	m.work()
	m.held = true
	require.NoError(t, m.node.Receive(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(2)), To: new(uint64(1))}))
	m.work()
	require.EqualValues(t, 1, m.node.Status().Term)
	require.Empty(t, m.out)
	m.held = false
	m.work()
	require.EqualValues(t, 1, m.hard.GetTerm())
	require.EqualValues(t, 1, m.hard.GetVote())
	require.Len(t, m.out, 2)
	require.Equal(t, raftpb.MsgVote, m.out[0].GetType())
}

func TestCandidateOfAnEarlierTermIsToldTheTerm(t *testing.T) {
	ahead, behind := &member{t: t, hard: &raftpb.HardState{Term: new(uint64(41)), Vote: new(uint64(0)), Commit: new(uint64(0))}}, &member{t: t}
	ahead.start(1, voters(1, 8, 9)) // it knows nothing of 2
	behind.start(2, voters(1, 2))
	require.NoError(t, behind.node.Receive(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(1)), To: new(uint64(2))}))
	behind.work()
	require.Len(t, behind.out, 1)
	require.NoError(t, ahead.node.Receive(behind.out[0]))
	ahead.work()
	require.Len(t, ahead.out, 1)
	require.NoError(t, behind.node.Receive(ahead.out[0]))
	require.EqualValues(t, 41, behind.node.Status().Term)
}

func TestProposeWithoutALeaderIsRefused(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters(1, 2, 3))
	m.work()
	require.Error(t, m.node.Propose(cmds("a")))
	require.False(t, m.node.Status().IsLeader)
}

func TestDatabaseAheadOfTheLogIsRefused(t *testing.T) {
	_, err := New(Config{ID: 1, Tick: tick, ElectionTicks: 10, ConfState: voters(1), Applied: 9,
		Entries: []*raftpb.Entry{{Index: new(uint64(1)), Term: new(uint64(1))}}})
	require.ErrorContains(t, err, "ahead of the log")
}

func TestPauseStartsNoElectionStorm(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters(1))
	m.work()
	m.node.Tick(24 * time.Hour) // asleep for a day: one tick, not 864,000
	require.Equal(t, 24*time.Hour+tick, m.node.NextTick())
	m.work()
	require.True(t, m.node.Status().IsLeader)
}

func TestLogInMemoryIsTrimmed(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters(1))
	m.work()
	for i := range 5 * trimEvery {
		require.NoError(t, m.node.Propose(cmds(fmt.Sprint(i))))
		if i%50 == 0 {
			m.work()
		}
	}
	m.work()
	first, err := m.node.log.FirstIndex()
	require.NoError(t, err)
	require.Less(t, m.last-first, uint64(2*trimEvery))
	require.Len(t, m.applied, 5*trimEvery)
}

// A snapshot comes while membership changes from long before it are being applied.
func TestSnapshotWaitsForMembershipChangesUnderWay(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters())
	add := func(i, id uint64) *raftpb.Entry {
		data, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: &id})
		require.NoError(t, err)
		return &raftpb.Entry{Index: &i, Term: new(uint64(1)), Type: raftpb.EntryConfChange.Enum(), Data: data}
	}
	require.NoError(t, m.node.Receive(&raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(2)), To: new(uint64(1)),
		Term: new(uint64(1)), Commit: new(uint64(3)), Entries: []*raftpb.Entry{add(1, 1), add(2, 2), add(3, 3)}}))
	var apply *ApplyJob
	drain := func() (snapshot *raftpb.Snapshot) {
		for range 3 {
			var out Output
			m.node.Drain(&out)
			if out.Apply != nil {
				apply = out.Apply
			}
			if out.Append != nil {
				snapshot = out.Append.Snapshot
				require.NoError(t, m.node.Appended(out.Append))
			}
		}
		return snapshot
	}
	require.Nil(t, drain())
	require.Len(t, apply.Entries, 3)
	require.NoError(t, m.node.Receive(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1)),
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(50)), Term: new(uint64(1)), ConfState: voters(1, 2)}}}))
	require.Nil(t, drain())
	var conf []*raftpb.ConfChange
	for _, e := range apply.Entries {
		cc := &raftpb.ConfChange{}
		require.NoError(t, proto.Unmarshal(e.GetData(), cc))
		conf = append(conf, cc)
	}
	require.NoError(t, m.node.Applied(apply, conf))
	require.EqualValues(t, 50, drain().GetMetadata().GetIndex())
	require.Len(t, m.node.raw.Status().Config.Voters[0], 2)
}

func TestFewEntriesAreKeptIfSoConfigured(t *testing.T) {
	m := &member{t: t}
	m.start(1, voters(1, 2, 3))
	m.node.cfg.KeepEntries = 10
	var entries []*raftpb.Entry
	for i := range uint64(100) {
		entries = append(entries, &raftpb.Entry{Index: new(i + 1), Term: new(uint64(1))})
	}
	require.NoError(t, m.node.Receive(&raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(2)), To: new(uint64(1)),
		Term: new(uint64(1)), Commit: new(uint64(100)), Entries: entries}))
	m.work()
	first, err := m.node.log.FirstIndex()
	require.NoError(t, err)
	require.Equal(t, uint64(91), first)
}

// trio is three members and a network between them.
type trio struct {
	t   *testing.T
	m   map[uint64]*member
	cut map[uint64]bool // members that nobody reaches
	now time.Duration
}

func newTrio(t *testing.T) *trio {
	c := &trio{t: t, m: map[uint64]*member{}, cut: map[uint64]bool{}}
	for id := uint64(1); id <= 3; id++ {
		c.m[id] = &member{t: t}
		c.m[id].start(cluster.ID(id), voters(1, 2, 3))
	}
	return c
}

func (c *trio) run(d time.Duration) {
	for end := c.now + d; c.now < end; c.now += tick {
		for id := uint64(1); id <= 3; id++ {
			c.m[id].node.Tick(c.now)
		}
		c.settle()
	}
}

func (c *trio) settle() {
	for range 20 {
		for id := uint64(1); id <= 3; id++ {
			m := c.m[id]
			m.work()
			out := m.out
			m.out = nil
			for _, msg := range out {
				if !c.cut[id] && !c.cut[msg.GetTo()] {
					_ = c.m[msg.GetTo()].node.Receive(msg)
				}
			}
		}
	}
}

func (c *trio) leader() *member {
	for id := uint64(1); id <= 3; id++ {
		if !c.cut[id] && c.m[id].node.Status().IsLeader {
			return c.m[id]
		}
	}
	c.t.Helper()
	c.t.Fatal("nobody leads")
	return nil
}

func TestThreeElectReplicateAndReplaceALeader(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	old := c.leader()
	require.NoError(t, old.node.Propose(cmds("a", "b")))
	c.settle()
	for id, m := range c.m {
		require.Equal(t, []string{"a", "b"}, m.applied, id)
	}
	cut := uint64(old.node.Status().ID)
	c.cut[cut] = true
	require.NoError(t, old.node.Propose(cmds("lost")))
	c.run(5 * time.Second)
	require.False(t, old.node.Status().IsLeader, "without a quorum it gives up leadership")
	fresh := c.leader()
	require.NoError(t, fresh.node.Propose(cmds("c")))
	c.settle()
	c.cut = map[uint64]bool{}
	c.run(5 * time.Second)
	for id, m := range c.m {
		require.Equal(t, []string{"a", "b", "c"}, m.applied, id)
	}
}

func TestReadsShareRoundsAndOutliveTheLeader(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	l := c.leader()
	for i := range ReadTicket(10) {
		l.node.Read(i)
	}
	c.settle()
	require.Len(t, l.reads, 1)
	require.Len(t, l.reads[0].Tickets, 10)
	require.LessOrEqual(t, l.reads[0].Index, l.last)

	// A read begun before an acknowledged write may miss it; one begun after must not.
	require.NoError(t, l.node.Propose(cmds("w")))
	c.settle()
	wrote := l.last
	for id := uint64(1); id <= 3; id++ {
		c.m[id].reads = nil
		c.m[id].node.Read(99)
	}
	c.settle()
	for id, m := range c.m {
		require.Len(t, m.reads, 1, id)
		require.GreaterOrEqual(t, m.reads[0].Index, wrote, id)
	}

	// Cut off, it must not answer from what it believes.
	l.reads = nil
	c.cut[uint64(l.node.Status().ID)] = true
	l.node.Read(100)
	c.run(5 * time.Second)
	require.Empty(t, l.reads)
	c.cut = map[uint64]bool{}
	c.run(5 * time.Second)
	require.Len(t, l.reads, 1)
	require.Equal(t, []ReadTicket{100}, l.reads[0].Tickets)
}

// A proposal that a follower has sent to a leader of an earlier term must not be taken by anyone later: the follower
// proposes it again.
func TestProposalBelongsToItsTerm(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	old := c.leader()
	var follower *member
	for _, m := range c.m {
		if m != old {
			follower = m
		}
	}
	require.NoError(t, follower.node.Propose(cmds("late")))
	follower.work()
	held := follower.out // on its way for a long time
	follower.out = nil
	require.Len(t, held, 1)
	c.cut[uint64(old.node.Status().ID)] = true
	c.run(5 * time.Second)
	c.cut = map[uint64]bool{}
	c.run(5 * time.Second)
	fresh := c.leader()
	for _, m := range c.m {
		require.NoError(t, m.node.Receive(held[0]))
	}
	c.settle()
	require.Empty(t, fresh.applied)
	require.NoError(t, follower.node.Propose(cmds("late")))
	c.settle()
	for id, m := range c.m {
		require.Equal(t, []string{"late"}, m.applied, id)
	}
}

func TestLeaderGivesUpWithoutAQuorumThatAnswers(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	l := c.leader()
	for id := range c.m {
		c.cut[id] = id != uint64(l.node.Status().ID) // they hear nothing, and their answers are lost
	}
	c.run(900 * time.Millisecond)
	require.True(t, l.node.Status().IsLeader)
	c.run(400 * time.Millisecond)
	require.False(t, l.node.Status().IsLeader)
}

func TestLeaderIsReplacedAtOnceWhenItsProcessIsGone(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	gone := c.leader().node.Status().ID
	c.cut[uint64(gone)] = true
	for id, m := range c.m {
		if id != uint64(gone) {
			m.node.Down(gone)
		}
	}
	c.run(2 * tick)
	require.NotEqual(t, gone, c.leader().node.Status().ID)
}

// Who still hears of the leader does not vote for one who believes that it is gone.
func TestFalseAlarmDoesNotDepose(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	l := c.leader()
	term := l.node.Status().Term
	for _, m := range c.m {
		if m != l {
			m.node.Down(l.node.Status().ID)
			break
		}
	}
	c.run(3 * time.Second)
	require.True(t, l.node.Status().IsLeader)
	require.Equal(t, term, l.node.Status().Term)
}

func TestStalledMemberHandsOverAndDoesNotStand(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	l := c.leader()
	l.node.SetStalled(true)
	c.run(tick)
	require.False(t, l.node.Status().IsLeader)
	c.run(2 * tick)
	other := c.leader()
	require.NotSame(t, l, other)
	c.cut[uint64(other.node.Status().ID)] = true
	for range 5 {
		c.run(5 * time.Second)
		require.False(t, l.node.Status().IsLeader)
	}
	l.node.SetStalled(false)
	c.cut = map[uint64]bool{}
	c.run(10 * time.Second)
	require.NoError(t, c.leader().node.Propose(cmds("x")))
}

// The word to take over may come before entries that the leader has sent earlier: its receiver loses. The one who has
// those entries stands at once.
func TestMemberWithMoreOfTheLogStandsInsteadOfTheSuccessor(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	l := c.leader()
	to, other := c.m[1], c.m[2]
	if l == to {
		to = c.m[3]
	} else if l == other {
		other = c.m[3]
	}
	other.held = true // what it has is not acknowledged
	require.NoError(t, l.node.Propose(cmds("both")))
	c.settle()
	c.cut[uint64(to.node.Status().ID)] = true
	require.NoError(t, l.node.Propose(cmds("one")))
	c.settle()
	require.Equal(t, to.node.Status().ID, l.node.Successor())
	c.cut = map[uint64]bool{}
	l.node.SetStalled(true)
	other.held = false
	c.run(3 * tick)
	require.Same(t, other, c.leader())
	c.run(tick)
	require.Equal(t, []string{"both", "one"}, to.applied[len(to.applied)-2:])
}

// The votes were asked for before the disk stalled, and came after.
func TestStalledMemberThatIsElectedGivesUp(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	m := c.m[1]
	if m.node.Status().IsLeader {
		m = c.m[2]
	}
	id := m.node.Status().ID
	require.NoError(t, m.node.Receive(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(c.leader().node.Status().ID)), To: new(uint64(id))}))
	m.work()
	m.node.SetStalled(true)
	c.settle()
	require.True(t, m.node.Status().IsLeader)
	c.run(2 * tick)
	require.False(t, m.node.Status().IsLeader)
	c.run(time.Second)
	require.NotEqual(t, id, c.leader().node.Status().ID)
}

func TestLeadershipIsTransferred(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	l := c.leader()
	to := l.node.Successor()
	l.node.Transfer(to)
	require.True(t, l.node.Status().Transferring)
	require.ErrorIs(t, l.node.Propose(cmds("wait")), raft.ErrProposalDropped)
	c.settle()
	require.Equal(t, to, c.leader().node.Status().ID)
}
