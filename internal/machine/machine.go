// Package machine is the replicated state machine: a pure function of the log over an engine. It gives every entry its
// effect on the keyspace, the leases, the alarms and the member table, and hands back what happened.
//
// It must never know the time, randomness, a goroutine, a network, a log line or the order of a map. Given the same
// entries, two machines hold the same state, however the entries were grouped into calls.
package machine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// newestStorage is the newest schema of the database that there is, as etcd names it.
const newestStorage = "3.7.0"

var (
	metaIndex          = []byte("consistent_index")
	metaTerm           = []byte("term")
	metaConfState      = []byte("confState")
	metaStorageVersion = []byte("storageVersion")
	clusterDowngrade   = []byte("downgrade")
)

// tidyAtLeast is how many records Apply looks at to move them together, beside three for each change.
const tidyAtLeast = 16

// Config is what all members of a cluster must have in common.
type Config struct {
	MinLeaseTTLSeconds int64
	MaxLearners        int
}

// Machine is the state machine. One goroutine, the apply queue, owns it; View may be called by any.
type Machine struct {
	cfg    Config
	eng    engine.Engine
	kv     *mvcc.Store
	leases *lease.Table
	alarms alarms
	config *cluster.Table
	tree   *tree.Tree
	auth   *auth.Table
	limits *limits.Table

	applied, term uint64
	storage       string
	downgrade     Downgrade
	mirror        string // prefix of the v2 keys in the keyspace, "" for none
	at            uint64 // index of the entry that is being applied
	batch         engine.Batch
	view          atomic.Pointer[View]
}

// Downgrade is the state of a downgrade job, as etcd stores it.
type Downgrade struct {
	TargetVersion string `json:"target-version"`
	Enabled       bool   `json:"enabled"`
}

// View is the whole state at a batch boundary. It never changes.
type View struct {
	KV             mvcc.View
	Leases         lease.View
	Alarms         []Alarm
	Cluster        *cluster.View
	Tree           *tree.View
	Auth           *auth.View
	Limits         *limits.Set // nil if there are none
	TreeStats      tree.Stats
	StorageVersion string // schema of the database; "" for one of before 3.6
	Downgrade      Downgrade
	Mirror         string // prefix that the v2 keys are mirrored below, "" for none
	Applied, Term  uint64 // of the last entry that is in the view
}

// Open restores the machine from an engine.
func Open(cfg Config, eng engine.Engine) (*Machine, error) {
	m := &Machine{cfg: cfg, eng: eng}
	var err error
	if m.leases, err = lease.Open(eng); err != nil {
		return nil, err
	}
	if m.kv, err = mvcc.Open(eng, m.leases.Attach); err != nil {
		return nil, err
	}
	if m.alarms, err = openAlarms(eng); err != nil {
		return nil, err
	}
	if m.config, err = cluster.Open(eng); err != nil {
		return nil, err
	}
	if m.tree, err = tree.Open(eng); err != nil {
		return nil, err
	}
	if m.auth, err = auth.Open(eng); err != nil {
		return nil, err
	}
	if m.limits, err = limits.Open(eng); err != nil {
		return nil, err
	}
	m.mirror = openMirror(m.tree.View())
	if cfg.MaxLearners > 0 {
		m.config.MaxLearners = cfg.MaxLearners
	}
	for _, f := range []struct {
		name []byte
		to   *uint64
	}{{metaIndex, &m.applied}, {metaTerm, &m.term}} {
		b, ok, err := eng.Get(engine.Meta, f.name)
		if err != nil {
			return nil, err
		}
		if ok {
			if len(b) != 8 {
				return nil, fmt.Errorf("machine: meta %s is %d bytes long, not 8", f.name, len(b))
			}
			*f.to = binary.BigEndian.Uint64(b)
		}
	}
	b, _, err := eng.Get(engine.Meta, metaStorageVersion)
	if err != nil {
		return nil, err
	}
	m.storage = string(b)
	if m.applied == 0 {
		m.storage = newestStorage // as initialise will have it
	}
	b, ok, err := eng.Get(engine.Cluster, clusterDowngrade)
	if err != nil {
		return nil, err
	}
	if ok {
		if err := json.Unmarshal(b, &m.downgrade); err != nil {
			return nil, fmt.Errorf("machine: downgrade record: %w", err)
		}
	}
	m.publish()
	return m, nil
}

// View returns the state after the last Apply.
func (m *Machine) View() *View { return m.view.Load() }

// Applied is the index of the last entry that took effect.
func (m *Machine) Applied() uint64 { return m.applied }

// Engine is what the machine keeps its state in.
func (m *Machine) Engine() engine.Engine { return m.eng }

func (m *Machine) publish() {
	m.view.Store(&View{KV: m.kv.View(), Leases: m.leases.View(), Alarms: m.alarms.list(), Cluster: m.config.View(),
		Tree: m.tree.View(), Auth: m.auth.View(), Limits: m.limits.View(), TreeStats: m.tree.Stats(), StorageVersion: m.storage, Downgrade: m.downgrade, Mirror: m.mirror,
		Applied: m.applied, Term: m.term})
}

// Apply gives the entries their effect, in order. What happened is added to eff. An error means that the engine failed:
// the machine must not be used any more.
func (m *Machine) Apply(entries []*raftpb.Entry, eff *Effects) error {
	fresh := m.applied == 0
	for _, e := range entries {
		if e.GetIndex() <= m.applied {
			continue
		}
		if m.batch == nil {
			m.batch = m.eng.NewBatch()
		}
		if fresh {
			m.initialise()
			fresh = false
		}
		if err := m.entry(e, eff); err != nil {
			return err
		}
		m.applied, m.term = e.GetIndex(), e.GetTerm()
	}
	changes := m.kv.TakeChanges()
	if len(eff.Changes) == 0 {
		eff.Changes = changes
	} else {
		eff.Changes = append(eff.Changes, changes...)
	}
	eff.Events = append(eff.Events, m.tree.TakeEvents()...)
	m.kv.Tidy(tidyAtLeast + 3*len(changes))
	if err := m.settle(); err != nil {
		return err
	}
	m.publish()
	return nil
}

// settle commits what the entries so far have done, with the index of the last of them: the two travel together.
func (m *Machine) settle() error {
	if m.batch == nil {
		return nil
	}
	b := m.batch
	m.batch = nil
	b.Set(engine.Meta, metaIndex, binary.BigEndian.AppendUint64(nil, m.applied))
	b.Set(engine.Meta, metaTerm, binary.BigEndian.AppendUint64(nil, m.term))
	return m.eng.Commit(b)
}

func (m *Machine) initialise() {
	m.setStorage(newestStorage)
	m.auth.Initialise(m.batch)
}

func (m *Machine) entry(e *raftpb.Entry, eff *Effects) error {
	m.at = e.GetIndex()
	switch e.GetType() {
	case raftpb.EntryNormal:
		if len(e.GetData()) == 0 {
			// A refused membership change leaves such an entry too, in the middle of a term.
			if e.GetTerm() > m.term {
				eff.NewTerm = e.GetTerm()
			}
			return nil
		}
		c, err := wire.ParseCommand(e.GetData())
		if err != nil {
			// Nobody can have been promised anything: what a member proposes, it has built itself.
			return nil
		}
		r := Result{ID: c.ID, Kind: c.Kind, Term: e.GetTerm()}
		if err := m.command(&c, &r, eff); err != nil {
			return err
		}
		m.kv.End()
		r.Rev = m.kv.Rev()
		eff.Results = append(eff.Results, r)
		return nil
	case raftpb.EntryConfChange:
		cc := &raftpb.ConfChange{}
		if err := proto.Unmarshal(e.GetData(), cc); err != nil {
			cc = &raftpb.ConfChange{Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: new(uint64(0))}
		}
		r := Result{ID: cc.GetId(), Kind: KindConfChange, Term: e.GetTerm()}
		if r.Err = m.config.Check(cc); r.Err == nil {
			if r.Err = m.config.Apply(m.batch, cc); r.Err == nil {
				m.tree.Bump(m.batch)
				if cc.GetType() == raftpb.ConfChangeRemoveNode {
					m.tree.Bump(m.batch) // etcd notes the member as removed, too
				}
				if err := m.saveConfState(); err != nil {
					return err
				}
			}
		}
		if r.Err != nil {
			cc = &raftpb.ConfChange{Type: cc.GetType().Enum(), NodeId: new(uint64(0))} // raft still has to be told, as a no-op
		}
		eff.Conf = append(eff.Conf, cc)
		r.Rev = m.kv.Rev()
		eff.Results = append(eff.Results, r)
		return nil
	default:
		eff.Conf = append(eff.Conf, &raftpb.ConfChange{Type: raftpb.ConfChangeUpdateNode.Enum(), NodeId: new(uint64(0))})
		return nil
	}
}

func (m *Machine) saveConfState() error {
	cs := m.config.View().ConfState()
	b, err := json.Marshal(struct {
		Voters    []uint64 `json:"voters,omitempty"`
		Learners  []uint64 `json:"learners,omitempty"`
		AutoLeave bool     `json:"auto_leave"`
	}{cs.Voters, cs.Learners, false})
	if err != nil {
		return err
	}
	m.batch.Set(engine.Meta, metaConfState, b)
	return nil
}

// CompactStep removes up to n superfluous records of the compaction that is due and reports whether that compaction is
// finished. It is called between Apply calls, by the same goroutine.
func (m *Machine) CompactStep(n int) (removed int, done bool, err error) {
	b := m.eng.NewBatch()
	removed, done, err = m.kv.Step(b, n)
	if err != nil {
		return removed, done, err
	}
	if err := m.eng.Commit(b); err != nil {
		return removed, done, err
	}
	if done {
		// Nothing that can be seen has changed; a new view lets go of what the old one still holds.
		m.publish()
	}
	return removed, done, nil
}

// Compaction is the compaction that CompactStep works on, and the one before it.
func (m *Machine) Compaction() (from, to int64, ok bool) { return m.kv.Pending() }

// Compacted is the compaction that storage has caught up with, -1 if none.
func (m *Machine) Compacted() int64 { return m.kv.Finished() }
