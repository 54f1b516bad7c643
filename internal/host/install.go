package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Stores makes the databases of a member. One is in use; a snapshot from another member becomes the next. A database
// that is closed and not in use is removed.
type Stores interface {
	// Receive makes a database of the file that r holds and opens it. It is durable, but not in use.
	Receive(ctx context.Context, index uint64, r io.Reader) (*machine.Machine, error)
	// Use makes the database of an index the one that the next start opens.
	Use(index uint64) error
}

// received holds what was made of snapshots until raft asks for it, or gets past it. One is received at a time, and one may
// wait beside it.
type received struct {
	mu    sync.Mutex
	busy  bool
	ready []prepared
}

type prepared struct {
	index   uint64
	machine *machine.Machine
}

const mostReady = 2

var errBusy = errors.New("host: another snapshot is being received")

// ProcessSnapshot takes a snapshot from a peer: the message and the database file behind it. The database is made ready
// beside the traffic; raft hears of it when all it takes to use it is to exchange one for the other.
func (h *Host) ProcessSnapshot(ctx context.Context, m *raftpb.Message, image io.Reader) error {
	index := m.GetSnapshot().GetMetadata().GetIndex()
	if h.cfg.Stores == nil {
		return errors.New("host: this member takes no snapshots")
	}
	if index <= h.View().Applied {
		return h.Process(ctx, m) // raft tells the sender how far this member is
	}
	r := &h.received
	r.mu.Lock()
	if r.busy || len(r.ready) == mostReady {
		r.mu.Unlock()
		return errBusy
	}
	r.busy = true
	r.mu.Unlock()
	began := time.Now()
	mc, err := h.receive(ctx, index, image)
	r.mu.Lock()
	r.busy = false
	if err == nil {
		r.ready = append(r.ready, prepared{index, mc})
	}
	r.mu.Unlock()
	if err != nil {
		h.cfg.Logger.Warn("failed to receive a snapshot", "index", index, "error", err.Error())
		return err
	}
	h.cfg.Logger.Info("received a snapshot", "index", index, "from", fmt.Sprintf("%x", m.GetFrom()), "took", time.Since(began).String())
	return h.Process(ctx, m)
}

// take hands out what was made of the snapshot at an index.
func (r *received) take(index uint64) *machine.Machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range r.ready {
		if p.index == index {
			r.ready = slices.Delete(r.ready, i, i+1)
			return p.machine
		}
	}
	return nil
}

// drop closes what this member, which has applied so much, has got past without it.
func (r *received) drop(applied uint64) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = slices.DeleteFunc(r.ready, func(p prepared) bool {
		if p.index <= applied {
			err = errors.Join(err, p.machine.Engine().Close())
			return true
		}
		return false
	})
	return err
}

// close closes what was received and never asked for.
func (r *received) close() error { return r.drop(math.MaxUint64) }

func (h *Host) receive(ctx context.Context, index uint64, image io.Reader) (*machine.Machine, error) {
	mc, err := h.cfg.Stores.Receive(ctx, index, image)
	if err == nil && mc.Applied() != index {
		err = errors.Join(fmt.Errorf("host: the snapshot is for index %d, but its database is at %d", index, mc.Applied()), mc.Engine().Close())
	}
	return mc, err
}

// install puts the state of a snapshot in the place of the machine's. Called by the logger, which waits for it.
func (h *Host) install(s *raftpb.Snapshot) error {
	index := s.GetMetadata().GetIndex()
	mc := h.received.take(index)
	if mc == nil {
		return fmt.Errorf("host: raft wants the snapshot at index %d, which is not here", index)
	}
	h.cfg.Metrics.Installing.Set(1)
	defer h.cfg.Metrics.Installing.Set(0)
	if err := h.cfg.Stores.Use(index); err != nil {
		return err
	}
	if err := h.call(context.Background(), func() { h.replace(mc) }); err != nil {
		return err
	}
	h.cfg.Logger.Info("installed a snapshot", "index", index, "revision", h.KV().Rev())
	return h.log.Release(index)
}

// replace exchanges the machine. Called by the applier. Readers that are at work go on with the old state for a while.
func (h *Host) replace(mc *machine.Machine) {
	old := h.state.Swap(mc)
	h.retired.add(old.Engine(), h.now())
	v := mc.View()
	h.membersChanged(v)
	h.peers.SetPeers(v.Cluster.Members())
	h.leaseMu.Lock()
	h.deadlines.Reset(h.now(), v.Leases.Each)
	close(h.leaseGone)
	h.leaseGone = make(chan struct{})
	h.leaseMu.Unlock()
	h.queue.lost(wire.ErrTimeout) // the snapshot may hold their effects
	h.compactions.reset(mc.Compacted())
	h.corruptHere(v)
	h.hub.Jump(v.KV.Rev())
	h.paths.Reset(v.Tree.Index)
	h.handedOn.Store(v.Applied)
	h.announced(v)
}

// retireAfter is how long a replaced database stays open for those that read from it.
const retireAfter = 30 * time.Second

// retired are databases that were replaced.
type retired struct {
	mu   sync.Mutex
	list []retiree
}

type retiree struct {
	eng   engine.Engine
	since time.Duration
}

func (r *retired) add(e engine.Engine, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, retiree{e, now})
}

// close closes all that are left.
func (r *retired) close() error { return r.closeOld(1<<63 - 1) }

// closeOld closes those that have been replaced for long enough.
func (r *retired) closeOld(now time.Duration) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.list) > 0 && now-r.list[0].since >= retireAfter {
		err = errors.Join(err, r.list[0].eng.Close())
		r.list = r.list[1:]
	}
	return err
}
