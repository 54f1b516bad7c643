// Package engine is ordered storage: a set of key spaces, atomic batches, and
// consistent views.
//
// It must never know what a key means, who wrote it, or what time it is. The
// raft log is the truth until Flush returns, so an engine keeps no log of its
// own: after a crash its content is the state after some prefix of the
// committed batches, never less than the last Flush and never half a batch.
package engine

import "errors"

// Errors that every engine returns for the same misuse.
var (
	// ErrClosed is returned by every call on a closed engine and on its views.
	ErrClosed = errors.New("engine: closed")
	// ErrReleased is returned by a view that was released.
	ErrReleased = errors.New("engine: view is released")
	// ErrBatch is returned by Commit for a batch of another engine, or one
	// that was committed before.
	ErrBatch = errors.New("engine: batch is not one of this engine's open batches")
	// ErrSpace is returned for a space outside Spaces.
	ErrSpace = errors.New("engine: no such space")
	// ErrEmptyKey is returned for a key of no bytes: the database files that
	// this content is exchanged through cannot hold one.
	ErrEmptyKey = errors.New("engine: empty key")
	// ErrBatchTooLarge is returned by Commit for a batch over MaxBatchBytes.
	ErrBatchTooLarge = errors.New("engine: batch too large")
)

// MaxBatchBytes bounds the keys and values of one batch, in bytes.
const MaxBatchBytes = 3 << 30

// Engine is ordered storage for one node.
//
// One goroutine commits at a time; views may be taken and read by any number
// of goroutines beside it. After the first error of Commit or Flush the caller
// is expected to stop: the content is still a prefix of the commits.
type Engine interface {
	// NewBatch returns an empty batch, owned by the caller until Commit.
	NewBatch() Batch
	// Commit applies the batch atomically. It is visible to every View taken
	// after the call and not yet durable. The batch is released in any case.
	Commit(Batch) error
	// View returns the content as it is now, unmoved by later commits. The
	// caller releases it. On a closed engine it returns a view whose every
	// call gives ErrClosed.
	View() View
	// Get is View().Get on the latest state.
	Get(s Space, key []byte) (value []byte, ok bool, err error)
	// Scan is View().Scan on the latest state.
	Scan(s Space, lo, hi []byte, fn func(key, value []byte) bool) error
	// Flush returns when everything committed before the call is durable.
	// Commits go on beside it.
	Flush() error
	// Size tells how many bytes the content takes.
	Size() Sizes
	// Close releases the storage. It does not flush: what was committed since
	// the last Flush may be lost, as in a crash. Views still held turn into
	// ErrClosed. A second Close returns nil.
	Close() error
}

// Batch collects changes that Commit applies together, in the order in which
// they were added. It copies its arguments. It is used by one goroutine and is
// dead after Commit. A mistake (ErrSpace, ErrEmptyKey, ErrBatchTooLarge) is
// reported by Commit, which then applies nothing.
type Batch interface {
	Set(s Space, key, value []byte)
	Delete(s Space, key []byte)
	// DeleteRange deletes lo <= key < hi; a nil hi is the end of the space, a
	// nil lo its start. An empty range deletes nothing.
	DeleteRange(s Space, lo, hi []byte)
	// Len is the number of changes added.
	Len() int
	// Bytes is the size of their keys and values, in bytes.
	Bytes() int
}

// View is the content at one moment. Any number of goroutines may read it.
type View interface {
	// Get returns the value of key, a copy that belongs to the caller.
	Get(s Space, key []byte) (value []byte, ok bool, err error)
	// Scan calls fn for each pair with lo <= key < hi in ascending order, until
	// fn returns false. A nil hi is the end of the space, a nil lo its start.
	// The slices are valid during fn only and must not be written.
	Scan(s Space, lo, hi []byte, fn func(key, value []byte) bool) error
	// Release gives the view back. Further calls return ErrReleased; a second
	// Release does nothing.
	Release()
}

// Sizes is what an engine takes, in bytes.
type Sizes struct {
	// Total is the storage taken, with garbage not yet collected.
	Total int64
	// InUse is an estimate of the part of Total that live content takes.
	InUse int64
}
