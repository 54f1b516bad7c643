package cairn

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wal"
)

// standAlone makes a member the only one of its cluster: what --force-new-cluster asks for after most members are lost. The
// other members are removed by entries behind the last one in its log.
//
// All of the log counts as committed. The member need not know of all that was, and what was acknowledged must not be lost;
// of what was not, nobody has been told that it has no effect.
func standAlone(log *wal.Log, rec *wal.Recovered, applied *cluster.View) error {
	me := cluster.ID(rec.Metadata.NodeID)
	members, err := membersAt(applied, rec.Entries)
	if err != nil {
		return err
	}
	next := rec.Start.Index + uint64(len(rec.Entries))
	var entries []*raftpb.Entry
	add := func(kind raftpb.ConfChangeType, id cluster.ID, context any) error {
		cc := &raftpb.ConfChange{Type: kind.Enum(), NodeId: new(uint64(id))}
		if context != nil {
			b, err := json.Marshal(context)
			if err != nil {
				return err
			}
			cc.Context = b
		}
		data, err := proto.Marshal(cc)
		if err != nil {
			return err
		}
		next++
		entries = append(entries, &raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Term: new(rec.HardState.GetTerm()), Index: new(next), Data: data})
		return nil
	}
	var self *cluster.Member
	for _, m := range members {
		if m.ID == me {
			self = &m
		}
	}
	switch {
	case self == nil:
		err = add(raftpb.ConfChangeAddNode, me, cluster.Member{ID: me, PeerURLs: []string{"http://localhost:2380"}})
	case self.IsLearner:
		err = add(raftpb.ConfChangeAddNode, me, map[string]any{"id": me, "isPromote": true})
	}
	for _, m := range members {
		if m.ID != me && err == nil {
			err = add(raftpb.ConfChangeRemoveNode, m.ID, nil)
		}
	}
	if err != nil {
		return err
	}
	rec.HardState.Commit = &next
	if err := log.Append(rec.HardState, entries, true); err != nil {
		return err
	}
	rec.Entries = append(rec.Entries, entries...)
	return nil
}

// membersAt are the members after the entries, of which the first ones may have been applied already.
func membersAt(applied *cluster.View, entries []*raftpb.Entry) ([]cluster.Member, error) {
	members := append([]cluster.Member(nil), applied.Members()...)
	for _, e := range entries {
		if e.GetType() != raftpb.EntryConfChange {
			continue
		}
		cc := &raftpb.ConfChange{}
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			return nil, fmt.Errorf("cairn: membership change at index %d: %w", e.GetIndex(), err)
		}
		members = cluster.After(members, cc)
	}
	return members, nil
}
