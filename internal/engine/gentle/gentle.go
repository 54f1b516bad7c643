// Package gentle is an engine around another one that lets other goroutines run in the midst of long work: a processor
// that is kept busy for long makes every request wait at each of its steps.
//
// It must never change what the engine behind it holds or answers.
package gentle

import (
	"runtime"

	"github.com/cairn-kv/cairn/internal/engine"
)

const (
	// scanned is after how many records a scan yields.
	scanned = 128
	// batched is after how many changes a batch yields, once it has more than largeBatch of them: the batches of
	// everyday traffic are not held up.
	batched    = 128
	largeBatch = 4096
)

// Engine yields in scans and while large batches are made.
type Engine struct{ engine.Engine }

var _ engine.Engine = Engine{}

// Wrap returns e, made gentle.
func Wrap(e engine.Engine) Engine { return Engine{e} }

// Tidy asks the engine behind it to give unused room back, if it knows how to.
func (e Engine) Tidy() {
	if t, ok := e.Engine.(interface{ Tidy() }); ok {
		t.Tidy()
	}
}

// NewBatch implements engine.Engine.
func (e Engine) NewBatch() engine.Batch { return &batch{Batch: e.Engine.NewBatch()} }

// Commit implements engine.Engine.
func (e Engine) Commit(b engine.Batch) error {
	own, ok := b.(*batch)
	if !ok || own == nil {
		return engine.ErrBatch
	}
	return e.Engine.Commit(own.Batch)
}

// View implements engine.Engine.
func (e Engine) View() engine.View { return view{e.Engine.View()} }

// Scan implements engine.Engine.
func (e Engine) Scan(s engine.Space, lo, hi []byte, fn func(k, v []byte) bool) error {
	return e.Engine.Scan(s, lo, hi, yielding(fn))
}

type view struct{ engine.View }

func (v view) Scan(s engine.Space, lo, hi []byte, fn func(k, v []byte) bool) error {
	return v.View.Scan(s, lo, hi, yielding(fn))
}

func yielding(fn func(k, v []byte) bool) func(k, v []byte) bool {
	n := 0
	return func(k, v []byte) bool {
		if n++; n%scanned == 0 {
			runtime.Gosched()
		}
		return fn(k, v)
	}
}

type batch struct {
	engine.Batch
	n int
}

func (b *batch) step() {
	if b.n++; b.n > largeBatch && b.n%batched == 0 {
		runtime.Gosched()
	}
}

func (b *batch) Set(s engine.Space, key, value []byte) {
	b.step()
	b.Batch.Set(s, key, value)
}

func (b *batch) Delete(s engine.Space, key []byte) {
	b.step()
	b.Batch.Delete(s, key)
}
