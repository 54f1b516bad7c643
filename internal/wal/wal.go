// Package wal is the durable log of one node, in etcd's file format.
//
// It must never know what an entry means, and decides nothing: it keeps what
// raft hands it, in order, and gives it back after a restart. Its only
// goroutine prepares the next segment file and ends with Close.
//
// The format is drawn in docs/format/wal.md.
package wal

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// DefaultSegmentSize is the size of a segment file, in bytes.
const DefaultSegmentSize = 64_000_000

// Errors that callers can tell apart.
var (
	ErrClosed   = errors.New("wal: closed")
	ErrExists   = errors.New("wal: there is a log already")
	ErrNotFound = errors.New("wal: there is no log")
	ErrLocked   = errors.New("wal: log is in use by another process")
)

// Metadata names the node that a log belongs to. Every segment repeats it.
type Metadata struct{ NodeID, ClusterID uint64 }

// Mark says that the state at an index is safe elsewhere, so that a start may
// begin there. ConfState is nil in the mark that begins every log.
type Mark struct {
	Index, Term uint64
	ConfState   *raftpb.ConfState
}

// Options tunes a Log.
type Options struct {
	// SegmentSize is when a new segment is begun, in bytes
	// (DefaultSegmentSize). It is also how much is allocated beforehand.
	SegmentSize int64
	// Background lets a goroutine prepare the next segment. Without it the
	// Append that needs one does.
	Background bool
	// OnSync, if set, is told how long each sync took. It is called with the
	// log locked and must return quickly.
	OnSync func(time.Duration)
	// OnWrite, if set, is told of each write in the same way.
	OnWrite func(bytes int, took time.Duration)
}

func (o Options) withDefaults() Options {
	if o.SegmentSize <= 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	return o
}

// Log is an open log. One goroutine appends; the other methods may be called
// beside it. After a write or sync has failed, nobody knows what is on disk:
// every later call returns that first error.
type Log struct {
	fs   vfs.FS
	dir  string
	opts Options
	meta Metadata
	lock io.Closer

	mu       sync.Mutex
	err      error // the first failure, or ErrClosed
	segments []segment
	file     vfs.File // the last segment
	off      int64    // where its next record goes
	dirty    bool     // it holds records not synced
	enc      encoder
	state    *raftpb.HardState // last appended; repeated at a segment's head
	last     uint64            // index of the last entry or mark
	marks    []Mark
	written  int64

	prep preparer
}

// Sizes is what a log takes on disk.
type Sizes struct {
	Segments int
	// Bytes is the space of the segments, in bytes.
	Bytes int64
	// Written counts the bytes appended since Open.
	Written int64
}

// Exists reports whether dir holds a log.
func Exists(fs vfs.FS, dir string) bool {
	segs, err := listSegments(fs, dir)
	return err == nil && len(segs) > 0
}

// Append writes a hard state (nil if unchanged) and entries in one write. With
// sync, they and everything before them are durable when it returns. Entries
// follow each other; the first may replace entries appended before.
func (l *Log) Append(hs *raftpb.HardState, entries []*raftpb.Entry, sync bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if err := checkEntries(entries, l.last); err != nil {
		return err
	}
	if hs == nil && len(entries) == 0 {
		return l.syncLocked(sync)
	}
	if err := l.begin(); err != nil {
		return err
	}
	for _, e := range entries {
		l.enc.entry(e)
		l.last = e.GetIndex()
	}
	if hs != nil {
		l.state = &raftpb.HardState{Term: new(hs.GetTerm()), Vote: new(hs.GetVote()), Commit: new(hs.GetCommit())}
		l.enc.state(l.state)
	}
	return l.commit(sync)
}

// checkEntries refuses what a reader of the log would refuse.
func checkEntries(entries []*raftpb.Entry, last uint64) error {
	for i, e := range entries {
		switch index := e.GetIndex(); {
		case e == nil || index == 0:
			return fmt.Errorf("wal: entry %d of the batch has no index", i)
		case index > last+1:
			return fmt.Errorf("wal: entry %d does not follow %d", index, last)
		case i > 0 && index != last+1:
			return fmt.Errorf("wal: entry %d follows %d in one batch", index, last)
		default:
			last = index
		}
	}
	return nil
}

// Mark notes that the state at an index is safe elsewhere. It is durable, with
// everything before it, when Mark returns. A start uses it once a hard state
// with that commit index is in the log.
func (l *Log) Mark(m Mark) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	conf, err := m.conf()
	if err != nil {
		return fmt.Errorf("wal: mark: %w", err)
	}
	if err := l.begin(); err != nil {
		return err
	}
	l.enc.mark(m, conf)
	if err := l.commit(true); err != nil {
		return err
	}
	l.last = max(l.last, m.Index)
	l.marks = append(l.marks, m)
	return nil
}

// Sync makes everything appended so far durable.
func (l *Log) Sync() error { return l.Append(nil, nil, true) }

// Release deletes segments that are only needed for entries below index. What
// a start from the newest mark reads is kept in any case.
func (l *Log) Release(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	newest := newestMark(l.marks, l.state.GetCommit())
	if newest < 0 {
		return nil
	}
	keep := startSegment(l.segments, min(index, l.marks[newest].Index))
	// An older mark is of no use once a newer one counts.
	l.marks = append(l.marks[:0], l.marks[newest:]...)
	for range keep {
		// In ascending order: if this is cut short, what is left is whole.
		if err := l.fs.Remove(l.path(l.segments[0].name)); err != nil && !vfs.IsNotExist(err) {
			return fmt.Errorf("wal: release: %w", err)
		}
		l.segments = l.segments[1:]
	}
	return nil
}

// Size tells what the log takes on disk.
func (l *Log) Size() Sizes {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Sizes{Segments: len(l.segments), Written: l.written}
	for _, seg := range l.segments {
		s.Bytes += seg.size
	}
	if n := len(l.segments); n > 0 {
		s.Bytes += max(0, l.off-l.segments[n-1].size)
	}
	return s
}

// Close gives the files and the lock back. It does not sync. A second Close
// returns nil.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(l.err, ErrClosed) {
		return nil
	}
	l.err = ErrClosed
	l.prep.stop(l)
	return errors.Join(l.file.Close(), l.lock.Close())
}

func (l *Log) path(name string) string { return l.fs.PathJoin(l.dir, name) }

// poison remembers the first failure; the log takes nothing more.
func (l *Log) poison(what string, err error) error {
	l.err = fmt.Errorf("wal: %s %s: %w", what, l.path(l.segments[len(l.segments)-1].name), err)
	return l.err
}
