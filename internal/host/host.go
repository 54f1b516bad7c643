// Package host runs one node: it owns the goroutines, the disk, the clock and the queues, and carries work between the
// node, which decides, the log, which keeps, and the machine, which acts. It decides nothing itself.
//
// It must never look into a key or a request: what a command means is the machine's business.
//
// Goroutines, all started by Start and ended by Stop:
//   - loop owns the node: it steps proposals and ticks, and hands out what Drain gives.
//   - logger owns the log: one write and one sync for all that waits.
//   - applier owns the machine: it applies, publishes the view, feeds watchers, answers tickets, and compacts in between.
//   - keeper flushes the engine, releases log segments and looks at the disk's space.
package host

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/watch"
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
}

const (
	defaultFlushBytes = 48 << 20
	flushIdle         = 20 * time.Second // an idle engine with unflushed changes is flushed after this time
	keepInterval      = 200 * time.Millisecond
	diskReserve       = 192 << 20 // free bytes below which writes are refused, three log segments
	replayChunk       = 4096
)

// Host runs one node.
type Host struct {
	cfg     Config
	start   time.Time
	node    *node.Node
	machine *machine.Machine
	hub     *watch.Hub
	queue   proposals
	log     *wal.Log

	loopBox *mailbox[any]             // bounded by what is under way: one message per job handed out, and reads
	logBox  *mailbox[*node.AppendJob] // at most maxAppends jobs
	applies *mailbox[applyWork]       // raft pauses handing out entries after 16 MiB; calls are one per waiting caller

	leadTerm  atomic.Uint64 // the term this member leads in, 0 if it does not
	lead      atomic.Uint64 // the leader's member ID, 0 if unknown
	soleReady atomic.Bool   // every acknowledged write is in the view, and nobody else can acknowledge any
	commit    atomic.Uint64
	term      atomic.Uint64
	// loggedCommit is the commit index that the log has been given. A mark must not be above it.
	loggedCommit atomic.Uint64
	failure      atomic.Pointer[failure]

	leaseMu   sync.Mutex
	deadlines *node.Deadlines
	leaseGone chan struct{} // closed and made anew whenever a lease was revoked

	compactions compactions

	size         atomic.Int64
	sizeInUse    atomic.Int64
	noSpace      atomic.Bool // the disk is nearly full
	appliedBytes atomic.Int64

	ready   chan struct{}
	stop    chan struct{}
	stopped sync.Once
	wg      sync.WaitGroup
}

type failure struct{ err error }

// ErrStopping is what Start and waiting calls return while the host stops.
var ErrStopping = errors.New("host: stopping")

// Start replays what the log holds beyond the machine's state and starts the node.
func Start(cfg Config) (*Host, error) {
	if cfg.FlushBytes <= 0 {
		cfg.FlushBytes = defaultFlushBytes
	}
	h := &Host{cfg: cfg, start: time.Now(), machine: cfg.Machine, log: cfg.Log,
		loopBox: newMailbox[any](), logBox: newMailbox[*node.AppendJob](), applies: newMailbox[applyWork](),
		deadlines: node.NewDeadlines(), leaseGone: make(chan struct{}),
		ready: make(chan struct{}), stop: make(chan struct{})}
	h.queue.init(cfg.MemberID, cfg.MaxRequestBytes)
	rec := cfg.Recovered
	if err := h.replay(rec); err != nil {
		return nil, err
	}
	v := h.machine.View()
	n, err := node.New(node.Config{ID: cfg.MemberID, Tick: cfg.Tick, ElectionTicks: cfg.ElectionTicks, PreVote: cfg.PreVote,
		HardState: rec.HardState, ConfState: v.Cluster.ConfState(),
		Start: node.Position{Index: rec.Start.Index, Term: rec.Start.Term}, Entries: rec.Entries, Applied: h.machine.Applied()})
	if err != nil {
		return nil, err
	}
	h.node = n
	h.hub = watch.NewHub(h, v.KV.Rev())
	h.loggedCommit.Store(rec.HardState.GetCommit())
	h.compactions.init(h.machine.Compacted())
	h.measure()
	h.cfg.Metrics.observe(h)
	h.queue.wake <- struct{}{} // the first round elects a sole voter
	h.wg.Add(4)
	go h.loop()
	go h.logger()
	go h.applier()
	go h.keeper()
	return h, nil
}

// replay gives the machine the committed entries that its storage had not kept.
func (h *Host) replay(rec *wal.Recovered) error {
	var eff machine.Effects
	entries := rec.Entries
	for len(entries) > 0 && entries[0].GetIndex() <= rec.HardState.GetCommit() {
		n := 0
		for n < len(entries) && n < replayChunk && entries[n].GetIndex() <= rec.HardState.GetCommit() {
			n++
		}
		if err := h.machine.Apply(entries[:n], &eff); err != nil {
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
func (h *Host) View() *machine.View { return h.machine.View() }

// KV returns the keyspace of the present view.
func (h *Host) KV() mvcc.View { return h.machine.View().KV }

// Hub returns the watch hub.
func (h *Host) Hub() *watch.Hub { return h.hub }

// MemberID and ClusterID name this member and its cluster.
func (h *Host) MemberID() cluster.ID  { return h.cfg.MemberID }
func (h *Host) ClusterID() cluster.ID { return h.cfg.ClusterID }

// Leader is the leader as far as this member knows, 0 if it knows none.
func (h *Host) Leader() cluster.ID { return cluster.ID(h.lead.Load()) }

// IsLeader reports whether this member leads.
func (h *Host) IsLeader() bool { return h.leadTerm.Load() != 0 }

// Committed is the last committed log index this member knows of.
func (h *Host) Committed() uint64 { return max(h.commit.Load(), h.machine.View().Applied) }

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

// Stop ends all goroutines, makes the state durable and closes what Start took over.
func (h *Host) Stop() error {
	var err error
	h.stopped.Do(func() {
		close(h.stop)
		h.wg.Wait()
		h.queue.failAll(ErrStopping)
		if h.Failed() == nil {
			err = h.flush()
		}
		err = errors.Join(err, h.machine.Engine().Close(), h.log.Close())
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
	err = h.call(ctx, func() { got <- both{h.machine.Engine().View(), h.machine.View()} })
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
