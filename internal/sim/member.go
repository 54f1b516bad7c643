package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/watch"
)

const (
	tick          = 100 * time.Millisecond
	electionTicks = 10
	minLeaseTTL   = 2
	walDir        = "member/wal"
	noMessage     = raftpb.MessageType(-1)
)

var machineConfig = machine.Config{MinLeaseTTLSeconds: minLeaseTTL, MaxLearners: 2}

// member is one member: the real parts, driven by events instead of goroutines.
type member struct {
	s  *system
	w  *world
	n  int // its place among the members
	id cluster.Member

	// What outlives a crash.
	disk     *vfs.Memory
	eng      *mem.Engine            // the database in use
	prepared map[uint64]*mem.Engine // databases made of snapshots, by index
	flushed  uint64                 // the database is durable up to there
	promised promises
	joined   bool // it belongs to the cluster, or did
	gone     bool // it has stopped for good
	life     int  // counts starts and crashes; events of an earlier life do nothing
	up       bool

	// The present life.
	fs      *vfs.Faults
	clock   clock
	paused  time.Duration  // until then it does nothing
	backlog []func() error // what has come meanwhile
	armed   time.Duration  // the node's next tick that an event is there for
	alarm   int            // counts such events; only the last one counts
	told    time.Duration  // when the last thing that the loop is told of arrives

	log       *wal.Log
	node      *node.Node
	machine   *machine.Machine
	hub       *watch.Hub
	paths     *watch.Paths
	deadlines *node.Deadlines
	out       node.Output

	proposals
	reading
	writing
	applying
	leading
	tampered
	lastWord  raftpb.MessageType // the power goes when a message of this kind has left
	preparing bool               // a snapshot from another member is being made a database
	shown     int64              // the newest revision that a serializable read has shown
	shownTree uint64             // the newest index of the v2 tree that one has shown
}

// newMember thinks of a member. It has no disk yet.
func (s *system) newMember(learner bool) *member {
	n := len(s.members)
	m := &member{s: s, w: s.w, n: n, eng: mem.New(), prepared: map[uint64]*mem.Engine{}}
	m.id = cluster.Member{PeerURLs: []string{fmt.Sprintf("http://m%d:2380", n)}, Name: fmt.Sprintf("m%d", n), IsLearner: learner}
	m.id.ID = cluster.MemberID(m.id.PeerURLs, "sim", 0)
	s.members = append(s.members, m)
	s.net.grow()
	return m
}

// create makes the disk, with the entries that the log begins with: none for a member that joins.
func (m *member) create(entries []*raftpb.Entry) error {
	m.disk = vfs.NewMemory()
	if err := m.disk.MkdirAll("member", 0o700); err != nil {
		return err
	}
	if err := vfs.SyncDir(m.disk, ""); err != nil {
		return err
	}
	log, err := wal.Create(m.disk, walDir, wal.Metadata{NodeID: uint64(m.id.ID), ClusterID: 1}, m.walOptions())
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		hs := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(len(entries)))}
		if err := log.Append(hs, entries, true); err != nil {
			return err
		}
	}
	return log.Close()
}

func (m *member) walOptions() wal.Options { return wal.Options{SegmentSize: m.s.plan.segment} }

// boot starts the member from what its disk holds.
func (m *member) boot() error {
	m.life++
	m.s.lives++
	m.fs = vfs.NewFaults(m.disk, m.s.lives)
	if m.life > 1 && !m.s.calm && m.w.chance(m.s.plan.crashBoot) {
		m.fs.Sleep(func(time.Duration) { panic(crashed{m}) })
		m.fs.Add(vfs.Rule{Op: pick(m.w, []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir, vfs.OpCreate, vfs.OpRename, vfs.OpTruncate, vfs.OpOpen}),
			Skip: m.w.rng.IntN(4), Times: 1, Delay: 1})
	}
	log, rec, err := wal.Open(m.fs, walDir, m.walOptions())
	if err != nil {
		fail("boot", "%v: opening the log: %w", m, err)
	}
	m.log = log
	m.openDatabase(rec.Start.Index)
	m.checkRecovered(rec)
	m.applying = applying{}
	m.truth().restored(m)
	if m.w.chance(50) {
		for _, e := range rec.Entries {
			if e.GetIndex() <= rec.HardState.GetCommit() {
				if _, err := m.apply([]*raftpb.Entry{e}); err != nil {
					return err
				}
			}
		}
	}
	m.proposals = proposals{waiting: map[uint64]*ticket{}}
	m.reading = reading{reads: map[uint64]*read{}}
	m.writing = writing{loggedCommit: rec.HardState.GetCommit(), stallAfter: m.w.between(500*time.Millisecond, time.Second)}
	m.leading = leading{heard: map[uint64]time.Duration{}}
	m.tampered = tampered{entries: rec.Start.Index + uint64(len(rec.Entries))}
	m.preparing, m.shown, m.shownTree, m.lastWord = false, 0, 0, noMessage
	m.backlog, m.paused, m.armed, m.told = nil, 0, 0, 0
	m.notified = m.machine.Applied()
	m.conf = m.machine.View().Cluster.ConfState()
	cfg := node.Config{ID: m.id.ID, Tick: tick, ElectionTicks: electionTicks, PreVote: m.s.plan.preVote, FirstRead: m.s.lives << 32,
		HardState: rec.HardState, ConfState: m.conf, Start: node.Position{Index: rec.Start.Index, Term: rec.Start.Term},
		Entries: rec.Entries, Applied: m.machine.Applied(), KeepEntries: m.s.plan.keepEntries}
	if m.s.bad.ReuseReadIDs {
		cfg.FirstRead = 0
	}
	if m.node, err = node.New(cfg); err != nil {
		fail("boot", "%v: starting the node: %w", m, err)
	}
	v := m.machine.View()
	m.hub = watch.NewHub(m, v.KV.Rev())
	m.paths = watch.NewPaths(m, v.Tree.Index)
	m.stale = v
	m.clock = clock{rate: 1 + (2*m.w.rng.Float64()-1)*m.s.plan.skew, since: m.w.now}
	m.up = true
	m.deadlines = node.NewDeadlines()
	m.resetDeadlines()
	m.w.note("%v boots, life %d: applied %d, entries %d to %d, commit %d, term %d", m, m.life, m.machine.Applied(), rec.Start.Index,
		int(rec.Start.Index)+len(rec.Entries), rec.HardState.GetCommit(), rec.HardState.GetTerm())
	if v.Cluster.Removed(m.id.ID) {
		m.retire()
	}
	m.later(m.w.between(m.s.plan.flushEvery/4, m.s.plan.flushEvery), m.flush)
	m.later(m.w.between(10*time.Millisecond, 300*time.Millisecond), m.compact)
	m.later(m.w.span(tick), m.inspect)
	return m.pump()
}

// crash takes the power away: what was not synced is lost, torn or, by luck, there.
func (m *member) crash() {
	loss := vfs.Loss{KeepPercent: m.w.rng.IntN(101), TornPercent: m.w.rng.IntN(40)}
	if m.w.chance(30) {
		loss = vfs.Loss{}
	}
	seed := m.w.rng.Uint64()
	m.w.note("%v crashes: keep %d%%, torn %d%%, database at %d, durable %d", m, loss.KeepPercent, loss.TornPercent, m.machine.Applied(), m.flushed)
	m.disk = m.disk.Crash(seed, loss)
	m.s.rep.Crashes++
	m.die()
}

// kill ends the process alone: what it has written to the log is there, synced or not. What the databases had in memory
// is lost.
func (m *member) kill() {
	m.w.note("%v is killed: database at %d, durable %d", m, m.machine.Applied(), m.flushed)
	must(m.log.Close())
	m.s.rep.Kills++
	m.die()
}

// die is what any sudden end brings about.
func (m *member) die() {
	m.eng = m.eng.CrashKeeping(m.w.rng.IntN(m.eng.Unflushed() + 1))
	for _, i := range slices.Sorted(maps.Keys(m.prepared)) {
		e := m.prepared[i]
		m.prepared[i] = e.CrashKeeping(m.w.rng.IntN(e.Unflushed() + 1))
	}
	m.end()
	m.s.reportDown(m)
	rest := m.w.between(0, 500*time.Millisecond)
	if m.lastWord != noMessage {
		rest /= 10
	}
	if m.w.chance(15) && !m.s.calm {
		rest = m.w.between(time.Second, 6*time.Second)
	}
	m.w.after(rest, m.reboot)
}

func (m *member) end() {
	m.up = false
	m.life++
	m.backlog = nil
	m.leadTerm = 0
}

func (m *member) reboot() {
	if !m.up && !m.gone && m.joined {
		must(m.boot())
	}
}

// KV implements watch.Source.
func (m *member) KV() mvcc.View { return m.machine.View().KV }

func (m *member) truth() *truth { return m.s.truth }
