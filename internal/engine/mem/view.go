package mem

import (
	"sync/atomic"

	"github.com/cairn-kv/cairn/internal/engine"
)

// view is a copy-on-write picture of the content.
type view struct {
	owner    *Engine
	at       *state
	released atomic.Bool
}

func (v *view) check(s engine.Space) error {
	switch {
	case v.owner.isClosed():
		return engine.ErrClosed
	case v.released.Load():
		return engine.ErrReleased
	case !s.Valid():
		return engine.ErrSpace
	}
	return nil
}

// Get implements engine.View.
func (v *view) Get(s engine.Space, key []byte) ([]byte, bool, error) {
	if err := v.check(s); err != nil {
		return nil, false, err
	}
	value, ok := v.at.Get(join(s, key))
	if !ok {
		return nil, false, nil
	}
	return append([]byte{}, value...), true, nil
}

// Scan implements engine.View.
func (v *view) Scan(s engine.Space, lo, hi []byte, fn func(key, value []byte) bool) error {
	if err := v.check(s); err != nil {
		return err
	}
	end := upper(s, hi)
	var err error
	v.at.Ascend(join(s, lo), func(k string, value []byte) bool {
		if k >= end {
			return false
		}
		if !fn([]byte(k[1:]), value) {
			return false
		}
		err = v.check(s)
		return err == nil
	})
	return err
}

// Release implements engine.View.
func (v *view) Release() { v.released.Store(true) }
