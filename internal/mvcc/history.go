package mvcc

import (
	"encoding/binary"
	"slices"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// fewKeys is up to how many keys a range's history is put together from the index instead of by reading every record
// since.
const fewKeys = 256

// History returns the changes in r from revision from to revision to, both included, in order and whole transactions
// only. It stops after maxRevs revisions and returns the revision to go on from, to+1 when there is no more.
//
// A compaction may remove records while they are read. The caller has to look afterwards whether from is still above
// the compaction revision, and throw the answer away if it is not.
func (v View) History(r wire.Range, from, to int64, maxRevs int, prev bool) (changes []wire.Change, next int64, err error) {
	if from < v.compactRev {
		return nil, 0, wire.ErrCompacted
	}
	to = min(to, v.rev)
	if from > to || r.Empty() {
		return nil, to + 1, nil
	}
	if vers, ok := v.versionsOf(r, from, to); ok {
		changes, next, err = v.fromIndex(vers, to, maxRevs)
	} else {
		changes, next, err = v.fromRecords(r, from, to, maxRevs)
	}
	if err != nil {
		return nil, 0, err
	}
	if prev {
		for i := range changes {
			// A creation has none, and what was before a compaction is silently left out.
			if f := changes[i].KV.Fields(); f.CreateRevision == changes[i].Rev.Main {
				continue
			}
			if kv, err := v.GetAt(changes[i].KV.Key(), changes[i].Rev.Main-1); err == nil && changes[i].Rev.Main > 1 {
				changes[i].Prev = kv
			}
		}
	}
	return changes, next, nil
}

type keyVersion struct {
	version
	key string
	kv  wire.KV // the record, "" if it has to be read
}

// versionsOf collects the versions of a range of few keys.
func (v View) versionsOf(r wire.Range, from, to int64) (out []keyVersion, ok bool) {
	if v.root.count(r) > fewKeys {
		return nil, false
	}
	seen := 0
	v.root.ascend(r, false, func(it *item) bool {
		seen++
		n := it.newest()
		if n.main >= from && n.main <= to {
			out = append(out, keyVersion{n, it.kv.Key(), it.kv})
		}
		if it.hist != nil {
			for i := len(it.hist.older) - 1; i >= 0 && it.hist.older[i].main >= from; i-- {
				if o := it.hist.older[i]; o.main <= to {
					out = append(out, keyVersion{version: o, key: it.kv.Key()})
				}
			}
		}
		return seen <= 4*fewKeys
	})
	if seen > 4*fewKeys {
		return nil, false
	}
	slices.SortFunc(out, func(a, b keyVersion) int { return a.rev().Compare(b.rev()) })
	return out, true
}

func (v View) fromIndex(vers []keyVersion, to int64, maxRevs int) (changes []wire.Change, next int64, err error) {
	revs, last := 0, int64(0)
	for _, kv := range vers {
		if kv.main != last {
			if revs == maxRevs {
				return changes, kv.main, nil
			}
			revs, last = revs+1, kv.main
		}
		c := wire.Change{Rev: kv.rev(), KV: kv.kv}
		switch {
		case kv.kv != "":
		case kv.tombstone:
			c.KV = wire.Tombstone(kv.key)
		default:
			if c.KV, err = v.read(kv.version); err != nil {
				return nil, 0, err
			}
		}
		changes = append(changes, c)
	}
	return changes, to + 1, nil
}

func (v View) fromRecords(r wire.Range, from, to int64, maxRevs int) (changes []wire.Change, next int64, err error) {
	lo := binary.BigEndian.AppendUint64(nil, uint64(from))
	hi := binary.BigEndian.AppendUint64(nil, uint64(to+1))
	next = to + 1
	revs, last := 0, int64(0)
	var bad error
	err = v.eng.Scan(engine.Key, lo, hi, func(k, val []byte) bool {
		rev, tomb, err := wire.ParseRevKey(k)
		if err != nil {
			bad = err
			return false
		}
		if rev.Main != last {
			if revs == maxRevs {
				next = rev.Main
				return false
			}
			revs, last = revs+1, rev.Main
		}
		if len(val) == 0 || !r.Contains(wire.KV(wire.BytesString(val)).Key()) {
			return true
		}
		kv := wire.KV(val) // a copy: val is only lent
		if tomb {
			kv = wire.Tombstone(kv.Key())
		}
		changes = append(changes, wire.Change{Rev: rev, KV: kv})
		return true
	})
	if err == nil {
		err = bad
	}
	return changes, next, err
}
