package node

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// TestMembershipChangeWaitsForTheOneBefore: raft would replace it by an entry that does nothing.
func TestMembershipChangeWaitsForTheOneBefore(t *testing.T) {
	c := newTrio(t)
	c.run(5 * time.Second)
	change := func(id uint64) *raftpb.ConfChange {
		return &raftpb.ConfChange{Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: new(uint64(1)), Id: &id}
	}
	made := func(m *member) (ids []uint64) {
		for _, e := range m.entries {
			if e.GetType() == raftpb.EntryConfChange {
				cc := &raftpb.ConfChange{}
				require.NoError(t, proto.Unmarshal(e.GetData(), cc))
				ids = append(ids, cc.GetId())
			}
		}
		return ids
	}
	old := c.leader()
	require.NoError(t, old.node.ChangeMembers(change(11)))
	require.ErrorIs(t, old.node.ChangeMembers(change(12)), raft.ErrProposalDropped, "the first is not in the log yet")
	other := c.m[1]
	if other == old {
		other = c.m[2]
	}
	other.work()
	require.NoError(t, other.node.ChangeMembers(change(12)), "a follower passes it on")
	other.work()
	require.Len(t, other.out, 1)
	require.ErrorIs(t, old.node.Receive(other.out[0]), raft.ErrProposalDropped)
	forwarded := other.out[0]
	other.out = nil
	c.settle()
	require.NoError(t, old.node.Receive(forwarded), "the first is applied")
	c.settle()
	require.Equal(t, []uint64{11, 12}, made(old))

	// A new leader first applies what it has found in its log.
	old.node.Transfer(other.node.cfg.ID)
	var early error
	for range 100 {
		c.settle()
		if other.node.Status().IsLeader {
			early = other.node.ChangeMembers(change(13))
			break
		}
		c.run(tick)
	}
	if early != nil {
		require.True(t, errors.Is(early, raft.ErrProposalDropped))
		c.settle()
		require.NoError(t, other.node.ChangeMembers(change(13)))
	}
	c.settle()
	require.Equal(t, []uint64{11, 12, 13}, made(old))
}
