package sim

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// truth is what is known of the run as a whole: every entry that was ever applied anywhere, in its place for good, and
// what it brought about on a machine that never crashes.
type truth struct {
	s       *system
	eng     *mem.Engine
	machine *machine.Machine
	known   []known // by index, from 1 on
	sum     sums
	byID    map[uint64]uint64 // the index of a command
	results map[uint64]machine.Result
	changes []wire.Change
	keys    map[string][]version
	terms   map[uint64]leadership
	leases  leaseBook
	tree    *treeModel
	quotas  *quotaModel
}

// known is one entry that was applied.
type known struct {
	entry *raftpb.Entry
	first time.Duration // when it was first applied anywhere
	sum   sums          // of everything up to it
	state uint64        // hash of the state behind it
}

// version is one value of a key.
type version struct {
	rev   int64
	value string // "" if the key was deleted
}

// leadership is who leads in a term: one life of one member.
type leadership struct {
	id   cluster.ID
	life int // 0 if only others have told
}

func newTruth(s *system) *truth {
	t := &truth{s: s, eng: mem.New(), byID: map[uint64]uint64{}, results: map[uint64]machine.Result{}, keys: map[string][]version{},
		terms: map[uint64]leadership{}, tree: newTreeModel(),
		quotas: &quotaModel{now: map[string]int{}, rules: map[string]*limits.Rule{}, rep: &s.rep}}
	t.leases = leaseBook{s: s, now: map[int64]*tenure{}, byRequest: map[uint64]*tenure{}, revokes: map[uint64]bool{}}
	var err error
	t.machine, err = machine.Open(machineConfig, t.eng)
	must(err)
	return t
}

// applied compares what a member has just applied, and what came of it, with what was applied before.
func (t *truth) applied(m *member, entries []*raftpb.Entry) {
	for _, e := range entries {
		i := int(e.GetIndex()) - 1
		switch {
		case i > len(t.known):
			fail("committed entries", "%v applies entry %d behind entry %d", m, i+1, len(t.known))
		case i == len(t.known):
			t.extend(e)
		default:
			old := t.known[i].entry
			if old.GetTerm() != e.GetTerm() || old.GetType() != e.GetType() || !bytes.Equal(old.GetData(), e.GetData()) {
				fail("committed entries", "%v: entry %d is of term %d, and was of term %d where it was applied first", m, i+1, e.GetTerm(), old.GetTerm())
			}
		}
	}
	t.compare(m, m.machine.Applied()%hashEvery == 0)
}

// extend takes an entry that is applied for the first time.
func (t *truth) extend(e *raftpb.Entry) {
	var eff machine.Effects
	before := t.machine.View()
	must(t.machine.Apply([]*raftpb.Entry{e}, &eff))
	t.sum.add(&eff)
	t.known = append(t.known, known{entry: e, first: t.s.w.now, sum: t.sum, state: stateHash(t.eng, t.machine.View())})
	for _, r := range eff.Results {
		if r.ID == 0 {
			continue // of the bootstrap
		}
		if at := t.byID[r.ID]; at != 0 {
			fail("exactly once", "request %d is in the log at %d and again at %d", r.ID, at, e.GetIndex())
		}
		t.byID[r.ID] = e.GetIndex()
		t.results[r.ID] = r
	}
	for _, c := range eff.Changes {
		t.changes = append(t.changes, c)
		v := version{rev: c.Rev.Main}
		if !c.Deleted() {
			v.value = c.KV.Fields().Value
		}
		t.keys[c.KV.Key()] = append(t.keys[c.KV.Key()], v)
	}
	t.leases.effects(&eff, before)
	t.tree.applied(command(e), &eff)
	t.quotas.applied(command(e), &eff, t.machine.View())
	for _, cc := range eff.Conf {
		t.s.membersChanged(cc)
	}
	for {
		if _, _, due := t.machine.Compaction(); !due {
			return
		}
		_, _, err := t.machine.CompactStep(100)
		must(err)
	}
}

// command is the command of an entry, none if it is something else.
func command(e *raftpb.Entry) (c wire.Command) {
	if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
		var err error
		c, err = wire.ParseCommand(e.GetData())
		must(err)
	}
	return c
}

// compare checks what a member has done against the truth at the same index, and its whole state if asked to.
func (t *truth) compare(m *member, whole bool) {
	at := m.machine.Applied()
	if at == 0 {
		return
	}
	k := &t.known[at-1]
	if m.sum != k.sum {
		fail("state", "%v: applying up to %d has brought about something else than elsewhere: %v, not %v", m, at, m.sum, k.sum)
	}
	if !whole {
		return
	}
	if h := stateHash(m.eng, m.machine.View()); h != k.state {
		if int(at) == len(t.known) {
			fail("state", "%v: the state at %d is not what it is elsewhere: %s", m, at, difference(m.eng, t.eng))
		}
		fail("state", "%v: the state at %d is not what it is elsewhere", m, at)
	}
}

// restored checks a state that a member has found on its disk or was sent.
func (t *truth) restored(m *member) {
	at := m.machine.Applied()
	if at == 0 {
		m.sum = sums{}
		return
	}
	if int(at) > len(t.known) {
		fail("committed entries", "%v has the state at %d, but no entry behind %d was ever applied", m, at, len(t.known))
	}
	m.sum = t.known[at-1].sum
	t.compare(m, true)
}

// leads takes note of who leads in a term.
func (t *truth) leads(m *member, leader cluster.ID, term uint64) {
	if leader == 0 {
		return
	}
	l := leadership{id: leader}
	if leader == m.id.ID {
		l.life = m.life
	}
	old, ok := t.terms[term]
	if !ok {
		t.terms[term] = l
		return
	}
	if old.id != l.id || old.life != 0 && l.life != 0 && old.life != l.life {
		fail("one leader a term", "%v: %v (life %d) leads in term %d, but %v (life %d) does", m, t.s.name(l.id), l.life, term, t.s.name(old.id), old.life)
	}
	if old.life == 0 {
		t.terms[term] = l
	}
}

// sent checks a message before it leaves a member.
func (t *truth) sent(m *member, msg *raftpb.Message) {
	switch msg.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		t.leads(m, m.id.ID, msg.GetTerm())
	case raftpb.MsgPreVote:
	default: // a MsgVote waits for the disk, and may be of an earlier configuration
		return
	}
	if to := msg.GetTo(); !slices.Contains(m.conf.GetVoters(), to) && !slices.Contains(m.conf.GetLearners(), to) {
		fail("configuration", "%v sends %v to %v, which is no member as of what is applied there", m, msg.GetType(), t.s.name(cluster.ID(to)))
	}
}

// valueAt is a key's value at a revision, and the revision that made it.
func (t *truth) valueAt(key string, rev int64) (value string, mod int64) {
	vs := t.keys[key]
	i := sort.Search(len(vs), func(i int) bool { return vs[i].rev > rev })
	if i == 0 || vs[i-1].value == "" {
		return "", 0
	}
	return vs[i-1].value, vs[i-1].rev
}

// firstApplied is when a command was applied for the first time, if it was.
func (t *truth) firstApplied(id uint64) (time.Duration, bool) {
	i, ok := t.byID[id]
	if !ok {
		return 0, false
	}
	return t.known[i-1].first, true
}

// membersChanged starts members that were added.
func (s *system) membersChanged(cc *raftpb.ConfChange) {
	m := s.member(cc.GetNodeId())
	if m == nil {
		return // refused
	}
	s.rep.Conf++
	s.w.note("%v: %v", cc.GetType(), m)
	if cc.GetType() == raftpb.ConfChangeRemoveNode || m.joined {
		return
	}
	m.joined = true
	must(m.create(nil))
	s.w.after(s.w.span(500*time.Millisecond), m.reboot)
}

// marshalConf is a membership change as the log holds it.
func marshalConf(cc *raftpb.ConfChange) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(cc)
	must(err)
	return b
}
