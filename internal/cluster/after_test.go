package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

func TestMembersAfterChanges(t *testing.T) {
	change := func(kind raftpb.ConfChangeType, id uint64, context string) *raftpb.ConfChange {
		return &raftpb.ConfChange{Type: kind.Enum(), NodeId: &id, Context: []byte(context)}
	}
	var ms []Member
	for _, cc := range []*raftpb.ConfChange{
		change(raftpb.ConfChangeAddNode, 1, `{"id":1,"peerURLs":["http://a:1"],"name":"a"}`),
		change(raftpb.ConfChangeAddNode, 1, `{"id":1,"peerURLs":["http://a:1"],"name":"a"}`),
		change(raftpb.ConfChangeAddLearnerNode, 2, `{"id":2,"peerURLs":["http://b:1"],"isLearner":true}`),
		change(raftpb.ConfChangeAddNode, 3, `{"id":3,"peerURLs":["http://c:1"]}`),
		change(raftpb.ConfChangeUpdateNode, 3, `{"id":3,"peerURLs":["http://c:2"]}`),
		change(raftpb.ConfChangeUpdateNode, 9, `{"id":9,"peerURLs":["http://x:2"]}`),
		change(raftpb.ConfChangeAddNode, 9, `{"id":9,"isPromote":true}`),
		change(raftpb.ConfChangeRemoveNode, 8, ``),
	} {
		ms = After(ms, cc)
	}
	require.Equal(t, []Member{{ID: 1, PeerURLs: []string{"http://a:1"}, Name: "a"}, {ID: 2, PeerURLs: []string{"http://b:1"}, IsLearner: true},
		{ID: 3, PeerURLs: []string{"http://c:2"}}}, ms)
	ms = After(ms, change(raftpb.ConfChangeAddNode, 2, `{"id":2,"isPromote":true}`))
	ms = After(ms, change(raftpb.ConfChangeRemoveNode, 1, ""))
	require.Equal(t, []Member{{ID: 2, PeerURLs: []string{"http://b:1"}}, {ID: 3, PeerURLs: []string{"http://c:2"}}}, ms)
}
