// Package mem is an engine in memory, for tests and for the simulator.
//
// It must never be more forgiving than an engine on disk: what was committed
// and not flushed is lost by Crash, and a view that was released is dead.
package mem

import (
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/cairn-kv/cairn/internal/engine"
)

// state is the content: the space's byte and the key, to the value. Values and
// keys are never written after they are stored, so that copies share them.
type state = btree.Map[string, []byte]

// maxUnflushed bounds the commits that are remembered for CrashKeeping. When
// there are more, the oldest become durable, as a full memtable would.
const maxUnflushed = 256

// Engine is an engine.Engine in memory. Any goroutine may use it.
type Engine struct {
	mu       sync.Mutex
	now      *state   // the latest content
	durable  *state   // the content that a crash leaves
	commits  []*state // the content after each commit since durable
	bytes    int64    // keys and values in now
	closed   bool
	flushErr error
}

var _ engine.Engine = (*Engine)(nil)

// New returns an empty engine.
func New() *Engine { return &Engine{now: new(state), durable: new(state)} }

// NewBatch implements engine.Engine.
func (e *Engine) NewBatch() engine.Batch { return &batch{owner: e} }

// Commit implements engine.Engine.
func (e *Engine) Commit(b engine.Batch) error {
	own, ok := b.(*batch)
	if !ok || own == nil || own.owner != e {
		return engine.ErrBatch
	}
	own.owner = nil
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return engine.ErrClosed
	}
	if own.err != nil {
		return own.err
	}
	for _, c := range own.changes {
		e.apply(c)
	}
	if len(e.commits) == maxUnflushed {
		e.durable = e.commits[0]
		e.commits = append(e.commits[:0], e.commits[1:]...)
	}
	e.commits = append(e.commits, e.now.Copy())
	return nil
}

func (e *Engine) apply(c change) {
	switch c.kind {
	case set:
		old, replaced := e.now.Set(c.key, c.value)
		e.bytes += int64(len(c.value))
		if replaced {
			e.bytes -= int64(len(old))
		} else {
			e.bytes += int64(len(c.key))
		}
	case del:
		if old, deleted := e.now.Delete(c.key); deleted {
			e.bytes -= int64(len(c.key) + len(old))
		}
	case delRange:
		var keys []string
		e.now.Ascend(c.key, func(k string, _ []byte) bool {
			if k >= c.end {
				return false
			}
			keys = append(keys, k)
			return true
		})
		for _, k := range keys {
			old, _ := e.now.Delete(k)
			e.bytes -= int64(len(k) + len(old))
		}
	}
}

// View implements engine.Engine.
func (e *Engine) View() engine.View {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &view{owner: e, at: e.now.Copy()}
}

// Get implements engine.Engine.
func (e *Engine) Get(s engine.Space, key []byte) ([]byte, bool, error) {
	v := e.View()
	defer v.Release()
	return v.Get(s, key)
}

// Scan implements engine.Engine.
func (e *Engine) Scan(s engine.Space, lo, hi []byte, fn func(key, value []byte) bool) error {
	v := e.View()
	defer v.Release()
	return v.Scan(s, lo, hi, fn)
}

// Flush implements engine.Engine.
func (e *Engine) Flush() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return engine.ErrClosed
	}
	if e.flushErr != nil {
		return e.flushErr
	}
	e.durable = e.now.Copy()
	e.commits = e.commits[:0]
	return nil
}

// FailFlush makes every later Flush return err and keep nothing; nil ends it.
func (e *Engine) FailFlush(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flushErr = err
}

// Unflushed is the number of commits that Crash would lose.
func (e *Engine) Unflushed() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.commits)
}

// Crash closes the engine and returns one with the content of the last Flush.
func (e *Engine) Crash() *Engine { return e.CrashKeeping(0) }

// CrashKeeping closes the engine and returns one with the content after the
// first n commits that followed the last Flush (all of them if there are
// fewer): an engine on disk may have written some of them of its own accord.
func (e *Engine) CrashKeeping(n int) *Engine {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.durable
	if n = min(n, len(e.commits)); n > 0 {
		at = e.commits[n-1]
	}
	e.closed = true
	fresh := &Engine{now: at.Copy(), durable: at.Copy()}
	fresh.now.Scan(func(k string, v []byte) bool {
		fresh.bytes += int64(len(k) + len(v))
		return true
	})
	return fresh
}

// Size implements engine.Engine.
func (e *Engine) Size() engine.Sizes {
	e.mu.Lock()
	defer e.mu.Unlock()
	return engine.Sizes{Total: e.bytes, InUse: e.bytes}
}

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

func join(s engine.Space, key []byte) string {
	var b strings.Builder
	b.Grow(1 + len(key))
	b.WriteByte(byte(s))
	b.Write(key)
	return b.String()
}

// upper is the bound of a range: hi, or the first key of the next space.
func upper(s engine.Space, hi []byte) string {
	if hi == nil {
		return string([]byte{byte(s) + 1})
	}
	return join(s, hi)
}
