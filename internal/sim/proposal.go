package sim

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// requestTimeout is how long anybody waits for an answer.
const requestTimeout = 7 * time.Second

// ticket is a command or a membership change on its way into the log, and who waits for its effect.
type ticket struct {
	id    uint64
	data  []byte
	conf  *raftpb.ConfChange // a membership change instead of data
	done  func(machine.Result)
	until time.Duration
	term  uint64 // that it was proposed in; 0 while it waits to be
	own   uint64 // the term that its maker leads in, without whom it is worth nothing; 0 for what clients ask for
}

// proposals are what waits at a member.
type proposals struct {
	queue   []*ticket
	waiting map[uint64]*ticket // by ID
	kept    []*raftpb.Message  // what others have proposed while leadership was moving
}

// propose queues a command; done is called with its result if the member lives to see it. It returns the command's ID.
func (m *member) propose(kind wire.Kind, msg proto.Message, done func(machine.Result)) uint64 {
	return m.enqueue(&ticket{data: m.encode(kind, msg), id: m.s.requests, done: done})
}

// proposeOwn queues a command that only this member may propose, and only while it goes on leading: what was true of a
// lease when it looked need not be true any more for another leader, or for this one later. What it has proposed itself
// comes before the first entry of a later leader, who only acts behind that.
func (m *member) proposeOwn(kind wire.Kind, msg proto.Message, done func(machine.Result)) uint64 {
	t := &ticket{data: m.encode(kind, msg), id: m.s.requests, done: done}
	if !m.s.bad.ForwardRevokes {
		t.own = m.leadTerm
	}
	return m.enqueue(t)
}

// encode makes the command of a new request.
func (m *member) encode(kind wire.Kind, msg proto.Message) []byte {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	must(err)
	return m.command(kind, body)
}

func (m *member) command(kind wire.Kind, body []byte) []byte {
	return wire.AppendCommand(nil, &wire.Command{ID: m.s.nextRequest(), Kind: kind, Body: body, User: auth.Member.User, AuthRevision: auth.Member.Revision})
}

func (m *member) enqueue(t *ticket) uint64 {
	t.until = m.w.now + requestTimeout
	m.queue = append(m.queue, t)
	if m.s.bad.ProposeTwice && m.w.chance(3) {
		m.queue = append(m.queue, t)
	}
	if t.done != nil {
		m.waiting[t.id] = t
	}
	return t.id
}

// proposeConf queues a membership change.
func (m *member) proposeConf(cc *raftpb.ConfChange, done func(machine.Result)) {
	cc.Id = new(m.s.nextRequest())
	m.enqueue(&ticket{id: cc.GetId(), conf: cc, done: done})
}

// proposeQueued gives raft what waits. What is not taken goes on waiting: there is no leader, or leadership is on its
// way to another member.
func (m *member) proposeQueued() error {
	if m.s.plan.gather && m.atWork != nil {
		return nil
	}
	kept := m.kept
	m.kept = nil
	for _, msg := range kept {
		if err := m.stepProposal(msg); err != nil {
			return err
		}
	}
	m.dropStale()
	for len(m.queue) > 0 {
		n := 0
		for n < len(m.queue) && m.queue[n].conf == nil {
			n++
		}
		var err error
		term := m.node.Term()
		if n > 0 {
			cmds := make([][]byte, n)
			for i := range cmds {
				cmds[i] = m.queue[i].data
			}
			err = m.node.Propose(cmds)
		} else {
			n = 1
			err = m.node.ChangeMembers(m.queue[0].conf)
		}
		if errors.Is(err, raft.ErrProposalDropped) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, t := range m.queue[:n] {
			t.term = term
		}
		m.queue = slices.Delete(m.queue, 0, n)
	}
	return nil
}

// stepProposal steps what another member has proposed, and keeps it while leadership is moving.
func (m *member) stepProposal(msg *raftpb.Message) error {
	err := m.node.Receive(msg)
	if errors.Is(err, raft.ErrProposalDropped) {
		m.kept = append(m.kept, msg)
		m.s.rep.Kept++
		return nil
	}
	return err
}

func (m *member) dropStale() {
	s := m.node.Status()
	m.queue = slices.DeleteFunc(m.queue, func(t *ticket) bool {
		if t.until > m.w.now && (t.own == 0 || s.IsLeader && s.Term == t.own) {
			return false
		}
		delete(m.waiting, t.id)
		return true
	})
}

// deliver hands results to those who wait for them.
func (m *member) deliver(results []machine.Result) {
	for _, r := range results {
		if t := m.waiting[r.ID]; t != nil {
			delete(m.waiting, r.ID)
			t.done(r)
		}
	}
}

// again queues what was proposed in terms before this one and has had no effect: everything that those terms committed
// has been applied, so it never will have any.
func (m *member) again(term uint64) {
	for _, id := range sortedKeys(m.waiting) {
		t := m.waiting[id]
		switch {
		case t.until <= m.w.now || t.own != 0 && t.own < term:
			delete(m.waiting, id)
		case t.term != 0 && t.term < term:
			t.term = 0
			m.s.rep.Again++
			m.queue = append(m.queue, t)
		}
	}
}

// lose forgets what was proposed: whether it has taken effect cannot be told any more.
func (m *member) lose() {
	for _, id := range sortedKeys(m.waiting) {
		if m.waiting[id].term != 0 {
			delete(m.waiting, id)
		}
	}
}
