package pebble

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-kv/cairn/internal/engine"
)

// batch writes its changes straight into pebble's form. It is owned by the
// goroutine that fills it, until Commit.
type batch struct {
	owner *Engine
	b     *pebble.Batch
	len   int
	bytes int
	err   error
}

func (b *batch) ok(s engine.Space, size int) bool {
	switch {
	case b.err != nil || b.b == nil:
		return false
	case !s.Valid():
		b.err = engine.ErrSpace
		return false
	case size > engine.MaxBatchBytes-b.bytes:
		b.err = engine.ErrBatchTooLarge
		return false
	}
	b.bytes += size
	b.len++
	// Each change takes a few bytes of framing, and pebble panics at 4 GiB.
	if b.bytes+16*b.len > engine.MaxBatchBytes+(512<<20) {
		b.err = engine.ErrBatchTooLarge
		return false
	}
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
	if !b.okKey(s, key, len(key)+len(value)) {
		return
	}
	op := b.b.SetDeferred(1+len(key), len(value))
	op.Key[0] = byte(s)
	copy(op.Key[1:], key)
	copy(op.Value, value)
	b.finish(op.Finish())
}

// Delete implements engine.Batch.
func (b *batch) Delete(s engine.Space, key []byte) {
	if !b.okKey(s, key, len(key)) {
		return
	}
	op := b.b.DeleteDeferred(1 + len(key))
	op.Key[0] = byte(s)
	copy(op.Key[1:], key)
	b.finish(op.Finish())
}

// DeleteRange implements engine.Batch.
func (b *batch) DeleteRange(s engine.Space, lo, hi []byte) {
	if !b.ok(s, len(lo)+len(hi)) {
		return
	}
	if hi != nil && bytes.Compare(lo, hi) >= 0 {
		return
	}
	b.finish(b.b.DeleteRange(appendKey(nil, s, lo), appendUpper(nil, s, hi), nil))
}

func (b *batch) finish(err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
}

// Len implements engine.Batch.
func (b *batch) Len() int { return b.len }

// Bytes implements engine.Batch.
func (b *batch) Bytes() int { return b.bytes }

// appendKey is the key on disk: the space's byte and the key.
func appendKey(dst []byte, s engine.Space, key []byte) []byte {
	return append(append(dst, byte(s)), key...)
}

// appendUpper is the bound of a range: hi, or the first key of the next space.
func appendUpper(dst []byte, s engine.Space, hi []byte) []byte {
	if hi == nil {
		return append(dst, byte(s)+1)
	}
	return appendKey(dst, s, hi)
}
