package mvcc

import (
	"encoding/binary"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// compaction is the removal from storage that a Compact has made possible. It walks the records of the revisions it
// covers, because each of them is what made an older record of its key superfluous: its work is what it removes, not
// what the store holds.
type compaction struct {
	from, to int64 // the compaction before, and this one
	cursor   []byte
}

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
	} else {
		s.physical = append(s.physical, compaction{from: prev, to: rev})
	}
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
	if c.cursor == nil {
		// A tombstone exactly at the last compaction was kept by it, and goes now.
		c.cursor = binary.BigEndian.AppendUint64(nil, uint64(max(c.from, 0)))
	}
	hi := binary.BigEndian.AppendUint64(nil, uint64(c.to+1))
	keys := make([]string, 0, n)
	seen := 0
	var next []byte
	err = s.eng.Scan(engine.Key, c.cursor, hi, func(k, v []byte) bool {
		if seen == n {
			next = append([]byte(nil), k...)
			return false
		}
		seen++
		keys = append(keys, string(wire.KV(wire.BytesString(v)).Key()))
		return true
	})
	if err != nil {
		return 0, false, err
	}
	for _, k := range keys {
		removed += s.trim(b, k, c.to)
	}
	if next != nil {
		c.cursor = next
		return removed, false, nil
	}
	s.finished = c.to
	s.physical = s.physical[1:]
	b.Set(engine.Meta, metaFinishedCompact, wire.AppendRevKey(nil, wire.Rev{Main: s.finished}, false))
	return removed, true, nil
}

// trim removes the records of key that a compaction at rev makes superfluous: all but the newest at or below rev, and
// that one too if it is a tombstone below rev.
func (s *Store) trim(b engine.Batch, key string, rev int64) (removed int) {
	it, ok := s.index.root.get(key)
	if !ok || it.hist == nil {
		return 0
	}
	older, newest := it.hist.older, it.newest()
	n := 0 // how many of older go
	for n < len(older) && older[n].main <= rev {
		n++
	}
	keepNewest := true
	switch {
	case newest.main <= rev:
		// The newest record is the one to keep, unless it is a tombstone from before.
		keepNewest = !newest.tombstone || newest.main == rev
	case n > 0 && (!older[n-1].tombstone || older[n-1].main == rev):
		n--
	}
	if n == 0 && keepNewest {
		return 0
	}
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
	s.index.set(next, 0)
	return removed
}

func (s *Store) drop(b engine.Batch, v version) {
	s.scratch = wire.AppendRevKey(s.scratch[:0], v.rev(), v.tombstone)
	b.Delete(engine.Key, s.scratch)
}
