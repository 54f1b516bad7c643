package mvcc

import (
	"encoding/binary"
	"strings"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// compaction is the removal from storage that a Compact has made possible. It goes one of two ways, the shorter one: over
// the records of the revisions it covers, because each of them is what made an older record of its key superfluous; or
// over the index, which tells without reading a record what each key has of old, and touches neighbours together.
type compaction struct {
	from, to int64 // the compaction before, and this one
	records  int64 // made since the compaction before, about
	begun    bool
	byKey    bool
	revision []byte // where to go on, of the first way
	key      string // of the second
}

// A record that is read and looked up costs as much as so many items of the index that are passed over.
const itemsPerRecord = 16

// maxPhysical bounds the removals that wait. More are merged into the last one.
const maxPhysical = 8

// Compact makes revisions below rev unreadable, at once. Removal from storage is left to Step.
func (s *Store) Compact(b engine.Batch, rev int64) error {
	if rev <= s.compactRev {
		return wire.ErrCompacted
	}
	if rev > s.rev {
		return wire.ErrFutureRev
	}
	prev := s.compactRev
	s.compactRev = rev
	if len(s.physical) == maxPhysical {
		s.physical[maxPhysical-1].to = rev
		s.physical[maxPhysical-1].records += s.made
	} else {
		s.physical = append(s.physical, compaction{from: prev, to: rev, records: s.made})
	}
	s.made = 0
	b.Set(engine.Meta, metaScheduledCompact, wire.AppendRevKey(nil, wire.Rev{Main: rev}, false))
	return nil
}

// Pending returns the compaction that Step works on and the one before it.
func (s *Store) Pending() (from, to int64, ok bool) {
	if len(s.physical) == 0 {
		return 0, 0, false
	}
	return s.physical[0].from, s.physical[0].to, true
}

// Finished is the compaction that storage has caught up with.
func (s *Store) Finished() int64 { return s.finished }

// Step looks at up to n records of the pending compaction and removes what it finds superfluous. It must not be called
// while a batch with changes to records is open. done reports that the pending compaction is finished.
func (s *Store) Step(b engine.Batch, n int) (removed int, done bool, err error) {
	if len(s.physical) == 0 {
		return 0, true, nil
	}
	c := &s.physical[0]
	if !c.begun {
		c.begun = true
		c.byKey = c.records*itemsPerRecord > int64(s.index.root.live)
		// A tombstone exactly at the last compaction was kept by it, and goes now.
		c.revision = binary.BigEndian.AppendUint64(nil, uint64(max(c.from, 0)))
	}
	var keys []string
	var more bool
	if c.byKey {
		keys, more = s.oldKeys(c, n)
	} else if keys, more, err = s.changedKeys(c, n); err != nil {
		return 0, false, err
	}
	for _, k := range keys {
		removed += s.trim(b, k, c.to)
	}
	if more {
		return removed, false, nil
	}
	s.finished = c.to
	s.physical = s.physical[1:]
	b.Set(engine.Meta, metaFinishedCompact, wire.AppendRevKey(nil, wire.Rev{Main: s.finished}, false))
	return removed, true, nil
}

// changedKeys are the keys of the next n records that the compaction covers.
func (s *Store) changedKeys(c *compaction, n int) (keys []string, more bool, err error) {
	keys = make([]string, 0, n)
	hi := binary.BigEndian.AppendUint64(nil, uint64(c.to+1))
	err = s.eng.Scan(engine.Key, c.revision, hi, func(k, v []byte) bool {
		if len(keys) == n {
			c.revision, more = append(c.revision[:0], k...), true
			return false
		}
		keys = append(keys, string(wire.KV(wire.BytesString(v)).Key()))
		return true
	})
	return keys, more, err
}

// oldKeys are the next keys of the index with something to remove, at most n.
func (s *Store) oldKeys(c *compaction, n int) (keys []string, more bool) {
	passed := 0
	s.index.root.ascend(wire.Range{Lo: c.key}, false, func(it *item) bool {
		if len(keys) == n || passed == n*itemsPerRecord {
			c.key, more = strings.Clone(it.kv.Key()), true
			return false
		}
		passed++
		if n, keepNewest := it.superfluous(c.to); n > 0 || !keepNewest {
			keys = append(keys, it.kv.Key())
		}
		return true
	})
	return keys, more
}

// superfluous says how many of the older records a compaction at rev removes, the oldest ones, and whether the newest
// record stays. What stays is the newest record at or below rev and all behind it; but a tombstone below rev goes too.
func (it *item) superfluous(rev int64) (n int, keepNewest bool) {
	if it.hist == nil {
		return 0, true
	}
	older, newest := it.hist.older, it.newest()
	for n < len(older) && older[n].main <= rev {
		n++
	}
	switch {
	case newest.main <= rev:
		// The newest record is the one to keep, unless it is a tombstone from before.
		return n, !newest.tombstone || newest.main == rev
	case n > 0 && (!older[n-1].tombstone || older[n-1].main == rev):
		n--
	}
	return n, true
}

// trim removes the records of key that a compaction at rev makes superfluous.
func (s *Store) trim(b engine.Batch, key string, rev int64) (removed int) {
	it, ok := s.index.root.get(key)
	if !ok {
		return 0
	}
	n, keepNewest := it.superfluous(rev)
	if n == 0 && keepNewest {
		return 0
	}
	older, newest := it.hist.older, it.newest()
	for _, v := range older[:n] {
		s.drop(b, v)
	}
	removed = n
	if !keepNewest {
		s.drop(b, newest)
		s.index.remove(key)
		s.records.release(it.kv)
		return removed + 1
	}
	next := item{kv: it.kv}
	if n < len(older) || newest.tombstone {
		next.hist = &history{rev: it.hist.rev, older: older[n:]}
	}
	s.index.set(next)
	return removed
}

func (s *Store) drop(b engine.Batch, v version) {
	s.scratch = wire.AppendRevKey(s.scratch[:0], v.rev(), v.tombstone)
	b.Delete(engine.Key, s.scratch)
}
