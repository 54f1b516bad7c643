package sim

import (
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

// leading is what a member knows of who leads, and what it does while that is itself.
type leading struct {
	lead       cluster.ID // 0 if it knows of nobody
	leadTerm   uint64     // the term it leads in, 0 if it does not
	actingTerm uint64     // the last term it led in and had applied everything from before it
	led        time.Duration
	acted      time.Duration
	resumed    time.Duration            // when it last woke from a pause
	heard      map[uint64]time.Duration // when others last answered
	lastScan   time.Duration
	conf       *raftpb.ConfState // who belongs to the cluster, as far as raft was told
	confSince  time.Duration
	confCommit uint64 // the commit index when raft was told of it
	retiring   bool
	removedAt  uint64
}

// acts reports whether the member leads and has applied what was committed before it did.
func (m *member) acts() bool { return m.leadTerm != 0 && m.actingTerm == m.leadTerm }

// alone reports whether there is no other member, as far as is applied here.
func (m *member) alone() bool {
	members := m.machine.View().Cluster.Members()
	return len(members) == 1 && members[0].ID == m.id.ID
}

// pump is the host's loop without its waiting: it hands out what the node has to be done.
func (m *member) pump() error {
	if err := m.proposeQueued(); err != nil {
		return err
	}
	for again := true; again; {
		again = false
		m.node.Drain(&m.out)
		for _, n := range m.out.Notices {
			m.notice(n.Leader, n.Term)
		}
		m.readsDone(m.out.Reads)
		for _, msg := range m.out.Send {
			m.s.net.message(m, msg)
			if msg.GetType() == m.lastWord && !m.s.calm {
				panic(crashed{m})
			}
		}
		for _, msg := range m.out.Snapshots {
			m.sendImage(msg)
		}
		if j := m.out.Apply; j != nil {
			m.applyLater(j)
		}
		switch j := m.out.Append; {
		case j == nil:
		case j.OnlyCommit() && m.w.chance(70):
			// It need not be durable, and rides with the next entries.
			m.commit = j.HardState
			if err := m.node.Appended(j); err != nil {
				return err
			}
			again = true
		default:
			if err := m.write(j); err != nil {
				return err
			}
		}
	}
	m.release()
	m.arm()
	return nil
}

// tell brings f to the loop, behind what it was told before.
func (m *member) tell(f func() error) {
	m.told = max(m.told, m.w.now+m.w.span(200*time.Microsecond))
	m.later(m.told-m.w.now, func() error {
		if err := f(); err != nil {
			return err
		}
		return m.pump()
	})
}

func (m *member) notice(leader cluster.ID, term uint64) {
	m.w.note("%v: leader %v in term %d", m, m.s.name(leader), term)
	m.truth().leads(m, leader, term)
	m.lead = leader
	m.leadTerm = 0
	if leader == m.id.ID {
		m.leadTerm, m.led = term, m.w.now
		m.s.rep.Elections++
		clear(m.asked)
	}
}

func (m *member) tick() error {
	m.node.Tick(m.local())
	m.watchDisk()
	if now := m.local(); now-m.lastScan >= leaseScan {
		m.lastScan = now
		m.scanLeases(now)
	}
	return m.pump()
}

// receive takes a message of another member.
func (m *member) receive(msg *raftpb.Message) error {
	switch msg.GetType() {
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp:
		m.heard[msg.GetFrom()] = m.w.now
	}
	if from := m.s.member(msg.GetFrom()); m.machine.View().Cluster.Removed(from.id.ID) {
		m.s.net.send(m, from, true, func() { from.enter(from.life, from.expelled) })
		return nil
	}
	if msg.GetType() == raftpb.MsgProp {
		if err := m.stepProposal(msg); err != nil {
			return err
		}
	} else if err := m.node.Receive(msg); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		return err
	}
	return m.pump()
}

// expelled tells a member what it may have missed: it was removed.
func (m *member) expelled() error {
	m.retire()
	return nil
}

const leaseScan = 500 * time.Millisecond

// scanLeases proposes what the deadlines ask for.
func (m *member) scanLeases(now time.Duration) {
	if !m.acts() {
		return
	}
	m.syncTree()
	revoke, checkpoints := m.deadlines.Tick(now)
	for _, id := range revoke {
		m.w.note("%v: lease %d is over", m, id)
		m.asked[id] = true
		m.proposeOwn(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: id}, nil)
		if m.s.bad.RevokeTwice {
			m.later(m.w.span(time.Second), func() error {
				m.proposeOwn(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: id}, nil)
				return m.pump()
			})
		}
	}
	if len(checkpoints) > 0 {
		q := &pb.LeaseCheckpointRequest{}
		for _, c := range checkpoints {
			q.Checkpoints = append(q.Checkpoints, &pb.LeaseCheckpoint{ID: c.ID, Remaining_TTL: c.RemainingSeconds})
		}
		m.proposeOwn(wire.KindLeaseCheckpoint, q, nil)
	}
}

// inspect looks now and then whether the member keeps what is promised of leaders.
func (m *member) inspect() error {
	m.later(tick, m.inspect)
	m.checkGivesUp()
	m.checkRevokes()
	return nil
}
