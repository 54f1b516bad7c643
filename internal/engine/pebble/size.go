package pebble

import (
	"sync"
	"sync/atomic"

	"github.com/cairn-kv/cairn/internal/engine"
)

// sizer answers Size without asking pebble each time: the figures change only
// when a table is made or deleted.
type sizer struct {
	pending atomic.Int64 // bytes committed and not yet in a table
	stale   atomic.Bool

	mu    sync.Mutex
	total int64
	inUse int64
}

// flushed notes that a table was made of about n bytes.
func (s *sizer) flushed(n int64) {
	for {
		old := s.pending.Load()
		if s.pending.CompareAndSwap(old, max(0, old-n)) {
			break
		}
	}
	s.stale.Store(true)
}

// Size implements engine.Engine.
func (e *Engine) Size() engine.Sizes {
	s := &e.size
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale.Load() && e.enter() == nil {
		s.stale.Store(false)
		m := e.db.Metrics()
		s.total = int64(m.DiskSpaceUsage())
		s.inUse = 0
		for i := range m.Levels {
			s.inUse += m.Levels[i].TablesSize
		}
		e.leave()
	}
	pending := s.pending.Load()
	return engine.Sizes{Total: s.total + pending, InUse: s.inUse + pending}
}
