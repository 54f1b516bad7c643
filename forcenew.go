package cairn

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wal"
)

// standAlone makes a member the only one of its cluster, with all that its log holds as committed: what --force-new-cluster
// asks for after most members are lost. What was not committed is dropped; the other members are removed by entries that
// follow the last committed one.
func standAlone(log *wal.Log, rec *wal.Recovered, applied *cluster.View) error {
	me := cluster.ID(rec.Metadata.NodeID)
	commit := rec.HardState.GetCommit()
	kept := rec.Entries[:commit-rec.Start.Index]
	members, err := membersAt(applied, kept)
	if err != nil {
		return err
	}
	next := commit
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
	case len(members) == 1 && len(rec.Entries) > len(kept):
		// An entry has to take the place of what was not committed.
		err = add(raftpb.ConfChangeUpdateNode, me, cluster.Member{ID: me, PeerURLs: self.PeerURLs})
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
	rec.Entries = append(kept, entries...)
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
