package host

import (
	"context"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/wire"
)

// The methods that the transport calls; peer.Raft names them.

// Process takes a message from a peer. It waits while many wait already.
func (h *Host) Process(ctx context.Context, m *raftpb.Message) error {
	select {
	case h.inbox <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.stop:
		return wire.ErrStopped
	}
}

// Removed reports whether a member was removed from the cluster.
func (h *Host) Removed(id cluster.ID) bool { return h.View().Cluster.Removed(id) }

// Unreachable tells that messages to a member were lost.
func (h *Host) Unreachable(id cluster.ID) {
	if h.IsLeader() {
		h.cfg.Metrics.HeartbeatFailures.Inc()
	}
	h.loopBox.put(inspect{func(n *node.Node) { n.Unreachable(id) }})
}

// SnapshotSent tells that a snapshot has arrived at a member, or why it has not.
func (h *Host) SnapshotSent(id cluster.ID, err error) {
	if err != nil {
		h.cfg.Logger.Warn("failed to send a snapshot to a member", "remote-peer-id", id.String(), "error", err.Error())
	}
	h.loopBox.put(inspect{func(n *node.Node) { n.SnapshotSent(id, err == nil) }})
}

// Down tells that nothing listens any more where a member was.
func (h *Host) Down(id cluster.ID) {
	h.loopBox.put(inspect{func(n *node.Node) {
		n.Tick(h.now())
		n.Down(id)
	}})
}

// Expelled tells that a peer says this member was removed.
func (h *Host) Expelled(err error) { h.leave(err) }

// sendSnapshot sends the state with a message that needs it: the present state, which is never older than the one that
// the message names.
func (h *Host) sendSnapshot(m *raftpb.Message) {
	h.applies.put(applyWork{call: func() {
		v := h.machine().View()
		records := h.machine().Engine().View()
		meta := m.GetSnapshot().GetMetadata()
		out := &raftpb.Message{Type: m.Type, To: m.To, From: m.From, Term: m.Term, Snapshot: &raftpb.Snapshot{
			Data:     v.Cluster.AppendStore(nil, v.Applied),
			Metadata: &raftpb.SnapshotMetadata{Index: new(max(v.Applied, meta.GetIndex())), Term: &v.Term, ConfState: v.Cluster.ConfState()}}}
		h.peers.SendSnapshot(out, func(w io.Writer) error {
			defer records.Release()
			ctx, cancel := context.WithTimeout(context.Background(), sendWithin)
			defer cancel()
			image, err := snapshot.Plan(ctx, unhurried{records, h.stop}, snapshot.Options{Tree: true})
			if err != nil {
				return err
			}
			_, err = image.WriteTo(w)
			return err
		}, 0)
	}})
}

const sendWithin = 10 * time.Minute
