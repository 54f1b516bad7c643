// Package cluster is the table of members: who belongs to the cluster, under which URLs, as voter or learner, and which
// version the members have agreed on. It decides which membership changes are valid.
//
// It must never know which members are reachable or who leads.
package cluster

import (
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// ID names a member or a cluster. Zero is nobody.
type ID uint64

func (id ID) String() string { return strconv.FormatUint(uint64(id), 16) }

// Member is one member in the form etcd stores it and sends it in a ConfChange's context (operations.md section 5.7).
type Member struct {
	ID         ID       `json:"id"`
	PeerURLs   []string `json:"peerURLs"`
	IsLearner  bool     `json:"isLearner,omitempty"`
	Name       string   `json:"name,omitempty"`
	ClientURLs []string `json:"clientURLs,omitempty"`
	// AutoPromote asks the leader to make a learner a voter once it has caught up. Etcd does not know it and passes over.
	AutoPromote bool `json:"autoPromote,omitempty"`
}

// Kind is as what a member is added.
type Kind int

// The kinds of members.
const (
	Voter     Kind = iota
	Learner        // has all data and no vote
	Candidate      // a learner that becomes a voter once it has caught up
)

// MemberID derives a member's ID from its peer URLs, the cluster token and, for a member added at run time, the unix
// time in seconds (0 for a static bootstrap).
func MemberID(peerURLs []string, token string, unixSeconds int64) ID {
	urls := slices.Sorted(slices.Values(peerURLs))
	b := []byte(strings.Join(urls, "") + token)
	if unixSeconds != 0 {
		b = strconv.AppendInt(b, unixSeconds, 10)
	}
	sum := sha1.Sum(b)
	return ID(binary.BigEndian.Uint64(sum[:]))
}

// ClusterID derives the cluster's ID from the IDs of its first members.
func ClusterID(members []Member) ID {
	ids := make([]ID, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	slices.Sort(ids)
	var b []byte
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, uint64(id))
	}
	sum := sha1.Sum(b)
	return ID(binary.BigEndian.Uint64(sum[:]))
}

// BootstrapEntries are the entries that every first member starts its log with, the same on each.
func BootstrapEntries(members []Member) ([]*raftpb.Entry, error) {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	var out []*raftpb.Entry
	for i, m := range members {
		ctx, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		cc := &raftpb.ConfChange{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(uint64(m.ID)), Context: ctx}
		data, err := proto.Marshal(cc)
		if err != nil {
			return nil, err
		}
		out = append(out, &raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Term: new(uint64(1)), Index: new(uint64(i + 1)), Data: data})
	}
	return out, nil
}

var (
	clusterVersionKey = []byte("clusterVersion")
	removedValue      = []byte("removed")
)

// Table holds the members. One goroutine, the apply queue, owns it.
type Table struct {
	MaxLearners int
	members     map[ID]Member
	removed     map[ID]bool
	version     string
	view        *View
}

// View is the table at one moment; it never changes.
type View struct {
	members []Member // by ID
	removed map[ID]bool
	version string
}

// Open reads the table from the engine.
func Open(eng engine.Engine) (*Table, error) {
	t := &Table{MaxLearners: 1, members: map[ID]Member{}, removed: map[ID]bool{}}
	var bad error
	err := eng.Scan(engine.Members, nil, nil, func(k, v []byte) bool {
		var m Member
		if bad = json.Unmarshal(v, &m); bad == nil && m.ID.String() != string(k) {
			bad = fmt.Errorf("it is that of %v", m.ID)
		}
		if bad != nil {
			bad = fmt.Errorf("cluster: member record %q: %w", k, bad)
			return false
		}
		t.members[m.ID] = m
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	err = eng.Scan(engine.MembersRemoved, nil, nil, func(k, _ []byte) bool {
		var id uint64
		if id, bad = strconv.ParseUint(string(k), 16, 64); bad != nil {
			bad = fmt.Errorf("cluster: removed member %q: %w", k, bad)
			return false
		}
		t.removed[ID(id)] = true
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, err
	}
	v, _, err := eng.Get(engine.Cluster, clusterVersionKey)
	t.version = string(v)
	return t, err
}

// Check tells why a membership change is refused, or nil (operations.md section 10).
func (t *Table) Check(cc *raftpb.ConfChange) error {
	id := ID(cc.GetNodeId())
	if t.removed[id] {
		return wire.ErrMemberNotFound
	}
	m, exists := t.members[id]
	switch cc.GetType() {
	case raftpb.ConfChangeAddNode, raftpb.ConfChangeAddLearnerNode:
		ctx, promote, err := parseContext(cc.GetContext())
		if err != nil {
			return err
		}
		if promote {
			if !exists {
				return wire.ErrMemberNotFound
			}
			if !m.IsLearner {
				return wire.ErrMemberNotLearner
			}
			return nil
		}
		if exists {
			return wire.ErrMemberExist
		}
		if t.urlTaken(ctx) {
			return wire.ErrPeerURLExist
		}
		if cc.GetType() == raftpb.ConfChangeAddLearnerNode && t.learners() >= t.MaxLearners {
			return wire.ErrTooManyLearners
		}
	case raftpb.ConfChangeRemoveNode:
		if !exists {
			return wire.ErrMemberNotFound
		}
		if !m.IsLearner && len(t.members)-t.learners() == 1 {
			// Nobody could ever decide anything again. Who asked may have seen two voters: each was asked to remove another.
			return wire.ErrMemberNotEnoughStarted
		}
	case raftpb.ConfChangeUpdateNode:
		if !exists {
			return wire.ErrMemberNotFound
		}
		ctx, _, err := parseContext(cc.GetContext())
		if err != nil {
			return err
		}
		ctx.ID = id
		if t.urlTaken(ctx) {
			return wire.ErrPeerURLExist
		}
	default:
		return fmt.Errorf("cluster: unknown membership change %d", cc.GetType())
	}
	return nil
}

// Apply makes a change that Check has let pass.
func (t *Table) Apply(b engine.Batch, cc *raftpb.ConfChange) error {
	t.view = nil
	id := ID(cc.GetNodeId())
	m := t.members[id]
	ctx, promote, err := Member{}, false, error(nil)
	if cc.GetType() != raftpb.ConfChangeRemoveNode {
		if ctx, promote, err = parseContext(cc.GetContext()); err != nil {
			return err
		}
	}
	switch {
	case cc.GetType() == raftpb.ConfChangeRemoveNode:
		delete(t.members, id)
		t.removed[id] = true
		b.Delete(engine.Members, memberKey(id))
		b.Set(engine.MembersRemoved, memberKey(id), removedValue)
		return nil
	case promote:
		m.IsLearner, m.AutoPromote = false, false
	case cc.GetType() == raftpb.ConfChangeUpdateNode:
		m.PeerURLs = ctx.PeerURLs
	default:
		m = ctx
		m.ID = id
		m.IsLearner = cc.GetType() == raftpb.ConfChangeAddLearnerNode
	}
	return t.put(b, m)
}

// SetAttributes stores what a member has published of itself. An unknown member's are ignored.
func (t *Table) SetAttributes(b engine.Batch, id ID, name string, clientURLs []string) error {
	m, ok := t.members[id]
	if !ok {
		return nil
	}
	t.view = nil
	m.Name, m.ClientURLs = name, clientURLs
	return t.put(b, m)
}

// SetVersion stores the version that the members have agreed on.
func (t *Table) SetVersion(b engine.Batch, version string) {
	t.view = nil
	t.version = version
	b.Set(engine.Cluster, clusterVersionKey, []byte(version))
}

func (t *Table) put(b engine.Batch, m Member) error {
	v, err := json.Marshal(m)
	if err != nil {
		return err
	}
	t.members[m.ID] = m
	b.Set(engine.Members, memberKey(m.ID), v)
	return nil
}

func (t *Table) urlTaken(m Member) bool {
	for id, o := range t.members {
		if id != m.ID && slices.ContainsFunc(o.PeerURLs, func(u string) bool { return slices.Contains(m.PeerURLs, u) }) {
			return true
		}
	}
	return false
}

func (t *Table) learners() (n int) {
	for _, m := range t.members {
		if m.IsLearner {
			n++
		}
	}
	return n
}

// View returns the table as it is now.
func (t *Table) View() *View {
	if t.view == nil {
		v := &View{version: t.version, removed: make(map[ID]bool, len(t.removed))}
		for id := range t.removed {
			v.removed[id] = true
		}
		for _, m := range t.members {
			v.members = append(v.members, m)
		}
		slices.SortFunc(v.members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
		t.view = v
	}
	return t.view
}

// Members returns the members by ascending ID. The slice is not to be changed.
func (v *View) Members() []Member { return v.members }

// Member returns one member.
func (v *View) Member(id ID) (Member, bool) {
	for _, m := range v.members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Removed reports whether the member once belonged to the cluster and was removed.
func (v *View) Removed(id ID) bool { return v.removed[id] }

// Version is the cluster version X.Y.0, "" before one is agreed.
func (v *View) Version() string { return v.version }

// ConfState is the raft configuration that the members form.
func (v *View) ConfState() *raftpb.ConfState {
	cs := &raftpb.ConfState{}
	for _, m := range v.members {
		if m.IsLearner {
			cs.Learners = append(cs.Learners, uint64(m.ID))
		} else {
			cs.Voters = append(cs.Voters, uint64(m.ID))
		}
	}
	return cs
}

// After is the list of members after a change that was committed. What the list has already seen of it changes nothing.
func After(members []Member, cc *raftpb.ConfChange) []Member {
	id := ID(cc.GetNodeId())
	at := slices.IndexFunc(members, func(m Member) bool { return m.ID == id })
	if cc.GetType() == raftpb.ConfChangeRemoveNode {
		if at >= 0 {
			members = slices.Delete(members, at, at+1)
		}
		return members
	}
	m, promote, err := parseContext(cc.GetContext())
	switch {
	case err != nil:
	case promote && at >= 0:
		members[at].IsLearner = false
	case cc.GetType() == raftpb.ConfChangeUpdateNode && at >= 0:
		members[at].PeerURLs = m.PeerURLs
	case !promote && at < 0 && cc.GetType() != raftpb.ConfChangeUpdateNode:
		m.ID, m.IsLearner = id, cc.GetType() == raftpb.ConfChangeAddLearnerNode
		members = append(members, m)
	}
	return members
}

func memberKey(id ID) []byte { return []byte(id.String()) }

func parseContext(b []byte) (m Member, promote bool, err error) {
	var c struct {
		Member
		IsPromote bool `json:"isPromote"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return Member{}, false, fmt.Errorf("cluster: malformed context of a membership change: %w", err)
	}
	return c.Member, c.IsPromote, nil
}
