package sim

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// sums stand for everything that applying has brought about. Each kind has its own, so that they do not depend on how
// entries were grouped.
type sums struct{ results, changes, events, leases, conf, sessions uint64 }

func mix(h uint64, parts ...string) uint64 {
	for _, p := range parts {
		h = mixInt(h, int64(len(p)))
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
	}
	return h
}

func mixInt(h uint64, parts ...int64) uint64 {
	for _, p := range parts {
		h = (h ^ uint64(p)) * 1099511628211
		h ^= h >> 29
	}
	return h
}

func (s *sums) add(eff *machine.Effects) {
	for i := range eff.Results {
		s.result(&eff.Results[i])
	}
	for i := range eff.Changes {
		c := &eff.Changes[i]
		s.changes = mix(mixInt(s.changes, c.Rev.Main, c.Rev.Sub), string(c.KV), string(c.Prev))
	}
	for _, e := range eff.Events {
		s.events = mixEvent(s.events, e)
	}
	for _, e := range eff.Leases {
		s.leases = mixInt(s.leases, e.Lease.ID, e.Lease.TTL, e.Lease.RemainingSeconds, int64(e.What))
	}
	for _, x := range eff.Sessions {
		s.sessions = mix(s.sessions, fmt.Sprintf("%T %v", x, x))
	}
	for _, cc := range eff.Conf {
		s.conf = mix(s.conf, string(marshalConf(cc)))
	}
}

func mixEvent(h uint64, e *tree.Event) uint64 {
	h = mixInt(h, int64(e.Action), int64(e.Index))
	if e.Refresh {
		h = mixInt(h, 1)
	}
	for _, n := range []*tree.Node{e.Node, e.Prev} {
		if n != nil {
			h = mixInt(mix(h, n.Path, n.Value), int64(n.Created), int64(n.Modified), n.Expires)
		}
	}
	return h
}

func (s *sums) result(r *machine.Result) {
	h := mixInt(s.results, int64(r.ID), int64(r.Kind), r.Rev, int64(r.Term), r.Deleted, r.Lease.ID, r.Lease.TTL, r.CompactRev)
	if r.Err != nil {
		h = mix(h, r.Err.Error())
	}
	if r.Txn != nil {
		h = mix(h, fmt.Sprint(r.Txn.Succeeded))
		for _, op := range r.Txn.Ops {
			h = mixInt(h, op.Rev, op.Deleted)
			if op.Range != nil {
				for _, kv := range op.Range.KVs {
					h = mix(h, string(kv))
				}
			}
		}
	}
	h = mixInt(mix(h, r.Token), int64(r.AuthRevision))
	if r.Event != nil {
		h = mixEvent(h, r.Event)
	}
	s.results = mix(h, string(r.Prev))
}

var finishedCompact = "finishedCompactRev" // how far a member has got with removing is its own affair

// stateHash is a hash of a state that does not depend on how far a compaction has got.
func stateHash(eng *mem.Engine, v *machine.View) uint64 {
	e := eng.View()
	defer e.Release()
	h := uint64(14695981039346656037)
	for _, s := range engine.Spaces[1:] {
		must(e.Scan(s, nil, nil, func(k, value []byte) bool {
			if string(k) != finishedCompact {
				h = mix(h, string(k), string(value))
			}
			return true
		}))
	}
	// The limits as the machine has them at hand, and what it takes to be below them.
	for r := range v.Limits.All() {
		h = mixInt(mix(h, string(r.Append(nil))), int64(v.KV.Count(r.Range())), v.KV.Bytes(r.Range()))
	}
	// Of the keyspace: what lives, what lived at the compaction, and every record since. (HashKV would do, but where nothing
	// lives it depends on what a compaction has removed, as etcd's does.)
	compacted := max(v.KV.CompactRev(), 0)
	for _, rev := range []int64{0, compacted} {
		if rev == 0 || rev < v.KV.Rev() {
			r, err := v.KV.Range(&wire.RangeRequest{Key: allKeys, End: allKeys, Revision: rev})
			must(err)
			for _, kv := range r.KVs {
				h = mix(h, string(kv))
			}
		}
	}
	must(e.Scan(engine.Key, binary.BigEndian.AppendUint64(nil, uint64(compacted+1)), nil, func(k, value []byte) bool {
		h = mix(h, string(k), string(value))
		return true
	}))
	return mixInt(h, v.KV.Rev(), v.KV.CompactRev())
}

var allKeys = []byte{0}

// dump is the content of an engine as text.
func dump(e engine.Engine) string {
	var b strings.Builder
	for _, s := range engine.Spaces {
		must(e.Scan(s, nil, nil, func(k, v []byte) bool {
			fmt.Fprintf(&b, "%v %q %q\n", s.Bucket(), k, v)
			return true
		}))
	}
	return b.String()
}

// difference is the first line in which two engines differ.
func difference(a, b engine.Engine) string {
	x, y := strings.Split(dump(a), "\n"), strings.Split(dump(b), "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("%s / %s", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(x), len(y))
}

func compactAll(m *machine.Machine) {
	for {
		if _, _, due := m.Compaction(); !due {
			return
		}
		_, _, err := m.CompactStep(100)
		must(err)
	}
}
