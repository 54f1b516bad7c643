package host

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	// connectedFor is how long a member must have been connected to count as one that can be relied on.
	connectedFor = 5 * time.Second
	// inSync is the part of the leader's log, in percent, that a learner must have to be promoted.
	inSync = 90
)

// AddMember adds a member (v3-grpc.md section 17).
func (h *Host) AddMember(ctx context.Context, peerURLs []string, as cluster.Kind) (cluster.Member, error) {
	if err := h.mayAdd(as != cluster.Voter); err != nil {
		return cluster.Member{}, err
	}
	m := cluster.Member{ID: cluster.MemberID(peerURLs, "", time.Now().Unix()), PeerURLs: peerURLs, IsLearner: as != cluster.Voter,
		AutoPromote: as == cluster.Candidate}
	kind := raftpb.ConfChangeAddNode
	if m.IsLearner {
		kind = raftpb.ConfChangeAddLearnerNode
	}
	return m, h.changeMembers(ctx, kind, m.ID, m)
}

// RemoveMember removes a member for good.
func (h *Host) RemoveMember(ctx context.Context, id cluster.ID) error {
	if err := h.mayRemove(id); err != nil {
		return err
	}
	h.moveFrom(ctx, id)
	return h.changeMembers(ctx, raftpb.ConfChangeRemoveNode, id, nil)
}

// moveFrom takes leadership from a member that is to go, so that nobody has to wait for an election. If that fails, it
// goes as leader.
func (h *Host) moveFrom(ctx context.Context, id cluster.ID) {
	if h.Leader() != id {
		return
	}
	to := h.cfg.MemberID
	if id == to {
		if h.ask(func(n *node.Node) { to = n.Successor() }) != nil || to == 0 {
			return
		}
	} else if me, ok := h.View().Cluster.Member(to); !ok || me.IsLearner {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.electionTimeout())
	defer cancel()
	if err := h.MoveLeader(ctx, to); err != nil {
		h.cfg.Logger.Warn("the leader is removed while it leads", "error", err.Error())
	}
}

// UpdateMember changes a member's peer URLs.
func (h *Host) UpdateMember(ctx context.Context, id cluster.ID, peerURLs []string) error {
	m, _ := h.View().Cluster.Member(id)
	return h.changeMembers(ctx, raftpb.ConfChangeUpdateNode, id, cluster.Member{ID: id, PeerURLs: peerURLs, IsLearner: m.IsLearner})
}

// PromoteMember makes a learner a voter. Only the leader knows whether the learner is ready: another member asks it.
func (h *Host) PromoteMember(ctx context.Context, id cluster.ID) error {
	if !h.IsLeader() {
		return h.askLeader(ctx, func(ctx context.Context, url string) error {
			_, err := h.cfg.Others.Promote(ctx, url, id)
			return err
		})
	}
	if err := h.mayPromote(id); err != nil {
		return err
	}
	err := h.changeMembers(ctx, raftpb.ConfChangeAddNode, id, struct {
		ID        cluster.ID `json:"id"`
		PeerURLs  []string   `json:"peerURLs"`
		IsPromote bool       `json:"isPromote"`
	}{ID: id, IsPromote: true})
	if err == nil {
		h.cfg.Metrics.Promoted.Inc()
	}
	return err
}

// changeMembers puts a membership change into the log and waits for its effect. A refused one has none: the error says
// why.
func (h *Host) changeMembers(ctx context.Context, kind raftpb.ConfChangeType, id cluster.ID, member any) error {
	if err := errors.Join(ctx.Err(), h.Failed()); err != nil {
		return err
	}
	cc := &raftpb.ConfChange{Id: new(h.queue.nextID()), Type: kind.Enum(), NodeId: new(uint64(id))}
	if member != nil {
		b, err := json.Marshal(member)
		if err != nil {
			return err
		}
		cc.Context = b
	}
	t := h.ticket()
	if err := h.queue.expect(cc.GetId(), t); err != nil {
		return err
	}
	h.loopBox.put(confChange{cc})
	_, err := h.await(t)
	return err
}

// expect registers a ticket for what does not go through the queue.
func (p *proposals) expect(id uint64, t *ticket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return wire.ErrStopped
	}
	if len(p.tickets) >= maxQueue {
		return wire.ErrTooManyRequests
	}
	p.tickets[id] = t
	return nil
}

// voters counts the voters, and those of them that have published a name.
func voters(v *cluster.View) (all, started int) {
	for _, m := range v.Members() {
		if !m.IsLearner {
			all++
			if m.Name != "" {
				started++
			}
		}
	}
	return all, started
}

func (h *Host) mayAdd(learner bool) error {
	if !h.cfg.StrictChecks {
		return nil
	}
	all, started := voters(h.View().Cluster)
	if !learner {
		n := all + 1
		if started < n/2+1 && !(started == 1 && n == 2) {
			return wire.ErrMemberNotEnoughStarted
		}
	}
	if all > 1 && h.reliable() < (all+1)/2+1 {
		return wire.ErrUnhealthy
	}
	return nil
}

func (h *Host) mayRemove(id cluster.ID) error {
	v := h.View().Cluster
	m, ok := v.Member(id)
	if !h.cfg.StrictChecks || !ok || m.IsLearner {
		return nil
	}
	all, started := voters(v)
	if m.Name != "" {
		started--
	}
	if started < (all-1)/2+1 {
		return wire.ErrMemberNotEnoughStarted
	}
	if id != h.cfg.MemberID && !h.connected(uint64(id), h.now()) {
		return nil
	}
	if h.reliable()-1 < 1+(all-1)/2 {
		return wire.ErrUnhealthy
	}
	return nil
}

func (h *Host) mayPromote(id cluster.ID) error {
	v := h.View().Cluster
	m, ok := v.Member(id)
	switch {
	case !ok:
		return wire.ErrMemberNotFound
	case !m.IsLearner:
		return wire.ErrMemberNotLearner
	}
	var match, last uint64
	known := false
	if err := h.ask(func(n *node.Node) { match, last, known = n.Progress(id) }); err != nil {
		return wire.ErrStopped
	}
	if !known || match*100 < last*inSync {
		return wire.ErrLearnerNotReady
	}
	if h.cfg.StrictChecks {
		if all, started := voters(v); started+1 < (all+1)/2+1 {
			return wire.ErrMemberNotEnoughStarted
		}
	}
	return nil
}

// reliable is the number of voters that this member has been connected to for long enough, itself included.
func (h *Host) reliable() (n int) {
	for _, m := range h.View().Cluster.Members() {
		if !m.IsLearner && (m.ID == h.cfg.MemberID || h.connected(uint64(m.ID), h.now()-connectedFor)) {
			n++
		}
	}
	return n
}

// connected reports whether a member has been connected all the time since a moment.
func (h *Host) connected(id uint64, since time.Duration) bool {
	at, ok := h.peers.ActiveSince(cluster.ID(id))
	return ok && at.Sub(h.start) <= since
}

// askLeader asks the leader to do what only it can, at one of its peer URLs after the other.
func (h *Host) askLeader(ctx context.Context, ask func(ctx context.Context, url string) error) error {
	ctx, cancel := context.WithTimeout(ctx, h.RequestTimeout())
	defer cancel()
	if h.cfg.Others == nil {
		return wire.ErrNoLeader
	}
	for {
		m, ok := h.View().Cluster.Member(cluster.ID(h.lead.Load())) // also of a member that is cut off
		if ok && m.ID != h.cfg.MemberID {
			for _, url := range m.PeerURLs {
				if err := ask(ctx, url); !unanswered(err) {
					return err
				}
			}
		}
		// The leader may be gone, or another one on its way.
		if h.pause(ctx, 50*time.Millisecond) != nil {
			if ctx.Err() != nil {
				return wire.ErrTimeout
			}
			return wire.ErrStopped
		}
	}
}

// unanswered reports whether a question may be asked again: nobody was reached, or not the leader.
func unanswered(err error) bool {
	if err == nil {
		return false
	}
	s, ok := status.FromError(err)
	return !ok || errors.Is(err, wire.ErrNotLeader) || s.Code() == codes.Unavailable
}
