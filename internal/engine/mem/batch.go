package mem

import "github.com/cairn-kv/cairn/internal/engine"

type kind uint8

const (
	set kind = iota
	del
	delRange
)

type change struct {
	kind  kind
	key   string // of a range: its first key
	end   string // of a range: the first key behind it
	value []byte
}

// batch is owned by the goroutine that fills it, until Commit.
type batch struct {
	owner   *Engine
	changes []change
	bytes   int
	err     error
}

func (b *batch) ok(s engine.Space, size int) bool {
	switch {
	case b.err != nil:
	case !s.Valid():
		b.err = engine.ErrSpace
	case size > engine.MaxBatchBytes-b.bytes:
		b.err = engine.ErrBatchTooLarge
	}
	if b.err != nil {
		return false
	}
	b.bytes += size
	return true
}

func (b *batch) okKey(s engine.Space, key []byte, size int) bool {
	if len(key) == 0 && b.err == nil {
		b.err = engine.ErrEmptyKey
	}
	return b.ok(s, size)
}

// Set implements engine.Batch.
func (b *batch) Set(s engine.Space, key, value []byte) {
	if b.okKey(s, key, len(key)+len(value)) {
		b.changes = append(b.changes, change{kind: set, key: join(s, key), value: append([]byte{}, value...)})
	}
}

// Delete implements engine.Batch.
func (b *batch) Delete(s engine.Space, key []byte) {
	if b.okKey(s, key, len(key)) {
		b.changes = append(b.changes, change{kind: del, key: join(s, key)})
	}
}

// DeleteRange implements engine.Batch.
func (b *batch) DeleteRange(s engine.Space, lo, hi []byte) {
	if b.ok(s, len(lo)+len(hi)) {
		b.changes = append(b.changes, change{kind: delRange, key: join(s, lo), end: upper(s, hi)})
	}
}

// Len implements engine.Batch.
func (b *batch) Len() int { return len(b.changes) }

// Bytes implements engine.Batch.
func (b *batch) Bytes() int { return b.bytes }
