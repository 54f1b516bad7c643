package machine

import (
	"slices"
	"sort"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

// LimitsRecord is the path of requests that set and remove limits, with a limits.Rule or a limits.Target as their value. They
// go through the log as requests of the v2 API, because an etcd ends at any other that it does not know.
const LimitsRecord = "/3/limits"

func (m *Machine) changeLimits(who auth.Identity, q *wire.V2Request) error {
	if err := m.auth.View().Admin(who); err != nil {
		return err
	}
	malformed := func(err error) error { return status.Errorf(codes.InvalidArgument, "cairn: %v", err) }
	switch q.Method {
	case wire.V2Put:
		r, err := limits.ParseRule([]byte(q.Val))
		if err != nil {
			return malformed(err)
		}
		return m.limits.Set(m.batch, r)
	case wire.V2Delete:
		t, err := limits.ParseTarget([]byte(q.Val))
		if err != nil {
			return malformed(err)
		}
		return m.limits.Remove(m.batch, &t)
	default:
		return status.Errorf(codes.Unimplemented, "cairn: no such method for a limit: %q", q.Method)
	}
}

// RoomForPut refuses a put that would go beyond a quota.
func (v *View) RoomForPut(p *wire.PutRequest) error { return roomForPut(v.KV, v.Limits, p) }

// RoomForTxn refuses a txn that would go beyond a quota.
func (v *View) RoomForTxn(t *wire.TxnRequest) error {
	if !v.Limits.Quotas() {
		return nil
	}
	p := choose(v.KV, t)
	return roomForTxn(v.KV, v.Limits, t, &p)
}

func roomForPut(kv mvcc.View, set *limits.Set, p *wire.PutRequest) error {
	if !set.Quotas() {
		return nil
	}
	g := growth{kv: kv, set: set}
	g.put(p)
	return g.refuse()
}

// roomForTxn judges a txn as a whole, by what its path comes to.
func roomForTxn(kv mvcc.View, set *limits.Set, t *wire.TxnRequest, p *path) error {
	if !set.Quotas() {
		return nil
	}
	g := growth{kv: kv, set: set}
	var puts []*wire.PutRequest
	collect(t, p, &puts, &g.deleted)
	if len(puts) == 0 {
		return nil
	}
	g.deleted = union(g.deleted)
	for _, put := range puts {
		g.put(put)
	}
	for _, r := range g.deleted {
		g.delete(r)
	}
	return g.refuse()
}

// collect are the operations of a txn that will run.
func collect(t *wire.TxnRequest, p *path, puts *[]*wire.PutRequest, deleted *[]wire.Range) {
	nested := p.nested
	for _, op := range p.branch(t) {
		switch {
		case op.Put != nil:
			*puts = append(*puts, op.Put)
		case op.Delete != nil:
			*deleted = append(*deleted, wire.ParseRange(op.Delete.Key, op.Delete.End))
		case op.Txn != nil:
			collect(op.Txn, &nested[0], puts, deleted)
			nested = nested[1:]
		}
	}
}

// union is the same keys in ranges that have none in common, ascending.
func union(ranges []wire.Range) []wire.Range {
	ranges = slices.DeleteFunc(ranges, wire.Range.Empty)
	slices.SortFunc(ranges, func(a, b wire.Range) int { return strings.Compare(a.Lo, b.Lo) })
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out); n > 0 && (out[n-1].Hi == "" || r.Lo <= out[n-1].Hi) {
			if last := &out[n-1]; last.Hi != "" && (r.Hi == "" || r.Hi > last.Hi) {
				last.Hi = r.Hi
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// growth is by how much a request changes what is below the prefixes that it puts keys to. The API lets no request put a key
// twice. A key that is put and then deleted, which an open range may do, counts as if it stayed.
type growth struct {
	kv      mvcc.View
	set     *limits.Set
	deleted []wire.Range // ascending, none overlaps another
	of      []grown
	place   map[*limits.Rule]int // in of
}

type grown struct {
	rule        *limits.Rule
	keys, bytes int64
}

func (g *growth) put(p *wire.PutRequest) {
	if p.IgnoreValue {
		return // the key and its value stay
	}
	key := wire.BytesString(p.Key)
	keys, bytes := int64(1), int64(len(p.Key)+len(p.Value))
	if old := g.kv.Get(key); old != "" && !g.deletes(key) {
		keys, bytes = 0, int64(len(p.Value)-len(old.Fields().Value))
	}
	g.set.Covering(key, func(r *limits.Rule) {
		if !r.Quota() {
			return
		}
		i, ok := g.place[r]
		if !ok {
			if g.place == nil {
				g.place = map[*limits.Rule]int{}
			}
			i = len(g.of)
			g.place[r], g.of = i, append(g.of, grown{rule: r})
		}
		g.of[i].keys += keys
		g.of[i].bytes += bytes
	})
}

func (g *growth) deletes(key string) bool {
	i := sort.Search(len(g.deleted), func(i int) bool { return g.deleted[i].Lo > key }) - 1
	return i >= 0 && g.deleted[i].Contains(key)
}

// delete takes account of keys that go. Prefixes that nothing is put to need none.
func (g *growth) delete(r wire.Range) {
	key, single := r.Single()
	var old wire.KV
	if single {
		if old = g.kv.Get(key); old == "" {
			return
		}
	}
	g.set.Touching(r, func(rule *limits.Rule) {
		i, ok := g.place[rule]
		switch {
		case !ok:
		case single:
			g.of[i].keys--
			g.of[i].bytes -= int64(len(key) + len(old.Fields().Value))
		default:
			both := r.Intersect(rule.Range())
			g.of[i].keys -= int64(g.kv.Count(both))
			g.of[i].bytes -= g.kv.Bytes(both)
		}
	})
}

// refuse tells which quota would be exceeded. What takes nothing more is let pass also where there is too much already.
func (g *growth) refuse() error {
	for _, x := range g.of {
		keys := x.rule.Range()
		if x.rule.MaxKeys > 0 && x.keys > 0 {
			if n := int64(g.kv.Count(keys)) + x.keys; n > x.rule.MaxKeys {
				return &limits.Exceeded{Rule: x.rule, What: limits.Keys, Would: n}
			}
		}
		if x.rule.MaxBytes > 0 && x.bytes > 0 {
			if n := g.kv.Bytes(keys) + x.bytes; n > x.rule.MaxBytes {
				return &limits.Exceeded{Rule: x.rule, What: limits.Bytes, Would: n}
			}
		}
	}
	return nil
}
