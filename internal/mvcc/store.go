// Package mvcc is the keyspace with revisions: an index of every key's newest record in memory, older records in the
// engine under their revision keys, and immutable views of both.
//
// It must never know the time, a client, a lease's life or the log: it is told to put, delete and compact, and every
// answer depends on nothing else.
package mvcc

import (
	"fmt"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Names of the revisions kept in the Meta space (operations.md section 5.2).
var (
	metaScheduledCompact = []byte("scheduledCompactRev")
	metaFinishedCompact  = []byte("finishedCompactRev")
)

// Store is the keyspace while it is written. One goroutine, the apply queue, owns it; others read Views.
type Store struct {
	eng        engine.Engine
	index      tree
	records    arena
	rev        int64 // of the last transaction that changed something
	compactRev int64 // reads below it are refused; -1 before the first compaction
	finished   int64 // compaction that storage has caught up with
	physical   []compaction
	made       int64 // records since the last compaction; after a start, all there are

	sub     int64 // changes in the open transaction
	changes []wire.Change
	scratch []byte
}

// Open rebuilds the index from the engine. attach is called for every live key with a lease, in key order.
func Open(eng engine.Engine, attach func(lease int64, key string)) (*Store, error) {
	s := &Store{eng: eng, index: newTree(), rev: 1, compactRev: -1, finished: -1}
	if err := s.load(attach); err != nil {
		return nil, err
	}
	return s, nil
}

// Rev is the revision of the last transaction that changed something; 1 for a fresh store.
func (s *Store) Rev() int64 { return s.rev }

// CompactRev is the last compaction, -1 if there was none.
func (s *Store) CompactRev() int64 { return s.compactRev }

// Wrote reports whether the open transaction has changed something.
func (s *Store) Wrote() bool { return s.sub > 0 }

// Put writes a record in the open transaction and returns the one before, "" if the key did not live.
func (s *Store) Put(b engine.Batch, key, value []byte, lease int64) (prev wire.KV) {
	rev := wire.Rev{Main: s.rev + 1, Sub: s.sub}
	s.sub++
	var kv, before wire.KV
	s.index.update(wire.BytesString(key), func(old item) (item, weight) {
		f := wire.Fields{Key: wire.BytesString(key), Value: wire.BytesString(value),
			CreateRevision: rev.Main, ModRevision: rev.Main, Version: 1, LeaseID: lease}
		delta := weigh(len(key), len(value))
		if old.kv != "" && old.live() {
			o := old.kv.Fields()
			f.CreateRevision, f.Version = o.CreateRevision, o.Version+1
			prev, delta = old.kv, weight{bytes: int64(len(value) - len(o.Value))}
		}
		if f.CreateRevision != rev.Main {
			before = s.before(&old, rev.Main)
		}
		kv = s.records.make(&f, rev.Sub)
		if old.kv != "" {
			s.records.release(old.kv)
		}
		return old.successor(kv, rev), delta
	})
	s.scratch = wire.AppendRevKey(s.scratch[:0], rev, false)
	b.Set(engine.Key, s.scratch, kv.Bytes())
	s.changes = append(s.changes, wire.Change{Rev: rev, KV: kv, Prev: before})
	s.made++
	return prev
}

// before is the record that a key had before the revision that is being made: what watchers are shown as the previous
// one, also when a transaction changes the key twice.
func (s *Store) before(it *item, rev int64) wire.KV {
	if it.kv == "" || it.rev().Main < rev {
		if it.kv == "" || !it.live() {
			return ""
		}
		return it.kv
	}
	// The key's first change in this transaction knows.
	key, first := it.kv.Key(), wire.KV("")
	for i := len(s.changes) - 1; i >= 0 && s.changes[i].Rev.Main == rev; i-- {
		if s.changes[i].KV.Key() == key {
			first = s.changes[i].Prev
		}
	}
	return first
}

// Delete removes the live keys of r in the open transaction, ascending. fn, if not nil, is given each record as it was.
func (s *Store) Delete(b engine.Batch, r wire.Range, fn func(prev wire.KV)) (deleted int64) {
	if n := s.index.root.count(r); n > 1 {
		s.changes = append(make([]wire.Change, 0, len(s.changes)+n), s.changes...)
	}
	s.index.updateLive(r, func(it *item) bool {
		rev := wire.Rev{Main: s.rev + 1, Sub: s.sub}
		s.sub++
		prev, before := it.kv, s.before(it, rev.Main)
		kv := s.records.make(&wire.Fields{Key: prev.Key()}, rev.Sub)
		s.records.release(prev)
		*it = it.successor(kv, rev)
		s.scratch = wire.AppendRevKey(s.scratch[:0], rev, true)
		b.Set(engine.Key, s.scratch, kv.Bytes())
		s.changes = append(s.changes, wire.Change{Rev: rev, KV: kv, Prev: before})
		if fn != nil {
			fn(prev)
		}
		deleted++
		return true
	})
	s.made += deleted
	return deleted
}

// End closes the open transaction; the revision moves if anything changed.
func (s *Store) End() {
	if s.sub > 0 {
		s.rev++
		s.sub = 0
	}
}

// Tidy moves up to n records together that overwriting and deleting have left far apart in memory. It changes nothing
// that can be seen.
func (s *Store) Tidy(n int) {
	s.records.evacuate(n, func(kv wire.KV) {
		s.index.update(kv.Key(), func(it item) (item, weight) {
			if !same(it.kv, kv) {
				panic("mvcc: a record that the index does not refer to was not released")
			}
			it.kv = s.records.copy(kv, subOf(kv))
			return it, weight{}
		})
		s.records.release(kv)
	})
}

// TakeChanges returns what changed since the last call, in revision order.
func (s *Store) TakeChanges() []wire.Change {
	c := s.changes
	s.changes = nil
	return c
}

// Get returns the newest record of a key as the open transaction sees it, "" if the key does not live.
func (s *Store) Get(key []byte) wire.KV { return live(s.index.root.get(wire.BytesString(key))) }

func live(it item, ok bool) wire.KV {
	if !ok || !it.live() {
		return ""
	}
	return it.kv
}

// Peek is the state as the open transaction sees it, valid until the next write.
func (s *Store) Peek() View {
	rev := s.rev
	if s.sub > 0 {
		rev++
	}
	return View{root: s.index.root, rev: rev, compactRev: s.compactRev, eng: s.eng}
}

// View is the state at a transaction boundary, for good.
func (s *Store) View() View {
	if s.sub > 0 {
		panic("mvcc: a view was asked for inside a transaction")
	}
	return View{root: s.index.freeze(), rev: s.rev, compactRev: s.compactRev, eng: s.eng}
}

// Records and bytes that are sorted at once while loading: they bound the memory that loading takes on top.
const (
	loadChunk = 1 << 18
	loadBytes = 64 << 20
)

func (s *Store) load(attach func(int64, string)) error {
	for _, m := range []struct {
		name []byte
		to   *int64
	}{{metaScheduledCompact, &s.compactRev}, {metaFinishedCompact, &s.finished}} {
		b, ok, err := s.eng.Get(engine.Meta, m.name)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		r, _, err := wire.ParseRevKey(b)
		if err != nil {
			return fmt.Errorf("mvcc: meta %s: %w", m.name, err)
		}
		*m.to = r.Main
	}
	s.compactRev = max(s.compactRev, s.finished)
	l := loader{store: s}
	if err := l.run(); err != nil {
		return err
	}
	s.rev = max(s.rev, s.compactRev)
	if s.finished < s.compactRev {
		s.physical = append(s.physical, compaction{from: s.finished, to: s.compactRev, records: s.made})
	}
	if attach != nil {
		s.index.root.ascend(wire.Range{}, true, func(it *item) bool {
			if it.live() {
				if f := it.kv.Fields(); f.LeaseID != 0 {
					attach(f.LeaseID, f.Key)
				}
			}
			return true
		})
	}
	return nil
}
