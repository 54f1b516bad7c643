package host

import (
	"context"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// compactHash is the hash of the records at a compaction, as it was just before.
type compactHash struct {
	Hash              uint32
	Rev, CompactedRev int64 // the compaction, and the one before it
}

const keepHashes = 10

// compactions is what callers see of compactions: the hashes they left behind, and how far storage has come.
type compactions struct {
	mu       sync.Mutex
	hashes   []compactHash
	finished int64
	moved    chan struct{} // closed and made anew whenever finished moves
}

func (c *compactions) init(finished int64) {
	c.finished, c.moved = finished, make(chan struct{})
}

// reset begins anew with the state of another machine: hashes of the old one are of no use.
func (c *compactions) reset(finished int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes, c.finished = nil, finished
	close(c.moved)
	c.moved = make(chan struct{})
}

func (c *compactions) done(h *compactHash, finished int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h != nil {
		c.hashes = append(c.hashes, *h)
		if len(c.hashes) > keepHashes {
			c.hashes = append([]compactHash(nil), c.hashes[1:]...)
		}
	}
	c.finished = finished
	close(c.moved)
	c.moved = make(chan struct{})
}

// CompactHash returns the hash that the compaction at rev left behind, and the compaction before that.
func (h *Host) CompactHash(rev int64) (hash uint32, compactedRev int64, ok bool) {
	c := &h.compactions
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.hashes {
		if x.Rev == rev {
			return x.Hash, x.CompactedRev, true
		}
	}
	return 0, 0, false
}

// AwaitCompaction waits until storage has caught up with the compaction at rev, durably.
func (h *Host) AwaitCompaction(ctx context.Context, rev int64) error {
	c := &h.compactions
	for {
		c.mu.Lock()
		finished, moved := c.finished, c.moved
		c.mu.Unlock()
		if finished >= rev {
			return h.machine().Engine().Flush()
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-h.stop:
			return wire.ErrStopped
		}
	}
}

// compactor carries out compactions on the applier: first the hash of what is there, beside the traffic, then the
// removal in small steps between batches.
type compactor struct {
	host    *Host
	of      *machine.Machine // what it works on
	hashing bool
	hashed  chan compactHashed
	result  *compactHash
	steps   bool
	began   time.Time
	removed int
	wg      sync.WaitGroup
}

type compactHashed struct {
	hash *compactHash
	err  error
}

// due reports whether a step waits to be taken.
func (c *compactor) due() bool { return c.steps }

// run does the next bit of work, if there is any.
func (c *compactor) run() error {
	h := c.host
	if c.steps && c.of != h.machine() {
		c.steps, c.result = false, nil // the machine was replaced
	}
	if !c.hashing && !c.steps {
		if from, to, ok := h.machine().Compaction(); ok {
			c.startHash(from, to)
		}
		return nil
	}
	if !c.steps {
		return nil
	}
	began := time.Now()
	removed, done, err := h.machine().CompactStep(compactStep)
	if err != nil {
		return err
	}
	h.cfg.Metrics.CompactPause.Observe(float64(time.Since(began)) / float64(time.Millisecond))
	h.cfg.Metrics.CompactKeys.Add(float64(removed))
	c.removed += removed
	runtime.Gosched()
	if done {
		took := time.Since(c.began)
		h.cfg.Metrics.CompactTotal.Observe(float64(took) / float64(time.Millisecond))
		h.cfg.Metrics.CompactLast.SetToCurrentTime()
		h.cfg.Logger.Info("finished scheduled compaction", "compact-revision", h.machine().Compacted(), "took", took.String(), "removed", c.removed)
		h.compactions.done(c.result, h.machine().Compacted())
		c.steps, c.result = false, nil
		return c.run()
	}
	return nil
}

func (c *compactor) startHash(from, to int64) {
	h := c.host
	c.hashing, c.began, c.removed, c.of = true, time.Now(), 0, h.machine()
	records, view := h.machine().Engine().View(), h.machine().View()
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		defer records.Release()
		hash, err := view.KV.HashKV(records, to, from)
		r := compactHashed{hash: &compactHash{hash, to, from}, err: err}
		c.hashed <- r
	}()
}

func (c *compactor) hashDone(r compactHashed) {
	c.hashing, c.steps = false, true
	if c.of != c.host.machine() {
		return
	}
	if r.err != nil {
		c.host.cfg.Logger.Warn("failed to hash before compaction", "error", r.err.Error())
		return
	}
	c.result = r.hash
	c.host.cfg.Logger.Info("storing new hash", "hash", r.hash.Hash, "revision", r.hash.Rev, "compact-revision", r.hash.CompactedRev)
}

func (c *compactor) stop() { c.wg.Wait() }

func engineError(err error) error {
	return status.Errorf(codes.Unavailable, "cairn: the database cannot be written: %v", err)
}

// Tidy asks the engine to give unused space back. It does so in its own time, beside the traffic.
func (h *Host) Tidy() {
	if t, ok := h.machine().Engine().(interface{ Tidy() }); ok {
		t.Tidy()
	}
}
