package v3rpc

import (
	"cmp"
	"slices"
	"sort"

	"github.com/cairn-kv/cairn/internal/wire"
)

// puts are the keys that a branch writes, with those of the txns nested in it.
type puts map[string]bool

// deletes are the keys that a branch removes: single ones, and intervals that are sorted and do not touch. So a request
// of any shape is checked in little more than linear time.
type deletes struct {
	points map[string]bool
	spans  []span
}

type span struct{ lo, hi string } // lo <= key < hi

// deletesOf collects the deletes of ops, not those of nested txns. A range is taken as the literal interval that was
// sent: an open end, "\x00", then makes it empty, as in etcd.
func deletesOf(ops []wire.Op) deletes {
	var d deletes
	for i := range ops {
		q := ops[i].Delete
		switch {
		case q == nil:
		case len(q.End) == 0:
			if d.points == nil {
				d.points = map[string]bool{}
			}
			d.points[string(q.Key)] = true
		case string(q.Key) < string(q.End):
			d.spans = append(d.spans, span{string(q.Key), string(q.End)})
		}
	}
	slices.SortFunc(d.spans, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	d.spans = join(nil, d.spans)
	return d
}

// join appends spans, sorted by lo, to those of out, and makes one of what overlaps.
func join(out, spans []span) []span {
	for _, s := range spans {
		if k := len(out); k > 0 && s.lo <= out[k-1].hi {
			out[k-1].hi = max(out[k-1].hi, s.hi)
			continue
		}
		out = append(out, s)
	}
	return out
}

// add takes in the deletes of a nested txn.
func (d *deletes) add(o deletes) {
	if d.points == nil {
		d.points = o.points
	} else {
		for k := range o.points {
			d.points[k] = true
		}
	}
	if len(o.spans) == 0 {
		return
	}
	if len(d.spans) == 0 {
		d.spans = o.spans
		return
	}
	a, b := d.spans, o.spans
	both := make([]span, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].lo <= b[0].lo {
			both, a = join(both, a[:1]), a[1:]
		} else {
			both, b = join(both, b[:1]), b[1:]
		}
	}
	d.spans = join(join(both, a), b)
}

func (d *deletes) hold(key string) bool {
	if d.points[key] {
		return true
	}
	i := sort.Search(len(d.spans), func(i int) bool { return d.spans[i].lo > key })
	return i > 0 && key < d.spans[i-1].hi
}

// overlap refuses a branch that changes a key twice, as far as etcd notices (v3-grpc.md section 11.3): it does not see
// two deletes of one key, nor a nested txn's delete behind an earlier one's put.
func overlap(ops []wire.Op) (puts, deletes, error) {
	dels, seen := deletesOf(ops), make(puts, len(ops))
	for i := range ops {
		if ops[i].Txn == nil {
			continue
		}
		thenPuts, thenDels, err := overlap(ops[i].Txn.Success)
		if err != nil {
			return nil, deletes{}, err
		}
		elsePuts, elseDels, err := overlap(ops[i].Txn.Failure)
		if err != nil {
			return nil, deletes{}, err
		}
		for k := range thenPuts {
			if seen[k] || dels.hold(k) {
				return nil, deletes{}, wire.ErrDuplicateKey
			}
		}
		for k := range elsePuts {
			// The branches exclude each other: a key of the other branch does not count.
			if (seen[k] && !thenPuts[k]) || dels.hold(k) {
				return nil, deletes{}, wire.ErrDuplicateKey
			}
		}
		for k := range thenPuts {
			seen[k] = true
		}
		for k := range elsePuts {
			seen[k] = true
		}
		dels.add(thenDels)
		dels.add(elseDels)
	}
	for i := range ops {
		if ops[i].Put == nil {
			continue
		}
		k := wire.BytesString(ops[i].Put.Key) // the request outlives the check
		if seen[k] || dels.hold(k) {
			return nil, deletes{}, wire.ErrDuplicateKey
		}
		seen[k] = true
	}
	return seen, dels, nil
}
