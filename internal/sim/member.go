package sim

import (
	"bytes"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	tick          = 100 * time.Millisecond
	electionTicks = 10
	minLeaseTTL   = 2
	walDir        = "member/wal"
)

// crashed is what a disk operation panics with when the power goes while it runs.
type crashed struct{}

// Sabotage breaks the member on purpose, so that a test can show that the checkers notice.
type Sabotage struct {
	AckBeforeSync   bool // proposals are answered before the log is synced
	SkipSync        bool // syncs of the log do nothing
	ForgetHistory   bool // the log is released up to an index that the database has not kept
	DropWatchEvents bool // now and then a change is not published
	StaleReads      bool // reads are answered from an old view
}

// member is one member: the real parts, driven by events instead of goroutines.
type member struct {
	w    *world
	bad  Sabotage
	id   cluster.Member
	disk *vfs.Memory
	fs   *vfs.Faults
	eng  *mem.Engine
	life int // counts restarts; events of an earlier life do nothing
	up   bool

	log       *wal.Log
	node      *node.Node
	machine   *machine.Machine
	hub       *watch.Hub
	deadlines *node.Deadlines

	out        node.Output
	queue      [][]byte
	reads      map[uint64]func() error // linearizable reads, by ticket
	readTicket uint64
	behind     []behindRead

	waiting   map[uint64]func(machine.Result) // tickets, by request ID
	nextID    uint64
	appending bool
	durableAt time.Duration // when the last job for the log is done
	applyAt   time.Duration // when the last job for the machine is due
	leads     bool
	ready     bool // as the only voter it may answer reads from its view
	stale     *machine.View

	hs        *raftpb.HardState // as raft last gave it
	committed []*raftpb.Entry   // everything ever applied, for the comparison of hashes
}

func newMember(w *world, bad Sabotage) (*member, error) {
	m := &member{w: w, bad: bad, disk: vfs.NewMemory(), eng: mem.New(), waiting: map[uint64]func(machine.Result){}}
	m.id = cluster.Member{PeerURLs: []string{"http://m0:2380"}, Name: "m0"}
	m.id.ID = cluster.MemberID(m.id.PeerURLs, "sim", 0)
	entries, err := cluster.BootstrapEntries([]cluster.Member{m.id})
	if err != nil {
		return nil, err
	}
	if err := m.disk.MkdirAll("member", 0o700); err != nil {
		return nil, err
	}
	if err := vfs.SyncDir(m.disk, ""); err != nil {
		return nil, err
	}
	log, err := wal.Create(m.disk, walDir, wal.Metadata{NodeID: uint64(m.id.ID), ClusterID: 1}, m.walOptions())
	if err != nil {
		return nil, err
	}
	hs := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(len(entries)))}
	if err := log.Append(hs, entries, true); err != nil {
		return nil, err
	}
	return m, log.Close()
}

func (m *member) walOptions() wal.Options { return wal.Options{SegmentSize: 16 << 10} }

// boot starts the member from what its disk holds.
func (m *member) boot() (err error) {
	m.life++
	m.fs = vfs.NewFaults(m.disk, uint64(m.life))
	log, rec, err := wal.Open(m.fs, walDir, m.walOptions())
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	m.log, m.hs = log, rec.HardState
	if m.machine, err = machine.Open(machine.Config{MinLeaseTTLSeconds: minLeaseTTL}, m.eng); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if m.machine.Applied() < rec.Start.Index {
		return fmt.Errorf("the database is at index %d, the log starts behind %d", m.machine.Applied(), rec.Start.Index)
	}
	var eff machine.Effects
	for _, e := range rec.Entries {
		if e.GetIndex() <= rec.HardState.GetCommit() {
			if err := m.apply([]*raftpb.Entry{e}, &eff); err != nil {
				return err
			}
		}
	}
	m.node, err = node.New(node.Config{ID: m.id.ID, Tick: tick, ElectionTicks: electionTicks, PreVote: true, HardState: rec.HardState,
		ConfState: m.machine.View().Cluster.ConfState(), Start: node.Position{Index: rec.Start.Index, Term: rec.Start.Term},
		Entries: rec.Entries, Applied: m.machine.Applied()})
	if err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	m.hub = watch.NewHub(m, m.machine.View().KV.Rev())
	m.deadlines = node.NewDeadlines()
	m.deadlines.Reset(m.w.now, m.machine.View().Leases.Each)
	m.reads, m.behind = map[uint64]func() error{}, nil
	m.queue, m.appending, m.leads, m.ready, m.up = nil, false, false, false, true
	m.stale = m.machine.View()
	m.w.note("boot %d: applied %d, entries %d, revision %d", m.life, m.machine.Applied(), len(rec.Entries), m.machine.View().KV.Rev())
	m.later(tick, m.tick)
	m.later(m.w.between(200*time.Millisecond, 2*time.Second), m.flush)
	m.later(m.w.between(10*time.Millisecond, 300*time.Millisecond), m.compact)
	return m.pump()
}

// crash takes the power away: what was not synced is lost, torn or, by luck, there.
func (m *member) crash() {
	loss := vfs.Loss{KeepPercent: m.w.rng.IntN(101), TornPercent: m.w.rng.IntN(40)}
	if m.w.chance(30) {
		loss = vfs.Loss{}
	}
	seed := m.w.rng.Uint64()
	keep := m.w.rng.IntN(m.eng.Unflushed() + 1)
	m.w.note("crash: keep %d%%, torn %d%%, database keeps %d of %d commits", loss.KeepPercent, loss.TornPercent, keep, m.eng.Unflushed())
	m.disk = m.disk.Crash(seed, loss)
	m.eng = m.eng.CrashKeeping(keep)
	m.up = false
	m.life++
	m.waiting = map[uint64]func(machine.Result){}
}

// later runs f unless the member has crashed by then.
func (m *member) later(d time.Duration, f func() error) {
	life := m.life
	m.w.after(d, func() {
		if m.up && m.life == life {
			if err := f(); err != nil {
				panic(failure{err})
			}
		}
	})
}

// KV implements watch.Source.
func (m *member) KV() mvcc.View { return m.machine.View().KV }

func (m *member) tick() error {
	m.later(tick, m.tick)
	m.node.Tick(m.w.now)
	if m.leads {
		revoke, checkpoints := m.deadlines.Tick(m.w.now)
		for _, id := range revoke {
			m.w.note("lease %d is over", id)
			m.propose(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: id}, nil)
		}
		if len(checkpoints) > 0 {
			q := &pb.LeaseCheckpointRequest{}
			for _, c := range checkpoints {
				q.Checkpoints = append(q.Checkpoints, &pb.LeaseCheckpoint{ID: c.ID, Remaining_TTL: c.RemainingSeconds})
			}
			m.propose(wire.KindLeaseCheckpoint, q, nil)
		}
	}
	return m.pump()
}

// propose queues a command; done is called with its result if the member lives to see it.
func (m *member) propose(kind wire.Kind, msg proto.Message, done func(machine.Result)) {
	m.nextID++
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(msg)
	if err != nil {
		panic(failure{err})
	}
	m.queue = append(m.queue, wire.AppendCommand(nil, &wire.Command{ID: m.nextID, Kind: kind, Body: body}))
	if done != nil {
		m.waiting[m.nextID] = done
	}
}

// pump is the host's loop without its waiting.
func (m *member) pump() error {
	if !m.appending && len(m.queue) > 0 && m.leads {
		cmds := m.queue
		m.queue = nil
		if err := m.node.Propose(cmds); err != nil {
			return err
		}
	}
	for {
		m.node.Drain(&m.out)
		for _, n := range m.out.Notices {
			m.leads = n.Leader == m.id.ID
			m.w.note("leader %v in term %d", n.Leader, n.Term)
		}
		for _, d := range m.out.Reads {
			for _, t := range d.Tickets {
				answer := m.reads[uint64(t)]
				delete(m.reads, uint64(t))
				if d.Err == nil {
					m.behind = append(m.behind, behindRead{d.Index, answer})
				}
			}
		}
		if err := m.release(); err != nil {
			return err
		}
		if j := m.out.Apply; j != nil {
			// Jobs take effect one after the other.
			m.applyAt = max(m.applyAt, m.w.now+m.w.between(0, 3*time.Millisecond))
			m.later(m.applyAt-m.w.now, func() error { return m.applied(j) })
		}
		j := m.out.Append
		if j == nil {
			return nil
		}
		if j.OnlyCommit() && m.w.chance(50) {
			m.hs = j.HardState
			if err := m.node.Appended(j); err != nil {
				return err
			}
			continue
		}
		return m.write(j)
	}
}

// write gives a job to the log at once and syncs it later: a crash may come in between.
func (m *member) write(j *node.AppendJob) error {
	m.appending = true
	if err := m.log.Append(j.HardState, j.Entries, false); err != nil {
		return err
	}
	if j.HardState != nil {
		m.hs = j.HardState
	}
	if m.bad.AckBeforeSync {
		if err := m.node.Appended(j); err != nil {
			return err
		}
		m.later(time.Microsecond, m.pump)
	}
	delay := m.w.between(50*time.Microsecond, 2*time.Millisecond)
	if m.w.chance(2) {
		delay = m.w.between(10*time.Millisecond, 900*time.Millisecond)
	}
	// Jobs become durable one after the other.
	m.durableAt = max(m.durableAt, m.w.now+delay)
	m.later(m.durableAt-m.w.now, func() error {
		if j.MustSync && !m.bad.SkipSync {
			if err := m.log.Sync(); err != nil {
				return err
			}
		}
		m.appending = false
		if m.bad.AckBeforeSync {
			return m.pump()
		}
		if err := m.node.Appended(j); err != nil {
			return err
		}
		return m.pump()
	})
	return nil
}

func (m *member) applied(j *node.ApplyJob) error {
	var eff machine.Effects
	before := m.machine.View()
	if err := m.apply(j.Entries, &eff); err != nil {
		return err
	}
	m.stale = before
	v := m.machine.View()
	if eff.NewTerm != 0 && m.leads {
		m.ready = true
		m.deadlines.Lead(m.w.now)
	}
	for _, e := range eff.Leases {
		switch e.What {
		case machine.LeaseRevoked:
			m.deadlines.Forget(e.Lease.ID)
		case machine.LeaseRenewed:
			m.deadlines.Renewed(m.w.now, e.Lease)
		default:
			m.deadlines.Set(m.w.now, e.Lease)
		}
	}
	if !m.bad.DropWatchEvents || !m.w.chance(5) {
		m.hub.Publish(v.KV.Rev(), eff.Changes)
	}
	for _, r := range eff.Results {
		if done := m.waiting[r.ID]; done != nil {
			delete(m.waiting, r.ID)
			done(r)
		}
	}
	if err := m.node.Applied(j, eff.Conf); err != nil {
		return err
	}
	if err := m.node.Trim(); err != nil {
		return err
	}
	return m.pump()
}

// apply gives entries to the machine and remembers them. An entry that was applied in an earlier life must be the same.
func (m *member) apply(entries []*raftpb.Entry, eff *machine.Effects) error {
	for _, e := range entries {
		i := int(e.GetIndex()) - 1
		switch {
		case i < len(m.committed):
			if old := m.committed[i]; old.GetTerm() != e.GetTerm() || !bytes.Equal(old.GetData(), e.GetData()) {
				return fmt.Errorf("committed entry %d has changed: term %d was %d", e.GetIndex(), e.GetTerm(), old.GetTerm())
			}
		case i == len(m.committed):
			m.committed = append(m.committed, e)
		default:
			return fmt.Errorf("entry %d was applied behind entry %d", e.GetIndex(), len(m.committed))
		}
	}
	return m.machine.Apply(entries, eff)
}

// flush makes the database durable and lets the log go.
func (m *member) flush() error {
	m.later(m.w.between(200*time.Millisecond, 4*time.Second), m.flush)
	v := m.machine.View()
	if !m.bad.ForgetHistory {
		if err := m.eng.Flush(); err != nil {
			return err
		}
	}
	m.w.note("flush at %d", v.Applied)
	if m.hs.GetCommit() < v.Applied || m.appending {
		return nil // a mark must not be above the commit index that the log knows of
	}
	if err := m.log.Append(m.hs, nil, false); err != nil {
		return err
	}
	return m.mark(v)
}

func (m *member) mark(v *machine.View) error {
	if err := m.log.Mark(wal.Mark{Index: v.Applied, Term: v.Term, ConfState: v.Cluster.ConfState()}); err != nil {
		return err
	}
	return m.log.Release(v.Applied)
}

// compact takes a step of the compaction that is due.
func (m *member) compact() error {
	m.later(m.w.between(time.Millisecond, 40*time.Millisecond), m.compact)
	if _, _, due := m.machine.Compaction(); !due {
		return nil
	}
	_, _, err := m.machine.CompactStep(1 + m.w.rng.IntN(20))
	return err
}

// view is what a reader sees.
func (m *member) view() *machine.View {
	if m.bad.StaleReads {
		return m.stale
	}
	return m.machine.View()
}

// behindRead waits for the machine to reach an index.
type behindRead struct {
	index  uint64
	answer func() error
}

// release answers the reads whose index is reached.
func (m *member) release() error {
	left := m.behind[:0]
	ready := append([]behindRead(nil), m.behind...)
	for _, r := range ready {
		if r.index > m.machine.Applied() {
			left = append(left, r)
			continue
		}
		if err := r.answer(); err != nil {
			return err
		}
	}
	m.behind = left
	return nil
}

// failure is a check that did not hold.
type failure struct{ err error }
