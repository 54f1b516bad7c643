package pebble

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-kv/cairn/internal/engine"
)

// tidyBytes is how much one step of a tidy merges: it bounds the room that the old and the new tables take together.
const tidyBytes = 64 << 20

// tidier merges all tables down to the lowest level in the background, on request: what was deleted or overwritten then
// takes no room any more. It owns one goroutine while there is something to do.
type tidier struct {
	mu      sync.Mutex
	running bool
	again   bool // asked for while it was running
	stopped bool
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// Tidy asks for the room that dead records take. It returns at once; reads and commits go on beside the work, and Close
// ends it. A request during a tidy makes it start over when it is through, once.
func (e *Engine) Tidy() {
	t := &e.tidier
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.again = true
		return
	}
	if t.stopped {
		return
	}
	t.running = true
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Add(1)
	go e.tidy(ctx)
}

func (t *tidier) stop() {
	t.mu.Lock()
	t.stopped = true
	if t.cancel != nil {
		t.cancel()
	}
	t.mu.Unlock()
}

func (e *Engine) tidy(ctx context.Context) {
	t := &e.tidier
	defer t.wg.Done()
	for {
		bounds, err := e.tidyBounds()
		for i := 0; i+1 < len(bounds) && err == nil && ctx.Err() == nil; i++ {
			err = e.tidyRange(ctx, bounds[i], bounds[i+1])
		}
		t.mu.Lock()
		if !t.again || err != nil || ctx.Err() != nil {
			t.running, t.again = false, false
			t.cancel()
			t.mu.Unlock()
			return
		}
		t.again = false
		t.mu.Unlock()
	}
}

func (e *Engine) tidyRange(ctx context.Context, lo, hi []byte) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	return e.fail.guard(func() error { return e.db.Compact(ctx, lo, hi, false) })
}

// tidyBounds cuts the content into parts of about tidyBytes.
func (e *Engine) tidyBounds() (bounds [][]byte, err error) {
	if err := e.enter(); err != nil {
		return nil, err
	}
	defer e.leave()
	levels, err := e.db.SSTables()
	if err != nil {
		return nil, err
	}
	var tables []pebble.SSTableInfo
	for _, l := range levels {
		tables = append(tables, l...)
	}
	slices.SortFunc(tables, func(a, b pebble.SSTableInfo) int { return bytes.Compare(a.Smallest.UserKey, b.Smallest.UserKey) })
	bounds = append(bounds, []byte{0})
	sum := uint64(0)
	for i := range tables {
		lo := tables[i].Smallest.UserKey
		if sum >= tidyBytes && bytes.Compare(lo, bounds[len(bounds)-1]) > 0 {
			bounds, sum = append(bounds, slices.Clone(lo)), 0
		}
		sum += tables[i].Size
	}
	return append(bounds, []byte{byte(engine.Tree) + 1}), nil
}
