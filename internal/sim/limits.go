package sim

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Quotas come, change and go for prefixes of quotaKeys, which nothing but fillQuotas puts keys to.
const quotaKeys = "q/"

var quotaPrefixes = []string{"q/", "q/1", "q/12", "q/2"}

// changeLimits sets or removes a quota, or asks for one that there cannot be.
func (s *system) changeLimits(m *member) {
	r := limits.Rule{Target: limits.Target{Kind: limits.Prefix, Name: []byte(pick(s.w, quotaPrefixes))},
		MaxKeys: int64(s.w.rng.IntN(6)), MaxBytes: int64(s.w.rng.IntN(80))}
	q := wire.V2Request{Method: wire.V2Put, Path: machine.LimitsRecord, Val: string(r.Append(nil))}
	if s.w.chance(25) {
		q.Method, q.Val = wire.V2Delete, string(r.Target.Append(nil))
	}
	if s.w.chance(5) {
		q.Val = "{"
	}
	m.enqueue(&ticket{data: m.command(wire.KindV2, q.Append(nil)), id: s.requests})
}

// fillQuotas puts and deletes keys below quotas, some of them under a lease that ends by itself.
func (s *system) fillQuotas(m *member) {
	key := func() []byte { return fmt.Appendf(nil, "%s%d%d", quotaKeys, 1+s.w.rng.IntN(2), s.w.rng.IntN(5)) }
	value := func() []byte { return []byte(strings.Repeat("v", s.w.rng.IntN(25))) }
	const lease = 700
	switch p := s.w.rng.IntN(100); {
	case p < 50:
		q := &pb.PutRequest{Key: key(), Value: value()}
		if s.w.chance(20) {
			q.Lease = lease
		}
		m.propose(wire.KindPut, q, nil)
	case p < 75:
		put := func(k []byte) *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: k, Value: value()}}}
		}
		a, b := key(), key()
		q := &pb.TxnRequest{Success: []*pb.RequestOp{put(a)}}
		if string(a) != string(b) {
			q.Success = append(q.Success, put(b))
		}
		if end := key(); s.w.chance(50) && string(a) >= string(end) && string(b) >= string(end) {
			q.Success = append(q.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
				RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(quotaKeys), RangeEnd: end}}})
		}
		m.propose(wire.KindTxn, q, nil)
	case p < 90:
		m.propose(wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: key(), RangeEnd: pick(s.w, [][]byte{nil, []byte("q/3")})}, nil)
	default:
		m.propose(wire.KindLeaseGrant, &pb.LeaseGrantRequest{ID: lease, TTL: 2}, nil)
	}
}

// quotaModel is the keys below quotas in their simplest form, and the quotas. It is told each entry once.
type quotaModel struct {
	now   map[string]int // bytes of a key and its value
	rules map[string]*limits.Rule
	rep   *Report
}

func usage(of map[string]int, prefix string) (keys, bytes int64) {
	for k, n := range of {
		if strings.HasPrefix(k, prefix) {
			keys, bytes = keys+1, bytes+int64(n)
		}
	}
	return keys, bytes
}

// exceeds reports whether a step takes more than a quota allows.
func (t *quotaModel) exceeds(next map[string]int) bool {
	for prefix, r := range t.rules {
		keys, bytes := usage(t.now, prefix)
		nextKeys, nextBytes := usage(next, prefix)
		if r.MaxKeys > 0 && nextKeys > max(keys, r.MaxKeys) || r.MaxBytes > 0 && nextBytes > max(bytes, r.MaxBytes) {
			return true
		}
	}
	return false
}

// applied compares what an entry has done with what the quotas allow, and the machine's count with a count of all keys.
func (t *quotaModel) applied(c wire.Command, eff *machine.Effects, v *machine.View) {
	var refused *limits.Exceeded
	if len(eff.Results) == 1 && errors.As(eff.Results[0].Err, &refused) {
		t.rep.Exceeded++
		if len(eff.Changes) > 0 {
			fail("quota", "a command that is refused with %v has changed something", refused)
		}
		if !t.exceeds(t.wanted(&c)) {
			fail("quota", "a command is refused with %v, and would not have exceeded anything", refused)
		}
	}
	next := maps.Clone(t.now)
	for _, x := range eff.Changes {
		key := x.KV.Key()
		switch {
		case !strings.HasPrefix(key, quotaKeys):
		case x.Deleted():
			delete(next, key)
		default:
			next[key] = len(key) + len(x.KV.Fields().Value)
		}
	}
	if t.exceeds(next) {
		fail("quota", "a command of kind %v has made %v of %v, with %v", c.Kind, next, t.now, sortedKeys(t.rules))
	}
	t.now = next
	if c.Kind == wire.KindV2 && len(eff.Results) == 1 && eff.Results[0].Err == nil {
		t.learn(&c)
	}
	if v.Limits.Len() != len(t.rules) {
		fail("quota", "there are %d limits, not %d", v.Limits.Len(), len(t.rules))
	}
	for r := range v.Limits.All() {
		keys, bytes := usage(t.now, string(r.Name))
		if want := t.rules[string(r.Name)]; want == nil || string(want.Append(nil)) != string(r.Append(nil)) {
			fail("quota", "%v is limited to %s", &r.Target, r.Append(nil))
		}
		if k, n := int64(v.KV.Count(r.Range())), v.KV.Bytes(r.Range()); k != keys || n != bytes {
			fail("quota", "below %v are %d keys and %d bytes, not %d and %d", &r.Target, keys, bytes, k, n)
		}
	}
}

// learn takes note of a change of the limits.
func (t *quotaModel) learn(c *wire.Command) {
	q, err := wire.ParseV2Request(c.Body)
	must(err)
	if q.Path != machine.LimitsRecord {
		return
	}
	t.rep.Limits++
	if q.Method == wire.V2Delete {
		x, err := limits.ParseTarget([]byte(q.Val))
		must(err)
		delete(t.rules, string(x.Name))
		return
	}
	r, err := limits.ParseRule([]byte(q.Val))
	must(err)
	t.rules[string(r.Name)] = r
}

// wanted is what there would be if a command were not refused.
func (t *quotaModel) wanted(c *wire.Command) map[string]int {
	next := maps.Clone(t.now)
	puts, deletes := []*wire.PutRequest{}, []*wire.DeleteRequest{}
	switch c.Kind {
	case wire.KindPut:
		p, _ := wire.ParsePut(c.Body)
		puts = append(puts, &p)
	case wire.KindTxn:
		x, _ := wire.ParseTxn(c.Body)
		for _, op := range x.Success {
			if op.Put != nil {
				puts = append(puts, op.Put)
			} else if op.Delete != nil {
				deletes = append(deletes, op.Delete)
			}
		}
	}
	for _, d := range deletes {
		r := wire.ParseRange(d.Key, d.End)
		maps.DeleteFunc(next, func(k string, _ int) bool { return r.Contains(k) })
	}
	for _, p := range puts {
		next[string(p.Key)] = len(p.Key) + len(p.Value)
	}
	return next
}
