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

// maxSettle bounds the tables that wait to be settled. One that is left out is merged like any other, later.
const maxSettle = 64

// tidier puts tables where they belong, in the background: new tables of records that overlap no other ones go straight to
// the lowest level, and on request all tables are merged down to it: what was deleted or overwritten then takes no room
// any more. It owns one goroutine while there is something to do.
type tidier struct {
	mu      sync.Mutex
	fresh   []bounds // tables that a flush has made
	all     bool     // a tidy is asked for
	running bool
	stopped bool
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// bounds are the smallest and the largest key of a table.
type bounds struct{ lo, hi []byte }

// Tidy asks for the room that dead records take. It returns at once; reads and commits go on beside the work, and Close
// ends it. A request during a tidy makes it start over when it is through, once.
func (e *Engine) Tidy() {
	t := &e.tidier
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = true
	e.startTidier()
}

// settle takes note of tables that a flush has made. It is called with pebble's lock held.
func (e *Engine) settle(tables []pebble.TableInfo) {
	t := &e.tidier
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range tables {
		if lo := tables[i].Smallest.UserKey; len(lo) > 0 && lo[0] == byte(engine.Key) && len(t.fresh) < maxSettle {
			t.fresh = append(t.fresh, bounds{slices.Clone(lo), slices.Clone(tables[i].Largest.UserKey)})
		}
	}
	if len(t.fresh) > 0 {
		e.startTidier()
	}
}

// startTidier is called with the tidier's lock held.
func (e *Engine) startTidier() {
	t := &e.tidier
	if t.running || t.stopped {
		return
	}
	t.running = true
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Add(1)
	go e.runTidier(ctx)
}

func (t *tidier) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.cancel != nil {
		t.cancel()
	}
}

// next takes the next bit of work; false ends the goroutine.
func (t *tidier) next(ctx context.Context) (fresh []bounds, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil || len(t.fresh) == 0 && !t.all {
		t.running = false
		t.cancel()
		return nil, false
	}
	if len(t.fresh) > 0 {
		fresh, t.fresh = t.fresh, nil
		return fresh, true
	}
	t.all = false
	return nil, true
}

// runTidier gives up on an error: pebble merges on its own what is left, and says elsewhere what is wrong.
func (e *Engine) runTidier(ctx context.Context) {
	defer e.tidier.wg.Done()
	for {
		fresh, ok := e.tidier.next(ctx)
		if !ok {
			return
		}
		for _, b := range fresh {
			if alone, err := e.alone(b); err == nil && alone {
				_ = e.compact(ctx, b.lo, append(b.hi, 0))
			}
		}
		if len(fresh) > 0 {
			continue
		}
		cuts, err := e.cuts()
		for i := 0; i+1 < len(cuts) && err == nil && ctx.Err() == nil; i++ {
			err = e.compact(ctx, cuts[i], cuts[i+1])
		}
	}
}

// alone reports whether no other table overlaps one: then it is moved as it is.
func (e *Engine) alone(b bounds) (bool, error) {
	if err := e.enter(); err != nil {
		return false, err
	}
	defer e.leave()
	levels, err := e.db.SSTables(pebble.WithKeyRangeFilter(b.lo, append(slices.Clone(b.hi), 0)))
	n := 0
	for _, l := range levels {
		n += len(l)
	}
	return n == 1, err
}

func (e *Engine) compact(ctx context.Context, lo, hi []byte) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.leave()
	return e.fail.guard(func() error { return e.db.Compact(ctx, lo, hi, false) })
}

// cuts divides the content into parts of about tidyBytes.
func (e *Engine) cuts() (cuts [][]byte, err error) {
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
	cuts = append(cuts, []byte{0})
	sum := uint64(0)
	for i := range tables {
		lo := tables[i].Smallest.UserKey
		if sum >= tidyBytes && bytes.Compare(lo, cuts[len(cuts)-1]) > 0 {
			cuts, sum = append(cuts, slices.Clone(lo)), 0
		}
		sum += tables[i].Size
	}
	return append(cuts, []byte{byte(engine.Tree) + 1}), nil
}
