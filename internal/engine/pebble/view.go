package pebble

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-kv/cairn/internal/engine"
)

// view is a pebble snapshot that calls hold by reference count, so that a
// Release beside a Get cannot pull it away.
type view struct {
	owner    *Engine
	snap     *pebble.Snapshot
	released atomic.Bool
	refs     atomic.Int64 // one of the holder, one of each call inside
}

// View implements engine.Engine.
func (e *Engine) View() engine.View {
	v := &view{owner: e}
	if err := e.enter(); err != nil {
		v.released.Store(true)
		return v
	}
	defer e.leave()
	v.snap = e.db.NewSnapshot()
	v.refs.Store(1)
	e.mu.Lock()
	e.views[v] = struct{}{}
	e.mu.Unlock()
	return v
}

func (v *view) enter() error {
	if err := v.owner.enter(); err != nil {
		return err
	}
	for {
		n := v.refs.Load()
		if n == 0 || v.released.Load() {
			v.owner.leave()
			return engine.ErrReleased
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (v *view) leave() {
	v.unref()
	v.owner.leave()
}

func (v *view) unref() {
	if v.refs.Add(-1) == 0 {
		_ = v.snap.Close() // only ever returns nil
	}
}

// close drops the holder's reference.
func (v *view) close() {
	if !v.released.Swap(true) {
		v.unref()
	}
}

// Get implements engine.View.
func (v *view) Get(s engine.Space, key []byte) ([]byte, bool, error) {
	if err := v.enter(); err != nil {
		return nil, false, err
	}
	defer v.leave()
	return v.owner.get(v.snap, s, key)
}

// Scan implements engine.View.
func (v *view) Scan(s engine.Space, lo, hi []byte, fn func(key, value []byte) bool) error {
	if err := v.enter(); err != nil {
		return err
	}
	defer v.leave()
	return v.owner.scan(v.snap, s, lo, hi, false, fn)
}

// Release implements engine.View.
func (v *view) Release() {
	if v.owner.enter() != nil {
		return // Close has released it, or will
	}
	defer v.owner.leave()
	v.owner.mu.Lock()
	delete(v.owner.views, v)
	v.owner.mu.Unlock()
	v.close()
}

func (e *Engine) get(r pebble.Reader, s engine.Space, key []byte) ([]byte, bool, error) {
	if !s.Valid() {
		return nil, false, engine.ErrSpace
	}
	var room [64]byte
	value, closer, err := r.Get(appendKey(room[:0], s, key))
	if err != nil {
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, false, nil
		}
		return nil, false, e.wrap("read", err)
	}
	own := append(make([]byte, 0, len(value)), value...)
	if err := closer.Close(); err != nil {
		return nil, false, e.wrap("read", err)
	}
	return own, true, nil
}

// scan reads a range. With ahead, a long one is read by a second goroutine: for a scan that everything waits for.
func (e *Engine) scan(r pebble.Reader, s engine.Space, lo, hi []byte, ahead bool, fn func(key, value []byte) bool) (err error) {
	if !s.Valid() {
		return engine.ErrSpace
	}
	if hi != nil && bytes.Compare(lo, hi) >= 0 {
		return nil
	}
	it, err := r.NewIter(&pebble.IterOptions{
		LowerBound: appendKey(nil, s, lo),
		UpperBound: appendUpper(nil, s, hi),
	})
	if err != nil {
		return e.wrap("scan", err)
	}
	defer func() {
		if closeErr := it.Close(); closeErr != nil && err == nil {
			err = e.wrap("scan", closeErr)
		}
	}()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; ahead && n > aheadFrom {
			return e.scanAhead(it, fn)
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return e.wrap("scan", err)
		}
		if !fn(it.Key()[1:], value) {
			return nil
		}
	}
	return nil
}
