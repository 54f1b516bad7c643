package mvcc

import (
	"cmp"
	"slices"
	"sort"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// View is the keyspace at one moment. It never changes; any number of goroutines may read it. Records that have become
// old since are read from the engine, where a compaction may meanwhile have removed them: such a read answers
// ErrCompacted.
type View struct {
	root            *node
	rev, compactRev int64
	eng             engine.Engine
}

// Rev is the view's current revision.
func (v View) Rev() int64 { return v.rev }

// CompactRev is the view's compaction revision, -1 if there was none.
func (v View) CompactRev() int64 { return v.compactRev }

// Keys is the number of live keys.
func (v View) Keys() int { return v.root.live }

// Get returns the newest record of a key, "" if it does not live.
func (v View) Get(key string) wire.KV { return live(v.root.get(key)) }

// Count is the number of live keys in r.
func (v View) Count(r wire.Range) int { return v.root.count(r) }

// Bytes is how many bytes the live keys in r and their values have. Like Count it costs O(log n), however large the range is.
func (v View) Bytes(r wire.Range) int64 { return v.root.bytesIn(r) }

// Each calls fn for the live records of r, ascending, until it returns false.
func (v View) Each(r wire.Range, fn func(wire.KV) bool) {
	v.root.ascend(r, true, func(it *item) bool { return !it.live() || fn(it.kv) })
}

// Strip says what is left out of the records of an answer.
type Strip uint8

// The ways to strip a record: not at all, its value and lease, or its value only.
const (
	StripNothing Strip = iota
	StripValueAndLease
	StripValue
)

// Result is the answer to a range request, without its header.
type Result struct {
	KVs   []wire.KV
	Strip Strip
	More  bool
	Count int64
	Rev   int64 // the store's revision at the read
}

// CheckRev tells whether the view can be read at rev; 0 and below stand for the current revision.
func (v View) CheckRev(rev int64) error {
	switch {
	case rev > v.rev:
		return wire.ErrFutureRev
	case rev > 0 && rev < v.compactRev:
		return wire.ErrCompacted
	}
	return nil
}

// Range answers a range request (v3-grpc.md section 7).
func (v View) Range(q *wire.RangeRequest) (Result, error) {
	res := Result{Rev: v.rev}
	if err := v.CheckRev(q.Revision); err != nil {
		return res, err
	}
	r := wire.ParseRange(q.Key, q.End)
	old := q.Revision > 0 && q.Revision < v.rev
	natural := q.Order == wire.SortNone || (q.Target == wire.SortByKey && q.Order == wire.SortAscend)
	limit := int(min(max(q.Limit, 0), 1<<40))
	fetch := 0 // how many records are needed, 0 for all
	if limit > 0 && !q.Filtered() && (natural || q.Target == wire.SortByKey) {
		fetch = limit + 1
	}
	reverse := q.Target == wire.SortByKey && q.Order == wire.SortDescend
	var err error
	switch {
	case old:
		err = v.fetchOld(r, q, fetch, reverse, &res)
	case q.CountOnly:
		res.Count = int64(v.root.count(r))
	default:
		v.fetch(r, fetch, reverse, &res)
	}
	if err != nil || q.CountOnly {
		return res, err
	}
	if q.Filtered() {
		res.KVs = filter(res.KVs, q)
	}
	order(res.KVs, q)
	if limit > 0 && len(res.KVs) > limit {
		res.KVs, res.More = res.KVs[:limit], true
	}
	if q.KeysOnly {
		res.Strip = StripValueAndLease
		if q.Target == wire.SortByValue {
			res.Strip = StripValue
		}
	}
	return res, nil
}

// fetch collects live records, in key order or against it.
func (v View) fetch(r wire.Range, n int, reverse bool, res *Result) {
	if r.Empty() {
		return
	}
	if key, ok := r.Single(); ok {
		if kv := v.Get(key); kv != "" {
			res.KVs, res.Count = []wire.KV{kv}, 1
		}
		return
	}
	res.Count = int64(v.root.count(r))
	if n == 0 || int64(n) > res.Count {
		n = int(res.Count)
	}
	if n == 0 {
		return
	}
	kvs := make([]wire.KV, 0, n)
	take := func(it *item) bool {
		if it.live() {
			kvs = append(kvs, it.kv)
		}
		return len(kvs) < n
	}
	if reverse {
		v.root.descend(r, take)
	} else {
		v.root.ascend(r, true, take)
	}
	res.KVs = kvs
}

// fetchOld collects the records that lived at an older revision. Counting them means to look at every key of the range.
func (v View) fetchOld(r wire.Range, q *wire.RangeRequest, n int, reverse bool, res *Result) error {
	if r.Empty() {
		return nil
	}
	var hits []hit
	v.root.ascend(r, false, func(it *item) bool {
		ver, ok := it.at(q.Revision)
		if !ok || ver.tombstone {
			return true
		}
		res.Count++
		switch {
		case q.CountOnly || (n > 0 && len(hits) == n && !reverse):
			return true
		case n > 0 && len(hits) == 2*n:
			hits = append(hits[:0], hits[n:]...)
		}
		h := hit{ver: ver}
		if ver == it.newest() {
			h.kv = it.kv
		}
		hits = append(hits, h)
		return true
	})
	if reverse {
		if n > 0 && len(hits) > n {
			hits = hits[len(hits)-n:]
		}
		slices.Reverse(hits)
	}
	if len(hits) > 0 {
		res.KVs = make([]wire.KV, 0, len(hits))
	}
	for _, h := range hits {
		kv := h.kv
		if kv == "" {
			var err error
			if kv, err = v.read(h.ver); err != nil {
				return err
			}
		}
		res.KVs = append(res.KVs, kv)
	}
	return nil
}

// hit is one key that lived at the revision asked for; kv is "" if the record has to be read.
type hit struct {
	ver version
	kv  wire.KV
}

// at returns the key's version at a revision.
func (it *item) at(rev int64) (version, bool) {
	if n := it.newest(); n.main <= rev {
		return n, true
	}
	if it.hist == nil {
		return version{}, false
	}
	older := it.hist.older
	i := sort.Search(len(older), func(i int) bool { return older[i].main > rev })
	if i == 0 {
		return version{}, false
	}
	return older[i-1], true
}

// read gets an old record from the engine.
func (v View) read(ver version) (wire.KV, error) {
	var buf [wire.RevKeyLen]byte
	b, ok, err := v.eng.Get(engine.Key, wire.AppendRevKey(buf[:0], ver.rev(), false))
	if err != nil {
		return "", err
	}
	if !ok {
		return "", wire.ErrCompacted
	}
	return wire.KV(wire.BytesString(b)), nil
}

// GetAt returns the record of a key as it was at rev, "" if it did not live then.
func (v View) GetAt(key string, rev int64) (wire.KV, error) {
	if err := v.CheckRev(rev); err != nil {
		return "", err
	}
	it, ok := v.root.get(key)
	if !ok {
		return "", nil
	}
	ver, ok := it.at(rev)
	if !ok || ver.tombstone {
		return "", nil
	}
	if ver == it.newest() {
		return it.kv, nil
	}
	return v.read(ver)
}

func filter(kvs []wire.KV, q *wire.RangeRequest) []wire.KV {
	out := kvs[:0:0]
	for _, kv := range kvs {
		f := kv.Fields()
		if (q.MaxMod == 0 || f.ModRevision <= q.MaxMod) && (q.MinMod == 0 || f.ModRevision >= q.MinMod) &&
			(q.MaxCreate == 0 || f.CreateRevision <= q.MaxCreate) && (q.MinCreate == 0 || f.CreateRevision >= q.MinCreate) {
			out = append(out, kv)
		}
	}
	return out
}

// order sorts as asked. Without an order, a target other than the key still sorts ascending (section 7).
func order(kvs []wire.KV, q *wire.RangeRequest) {
	if q.Target == wire.SortByKey {
		return // the walk was in the right direction already
	}
	type row struct {
		n  int64
		s  string
		kv wire.KV
	}
	rows := make([]row, len(kvs))
	for i, kv := range kvs {
		f := kv.Fields()
		rows[i].kv = kv
		switch q.Target {
		case wire.SortByVersion:
			rows[i].n = f.Version
		case wire.SortByCreate:
			rows[i].n = f.CreateRevision
		case wire.SortByMod:
			rows[i].n = f.ModRevision
		case wire.SortByValue:
			rows[i].s = f.Value
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		c := cmp.Compare(a.n, b.n)
		if c == 0 {
			c = cmp.Compare(a.s, b.s)
		}
		if q.Order == wire.SortDescend {
			c = -c
		}
		return c
	})
	for i := range rows {
		kvs[i] = rows[i].kv
	}
}
