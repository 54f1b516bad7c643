package sim

import (
	"encoding/json"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
)

// change is the membership change under way. There is one at a time, as far as whoever makes them can tell.
type change struct {
	busy  bool
	count int
}

// mostMembers is up to how many members a cluster grows.
const mostMembers = 6

// changeMembers adds, promotes, moves or removes a member now and then, through any member.
func (s *system) changeMembers() {
	if s.calm {
		return
	}
	s.w.after(s.w.between(200*time.Millisecond, 2*time.Second), s.changeMembers)
	via := s.anyone(nil)
	if s.change.busy || via == nil {
		return
	}
	via.enter(via.life, func() error {
		cc := s.nextChange(via)
		if cc == nil {
			return nil
		}
		s.w.note("through %v: %v %v", via, cc.GetType(), s.name(cluster.ID(cc.GetNodeId())))
		s.propose(via, cc)
		return via.pump()
	})
}

func (s *system) propose(via *member, cc *raftpb.ConfChange) {
	s.change.busy = true
	s.change.count++
	n := s.change.count
	over := func() {
		if s.change.count == n {
			s.change.busy = false
		}
	}
	via.proposeConf(cc, func(r machine.Result) {
		s.w.note("%v: %v", cc.GetType(), r.Err)
		over()
	})
	s.w.after(requestTimeout, over)
}

// nextChange chooses a change that makes sense as far as a member knows.
func (s *system) nextChange(via *member) *raftpb.ConfChange {
	var voters, learners []*member
	for _, x := range via.machine.View().Cluster.Members() {
		if m := s.member(uint64(x.ID)); x.IsLearner {
			learners = append(learners, m)
		} else {
			voters = append(voters, m)
		}
	}
	all := append(append([]*member(nil), voters...), learners...)
	if len(all) == 0 {
		return nil // it has joined and knows nothing yet
	}
	switch p := s.w.rng.IntN(100); {
	case len(learners) > 0 && p < 50:
		m := pick(s.w, learners)
		if l := s.leader(); l != nil && s.w.chance(80) {
			if match, last, ok := l.node.Progress(m.id.ID); !ok || match*100 < last*90 {
				return nil // not ready
			}
		}
		return confChange(raftpb.ConfChangeAddNode, m, promotion{ID: m.id.ID, IsPromote: true})
	case p < 55 && len(all) < mostMembers && len(s.members) < 12:
		m := s.newMember(s.w.chance(70))
		kind := raftpb.ConfChangeAddNode
		if m.id.IsLearner {
			kind = raftpb.ConfChangeAddLearnerNode
		}
		return confChange(kind, m, m.id)
	case p < 62:
		m := pick(s.w, all)
		return confChange(raftpb.ConfChangeUpdateNode, m, cluster.Member{ID: m.id.ID, PeerURLs: []string{m.id.PeerURLs[0] + "/moved"}})
	case len(voters) > 2, len(voters) > 1 && p < 70, p >= 97: // the last voter too, which has to be refused
		return confChange(raftpb.ConfChangeRemoveNode, pick(s.w, all), nil)
	}
	return nil
}

type promotion struct {
	ID        cluster.ID `json:"id"`
	PeerURLs  []string   `json:"peerURLs"`
	IsPromote bool       `json:"isPromote"`
}

func confChange(kind raftpb.ConfChangeType, m *member, context any) *raftpb.ConfChange {
	cc := &raftpb.ConfChange{Type: kind.Enum(), NodeId: new(uint64(m.id.ID))}
	if context != nil {
		b, err := json.Marshal(context)
		must(err)
		cc.Context = b
	}
	return cc
}

// retire stops the member for good: it was removed. It goes on for a moment, so that others may hear of it.
func (m *member) retire() {
	if m.retiring {
		return
	}
	m.retiring, m.removedAt = true, m.machine.Applied()
	m.fs.Clear()
	var stop func() error
	stop = func() error {
		if m.needed() {
			m.later(500*time.Millisecond, stop)
			return nil
		}
		m.w.note("%v is removed and stops", m)
		m.end()
		m.gone = true
		return nil
	}
	m.later(m.w.between(0, time.Second), stop)
}

// needed reports whether the cluster cannot do without a member that was removed: of two voters, the one that stays
// cannot go on before it knows for good that the other one is removed, and until then it needs its vote. Knowing it from
// a commit index that is not durable is not enough. So whoever removes the second last voter must not switch it off too
// early.
func (m *member) needed() bool {
	voters := m.machine.View().Cluster.ConfState().GetVoters()
	if len(voters) != 1 {
		return false
	}
	last := m.s.member(voters[0])
	return !last.gone && last.flushed < m.removedAt
}
