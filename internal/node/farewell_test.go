package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// A leader of two is removed, and what would tell the other one that this is committed is lost. The log of the one that
// was removed is longer: it would not vote for the other.
func TestLastVoterLearnsThatTheOtherIsRemoved(t *testing.T) {
	m := map[uint64]*member{1: {t: t}, 2: {t: t}}
	for id, x := range m {
		x.start(cluster.ID(id), voters(1, 2))
	}
	now := time.Duration(0)
	deliver := func(lose func(*raftpb.Message) bool) {
		for range 20 {
			for id := uint64(1); id <= 2; id++ {
				m[id].work()
				out := m[id].out
				m[id].out = nil
				for _, msg := range out {
					if !lose(msg) {
						_ = m[msg.GetTo()].node.Receive(msg)
					}
				}
			}
		}
	}
	run := func(d time.Duration, lose func(*raftpb.Message) bool) {
		for end := now + d; now < end; now += tick {
			for id := uint64(1); id <= 2; id++ {
				m[id].node.Tick(now)
			}
			deliver(lose)
		}
	}
	run(5*time.Second, func(*raftpb.Message) bool { return false })
	l, other := m[1], m[2]
	if other.node.Status().IsLeader {
		l, other = other, l
	}
	gone, stays := uint64(l.node.Status().ID), other.node.Status().ID
	require.NoError(t, l.node.ChangeMembers(&raftpb.ConfChange{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: &gone}))
	removal := l.last + 1
	deliver(func(msg *raftpb.Message) bool {
		if msg.GetFrom() == gone && len(msg.GetEntries()) > 0 {
			_ = l.node.Propose(cmds("behind")) // it has more than the other
		}
		return msg.GetFrom() == gone && len(msg.GetEntries()) == 0 || len(msg.GetEntries()) > 0 && msg.GetEntries()[0].GetIndex() > removal
	})
	require.Equal(t, removal, l.last)
	require.Less(t, other.last, removal)
	require.False(t, l.node.Status().IsLeader)

	run(time.Second, func(*raftpb.Message) bool { return false })
	require.True(t, other.node.Status().Sole)
	require.Equal(t, stays, other.node.Status().Leader)
	require.NoError(t, other.node.Propose(cmds("alone")))
	other.work()
	require.Contains(t, other.applied, "alone")
}
