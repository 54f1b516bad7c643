// Package pebble is the engine on disk: a log-structured tree without a log of
// its own, since the raft log is the truth until Flush.
//
// It must never know what a key means. Nothing it does stops readers or
// writers: tables are written and merged in the background, within bounds.
package pebble

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// ErrLocked is wrapped by Open's error when the directory is in use.
var ErrLocked = errors.New("directory is in use by another process")

// Engine is an engine.Engine in one directory. Any goroutine may use it. The
// goroutines behind it (at most one writing a table, two merging tables and one
// asking for that) end with Close.
type Engine struct {
	db    *pebble.DB
	cache *pebble.Cache
	lock  *pebble.Lock
	dir   string
	fail  *failure

	// inflight counts calls inside; Close waits for none.
	mu       sync.Mutex
	idle     sync.Cond
	closed   bool
	inflight int
	views    map[*view]struct{} // not yet released

	committed atomic.Uint64 // batches committed
	flushMu   sync.Mutex    // one Flush at a time
	flushed   uint64        // batches known durable; guarded by flushMu
	size      sizer
	tidier    tidier
}

var _ engine.Engine = (*Engine)(nil)

// Open opens the engine in dir, which it makes if there is none. A directory
// that another process has open gives an error that wraps ErrLocked.
func Open(fs vfs.FS, dir string, o Options) (*Engine, error) {
	o = o.withDefaults()
	if !o.ReadOnly {
		if err := fs.MkdirAll(dir, vfs.DirMode); err != nil {
			return nil, fmt.Errorf("engine: %s: %w", dir, err)
		}
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, fmt.Errorf("engine: %s: %w (%v)", dir, ErrLocked, err)
	}
	e := &Engine{lock: lock, dir: dir, views: make(map[*view]struct{})}
	e.idle.L = &e.mu
	e.fail = newFailure(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.idle.Broadcast()
	})
	// Pebble takes the memory of its tables out of the cache's size.
	e.cache = pebble.NewCache(o.CacheSize + 2*o.MemTableSize)
	opts := pebbleOptions(fs, o, e.cache)
	opts.Lock = lock
	opts.Logger = e.fail
	opts.EventListener = e.listener()
	err = e.fail.guard(func() (err error) {
		e.db, err = pebble.Open(dir, opts)
		return err
	})
	if err != nil {
		e.cache.Unref()
		return nil, fmt.Errorf("engine: open %s: %w", dir, errors.Join(err, lock.Close()))
	}
	e.size.stale.Store(true)
	return e, nil
}

// enter begins a call; leave ends it. Between them the database stays open.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return engine.ErrClosed
	}
	e.inflight++
	return nil
}

func (e *Engine) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inflight--; e.inflight == 0 && e.closed {
		e.idle.Broadcast()
	}
}

// NewBatch implements engine.Engine.
func (e *Engine) NewBatch() engine.Batch {
	b := &batch{owner: e}
	if err := e.enter(); err != nil {
		b.err = err
		return b
	}
	defer e.leave()
	b.b = e.db.NewBatch()
	return b
}

// Commit implements engine.Engine. It waits while four tables are waiting to
// be written. When a table could not be written it fails until one could.
func (e *Engine) Commit(eb engine.Batch) error {
	b, ok := eb.(*batch)
	if !ok || b == nil || b.owner != e {
		return engine.ErrBatch
	}
	b.owner = nil
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	if b.b == nil {
		return b.err
	}
	defer b.b.Close()
	if b.err != nil {
		return b.err
	}
	if err := e.fail.err(); err != nil {
		return err
	}
	if b.b.Empty() {
		return nil
	}
	if err := e.fail.guard(func() error { return e.db.Apply(b.b, pebble.NoSync) }); err != nil {
		return e.wrap("commit", err)
	}
	e.committed.Add(1)
	e.size.pending.Add(int64(b.bytes))
	return nil
}

// Get implements engine.Engine.
func (e *Engine) Get(s engine.Space, key []byte) ([]byte, bool, error) {
	if err := e.enter(); err != nil {
		return nil, false, err
	}
	defer e.leave()
	return e.get(e.db, s, key)
}

// Scan implements engine.Engine.
func (e *Engine) Scan(s engine.Space, lo, hi []byte, fn func(key, value []byte) bool) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	return e.scan(e.db, s, lo, hi, true, fn)
}

// Flush implements engine.Engine. It fails as soon as a table could not be
// written; pebble keeps trying, and a later Flush may succeed.
func (e *Engine) Flush() error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	e.flushMu.Lock()
	defer e.flushMu.Unlock()
	target := e.committed.Load()
	if target == e.flushed {
		return nil
	}
	failed, err := e.fail.watch()
	if err != nil {
		return e.wrap("flush", err)
	}
	var done <-chan struct{}
	err = e.fail.guard(func() (err error) {
		done, err = e.db.AsyncFlush()
		return err
	})
	if err != nil {
		return e.wrap("flush", err)
	}
	select {
	case <-done:
		e.flushed = target
		return nil
	case <-failed:
		return e.wrap("flush", e.fail.last())
	}
}

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.tidier.stop()
	for e.inflight > 0 && !e.fail.dead() {
		e.idle.Wait()
	}
	left := e.views
	e.views = nil
	e.mu.Unlock()
	for v := range left {
		v.close()
	}
	var err error
	if e.fail.dead() {
		// A background goroutine of pebble gave up half way; waiting for it
		// would never end. The process is about to stop: give up the memory,
		// but let the directory go.
		// Pebble holds the lock a second time; Close drops one hold.
		err = errors.Join(e.fail.last(), e.lock.Close())
	} else {
		e.tidier.wg.Wait()
		err = e.fail.guard(e.db.Close)
		e.cache.Unref()
	}
	if err = errors.Join(err, e.lock.Close()); err != nil {
		return e.wrap("close", err)
	}
	return nil
}

func (e *Engine) wrap(what string, err error) error {
	return fmt.Errorf("engine: %s %s: %w", what, e.dir, err)
}
