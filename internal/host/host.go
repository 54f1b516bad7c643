// Package host runs one node: it owns the goroutines, the disk, the clock and the queues, and carries work between the
// node, which decides, the log, which keeps, and the machine, which acts. It decides nothing itself.
//
// It must never look into a key or a request: what a command means is the machine's business.
//
// Goroutines, all started by Start and ended by Stop:
//   - loop owns the node: it steps proposals, messages and ticks, and hands out what Drain gives.
//   - logger owns the log: one write and one sync for all that waits.
//   - applier owns the machine: it applies, publishes the view, feeds watchers, answers tickets, and compacts in between.
//   - keeper flushes the engine, releases log segments and looks at the disk's space.
//   - chores does on the leader what has to be done now and then: it agrees on the cluster's version, and promotes.
//   - renewals come and go: one proposes the renewals of leases that wait, while there are any.
package host

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Config is what a host is started with. Start takes the machine, its engine and the log over and closes them in Stop.
type Config struct {
	MemberID, ClusterID cluster.ID
	Name                string
	ClientURLs          []string
	Version             string // of the server, x.y.z

	Tick          time.Duration // heartbeat interval
	ElectionTicks int
	PreVote       bool

	KeepEntries  uint64        // applied entries kept in memory for slow peers; 0 stands for the default
	StrictChecks bool          // refuse membership changes that endanger the quorum (--strict-reconfig-check)
	CheckAtStart int64         // how large a database, in bytes, is compared with the others' at start
	CompareEvery time.Duration // between two comparisons of what compactions have left (--compact-hash-check-time); 0 for none
	// DowngradeEvery is the time between two looks at whether all members are of the version that a downgrade goes to
	// (--downgrade-check-time).
	DowngradeEvery time.Duration
	// Sessions is told of logins and logouts in the order of the log; nil for nobody.
	Sessions Sessions
	// Mirror is the prefix below which the leader has the keys of the v2 API mirrored in the keyspace, "" for nowhere, nil
	// for wherever they are.
	Mirror *string

	MaxRequestBytes int
	QuotaBytes      int64 // 0 or below: no quota
	FlushBytes      int64 // applied log bytes after which the engine is flushed; 0 stands for the default
	DataDir         string
	FS              vfs.FS

	Machine   *machine.Machine
	Log       *wal.Log
	Recovered *wal.Recovered
	Logger    *slog.Logger
	Metrics   *Metrics

	// Connect makes the transport to the other members; nil stands for none. Peers are those that a member knows of
	// before its log tells.
	Connect func(*Host) Transport
	Peers   []cluster.Member
	Others  Others // nil if there can be none
	Stores  Stores // nil if no snapshots can be received
}

// Transport carries messages to other members. peer.Transport is one.
type Transport interface {
	// Send never waits and does not keep the slice. What cannot be sent is dropped and reported through Unreachable.
	Send([]*raftpb.Message)
	// SendSnapshot sends a message and the database behind it in the background and reports through SnapshotSent.
	SendSnapshot(m *raftpb.Message, image func(io.Writer) error, size int64)
	SetPeers([]cluster.Member)
	// ActiveSince is since when a member is connected.
	ActiveSince(cluster.ID) (time.Time, bool)
	// LacksV2 returns a member that entries of the v2 API would end.
	LacksV2() (cluster.ID, bool)
	// WithoutLimits returns a member that does not hold to quotas, or else one that was never heard of: silent tells which.
	WithoutLimits() (id cluster.ID, silent, found bool)
	Stop()
}

// Sessions keeps tokens.
type Sessions interface {
	Login(user, token string)
	Logout(user string) // all users if there is no name
}

// Others asks other members what only they can tell or do. peer.Client is one.
type Others interface {
	Renew(ctx context.Context, url string, lease int64) (ttlSeconds int64, err error)
	TimeToLive(ctx context.Context, url string, lease int64, keys bool) (*pb.LeaseTimeToLiveResponse, error)
	Promote(ctx context.Context, url string, id cluster.ID) ([]cluster.Member, error)
	Version(ctx context.Context, url string) (server, cluster string, err error)
	HashKV(ctx context.Context, url string, of cluster.ID, rev int64) (*pb.HashKVResponse, error)
}

// nowhere is the transport of a member that is alone.
type nowhere struct{}

func (nowhere) Send([]*raftpb.Message)                                     {}
func (nowhere) SendSnapshot(*raftpb.Message, func(io.Writer) error, int64) {}
func (nowhere) SetPeers([]cluster.Member)                                  {}
func (nowhere) LacksV2() (id cluster.ID, lacks bool)                       { return 0, false }
func (nowhere) WithoutLimits() (id cluster.ID, silent, found bool)         { return 0, false, false }
func (nowhere) ActiveSince(cluster.ID) (since time.Time, connected bool)   { return time.Time{}, false }
func (nowhere) Stop()                                                      {}

const (
	defaultFlushBytes = 48 << 20
	flushIdle         = 20 * time.Second // an idle engine with unflushed changes is flushed after this time
	keepInterval      = 200 * time.Millisecond
	diskReserve       = 192 << 20 // free bytes below which writes are refused, three log segments
	replayChunk       = 4096
	inboxSize         = 4096
)

// Host runs one node.
type Host struct {
	cfg      Config
	start    time.Time
	node     *node.Node
	state    atomic.Pointer[machine.Machine] // replaced when a snapshot is installed
	hub      *watch.Hub
	paths    *watch.Paths
	handedOn atomic.Uint64 // logins up to this entry are known
	queue    proposals
	log      *wal.Log
	peers    Transport

	readPool sync.Pool

	loopBox *mailbox[any]             // bounded by what is under way: one message per job handed out, and reads
	logBox  *mailbox[*node.AppendJob] // at most maxAppends jobs
	applies *mailbox[applyWork]       // raft pauses handing out entries after 16 MiB; calls are one per waiting caller
	inbox   chan *raftpb.Message      // from peers; they wait while it is full

	leadTerm  atomic.Uint64 // the term this member leads in, 0 if it does not
	lead      atomic.Uint64 // the leader's member ID, 0 if unknown
	leadSince atomic.Int64  // when this member came to know it, in ns of unix time
	acting    atomic.Uint64 // the last term this member led in and has applied everything from before it
	soleReady atomic.Bool   // every acknowledged write is in the view, and nobody else can acknowledge any
	alone     atomic.Bool   // there is no other member
	led       elections
	commit    atomic.Uint64
	term      atomic.Uint64
	// loggedCommit is the commit index that the log has been given. A mark must not be above it.
	loggedCommit atomic.Uint64
	failure      atomic.Pointer[failure]

	leaseMu   sync.Mutex
	deadlines *node.Deadlines
	leaseGone chan struct{} // closed and made anew whenever a lease was revoked
	renewals  renewals

	received  received // snapshots that were prepared and are not installed yet
	retired   retired
	announces atomic.Int64  // when the member last announced itself, in nanoseconds since the start
	newTerm   chan struct{} // holds a token when this member has begun to lead

	compactions compactions
	compared    int64       // the compaction that all members were found to agree on; of chores
	unfit       atomic.Bool // this member's data is not to be believed

	size         atomic.Int64
	sizeInUse    atomic.Int64
	noSpace      atomic.Bool // the disk is nearly full
	diskFree     atomic.Uint64
	appliedBytes atomic.Int64

	ready    chan struct{}
	opened   sync.Once
	departed chan struct{} // closed when this member is no member any more
	leaving  sync.Once
	expelled atomic.Pointer[failure]
	stop     chan struct{}
	stopped  sync.Once
	wg       sync.WaitGroup
}

type failure struct{ err error }

// ErrStopping is what Start and waiting calls return while the host stops.
var ErrStopping = errors.New("host: stopping")

// Start replays what the log holds beyond the machine's state and starts the node.
func Start(cfg Config) (*Host, error) {
	if cfg.FlushBytes <= 0 {
		cfg.FlushBytes = defaultFlushBytes
	}
	h := &Host{cfg: cfg, start: time.Now(), log: cfg.Log, peers: nowhere{},
		loopBox: newMailbox[any](), logBox: newMailbox[*node.AppendJob](), applies: newMailbox[applyWork](),
		inbox: make(chan *raftpb.Message, inboxSize), deadlines: node.NewDeadlines(), leaseGone: make(chan struct{}),
		newTerm: make(chan struct{}, 1), ready: make(chan struct{}), departed: make(chan struct{}), stop: make(chan struct{})}
	h.state.Store(cfg.Machine)
	h.readPool.New = func() any { return &read{done: make(chan error, 1)} }
	h.queue.init(cfg.MemberID, cfg.MaxRequestBytes)
	rec := cfg.Recovered
	if err := h.replay(rec); err != nil {
		return nil, err
	}
	v := h.View()
	n, err := node.New(node.Config{ID: cfg.MemberID, Tick: cfg.Tick, ElectionTicks: cfg.ElectionTicks, PreVote: cfg.PreVote,
		HardState: rec.HardState, ConfState: v.Cluster.ConfState(), FirstRead: h.queue.base, KeepEntries: cfg.KeepEntries,
		Start: node.Position{Index: rec.Start.Index, Term: rec.Start.Term}, Entries: rec.Entries, Applied: h.machine().Applied()})
	if err != nil {
		return nil, err
	}
	h.node = n
	h.hub = watch.NewHub(h, v.KV.Rev())
	h.paths = watch.NewPaths(h, v.Tree.Index)
	h.handedOn.Store(v.Applied)
	h.loggedCommit.Store(rec.HardState.GetCommit())
	h.compactions.init(h.machine().Compacted())
	h.deadlines.Reset(h.now(), v.Leases.Each)
	h.membersChanged(v)
	h.measure()
	h.cfg.Metrics.observe(h)
	if cfg.Connect != nil {
		h.peers = cfg.Connect(h)
		if members := v.Cluster.Members(); len(members) > 0 {
			h.peers.SetPeers(members)
		} else {
			h.peers.SetPeers(cfg.Peers)
		}
	}
	h.queue.wake <- struct{}{} // the first round elects a sole voter
	h.wg.Add(5)
	go h.loop()
	go h.logger()
	go h.applier()
	go h.keeper()
	go h.chores()
	return h, nil
}

func (h *Host) machine() *machine.Machine { return h.state.Load() }

// replay gives the machine the committed entries that its storage had not kept.
func (h *Host) replay(rec *wal.Recovered) error {
	var eff machine.Effects
	entries := rec.Entries
	for len(entries) > 0 && entries[0].GetIndex() <= rec.HardState.GetCommit() {
		n := 0
		for n < len(entries) && n < replayChunk && entries[n].GetIndex() <= rec.HardState.GetCommit() {
			n++
		}
		if err := h.machine().Apply(entries[:n], &eff); err != nil {
			return err
		}
		eff.Reset()
		entries = entries[n:]
	}
	return nil
}

// now is the time since the host was started.
func (h *Host) now() time.Duration { return time.Since(h.start) }

// View returns the state after the last applied batch.
func (h *Host) View() *machine.View { return h.machine().View() }

// KV returns the keyspace of the present view.
func (h *Host) KV() mvcc.View { return h.machine().View().KV }

// Tree returns the v2 tree of the present view, Paths who watches it.
func (h *Host) Tree() *tree.View    { return h.machine().View().Tree }
func (h *Host) Paths() *watch.Paths { return h.paths }

// Term is the present one, as far as this member knows.
func (h *Host) Term() uint64 { return h.term.Load() }

// AwaitApplied waits until an entry of the log has taken effect here, and who is logged in is known.
func (h *Host) AwaitApplied(ctx context.Context, index uint64) error {
	for h.handedOn.Load() < index {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.stop:
			return wire.ErrStopped
		case <-time.After(appliedPoll):
		}
	}
	return nil
}

const appliedPoll = 2 * time.Millisecond

// Hub returns the watch hub.
func (h *Host) Hub() *watch.Hub { return h.hub }

// MemberID and ClusterID name this member and its cluster.
func (h *Host) MemberID() cluster.ID  { return h.cfg.MemberID }
func (h *Host) ClusterID() cluster.ID { return h.cfg.ClusterID }

// Leader is the leader as far as this member knows, 0 if it knows none. A member that is cut off has none to offer, so
// that whoever demands one goes elsewhere.
func (h *Host) Leader() cluster.ID {
	if h.cutOff() != nil {
		return 0
	}
	return cluster.ID(h.lead.Load())
}

// LeaderSince is when this member first saw the present leader; zero if it has seen none.
func (h *Host) LeaderSince() time.Time {
	at := h.leadSince.Load()
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}

// Departed is closed when this member has been removed from the cluster.
func (h *Host) Departed() <-chan struct{} { return h.departed }

// IsLeader reports whether this member leads.
func (h *Host) IsLeader() bool { return h.leadTerm.Load() != 0 }

// Committed is the last committed log index this member knows of.
func (h *Host) Committed() uint64 { return max(h.commit.Load(), h.machine().View().Applied) }

// Size is how many bytes the database takes.
func (h *Host) Size() engine.Sizes {
	return engine.Sizes{Total: h.size.Load(), InUse: h.sizeInUse.Load()}
}

// RequestTimeout bounds the wait for a proposal or a read index.
func (h *Host) RequestTimeout() time.Duration {
	return 5*time.Second + 2*h.cfg.Tick*time.Duration(h.cfg.ElectionTicks)
}

// Ready is closed once the member has published itself and serves.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Failed returns why the member cannot write any more, nil if it can.
func (h *Host) Failed() error {
	if f := h.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

// cutOff is the error for who wants to know of what other members do from one that cannot write any more: what they
// acknowledge never gets here. It is nil for a member that can write, or that nobody can go on without.
func (h *Host) cutOff() error {
	err := h.Failed()
	if err == nil || h.soleReady.Load() {
		return nil
	}
	return status.Errorf(codes.Unavailable, "cairn: this member cannot follow the others: %s", status.Convert(err).Message())
}

// Stop ends all goroutines, makes the state durable and closes what Start took over.
func (h *Host) Stop() error {
	var err error
	h.stopped.Do(func() {
		h.handOver()
		close(h.stop)
		h.peers.Stop()
		h.wg.Wait()
		h.queue.failAll(ErrStopping)
		if h.Failed() == nil {
			err = h.flush()
		}
		err = errors.Join(err, h.received.close(), h.retired.close(), h.machine().Engine().Close(), h.log.Close())
	})
	return err
}

// call runs fn on the applier between two batches and waits for it.
func (h *Host) call(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	h.applies.put(applyWork{call: func() { fn(); close(done) }})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.stop:
		return ErrStopping
	}
}

// Snapshot returns the engine's content and the state it belongs to, both as of one batch boundary. The caller releases
// the engine's view.
func (h *Host) Snapshot(ctx context.Context) (records engine.View, state *machine.View, err error) {
	type both struct {
		records engine.View
		state   *machine.View
	}
	got := make(chan both, 1)
	err = h.call(ctx, func() { got <- both{h.machine().Engine().View(), h.machine().View()} })
	if err != nil {
		// The call may still run: what it takes must be let go.
		go func() {
			select {
			case b := <-got:
				b.records.Release()
			case <-h.stop:
			}
		}()
		return nil, nil, err
	}
	b := <-got
	return b.records, b.state, nil
}
