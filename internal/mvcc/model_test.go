package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

// model is the keyspace as the contract describes it: every key's records, in order, and nothing clever.
type model struct {
	rev, compact int64
	keys         map[string][]wire.Change
}

func (m *model) at(key string, rev int64) wire.KV {
	var kv wire.KV
	for _, c := range m.keys[key] {
		if c.Rev.Main <= rev {
			kv = c.KV
			if c.Deleted() {
				kv = ""
			}
		}
	}
	return kv
}

func (m *model) live(r wire.Range, rev int64) (out []wire.KV) {
	for k := range m.keys {
		if r.Contains(k) && !r.Empty() {
			if kv := m.at(k, rev); kv != "" {
				out = append(out, kv)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key() < out[j].Key() })
	return out
}

func (m *model) put(key, value string, rev wire.Rev, lease int64) {
	f := wire.Fields{Key: key, Value: value, CreateRevision: rev.Main, ModRevision: rev.Main, Version: 1, LeaseID: lease}
	if old := m.at(key, rev.Main); old != "" {
		o := old.Fields()
		f.CreateRevision, f.Version = o.CreateRevision, o.Version+1
	}
	m.keys[key] = append(m.keys[key], wire.Change{Rev: rev, KV: wire.MakeKV(f)})
}

func (m *model) delete(r wire.Range, rev wire.Rev) (n int64) {
	for _, kv := range m.live(r, rev.Main) {
		k := kv.Key()
		m.keys[k] = append(m.keys[k], wire.Change{Rev: wire.Rev{Main: rev.Main, Sub: rev.Sub + n}, KV: wire.Tombstone(k)})
		n++
	}
	return n
}

// pair runs a store and its model side by side.
type pair struct {
	t     *testing.T
	rng   *rand.Rand
	eng   engine.Engine
	store *Store
	model model
}

func newPair(t *testing.T, seed uint64) *pair {
	eng := mem.New()
	s, err := Open(eng, nil)
	require.NoError(t, err)
	return &pair{t: t, rng: rand.New(rand.NewPCG(seed, 1)), eng: eng, store: s, model: model{rev: 1, compact: -1, keys: map[string][]wire.Change{}}}
}

func (p *pair) key() string { return fmt.Sprintf("k%02d", p.rng.IntN(60)) }

func (p *pair) randomRange() wire.Range {
	switch p.rng.IntN(5) {
	case 0:
		return wire.One(p.key())
	case 1:
		return wire.Range{Lo: p.key()}
	case 2:
		return wire.Range{Lo: "\x00"}
	default:
		a, b := p.key(), p.key()
		return wire.Range{Lo: a, Hi: b} // empty when b <= a
	}
}

// write does one transaction of a few changes.
func (p *pair) write() {
	b := p.eng.NewBatch()
	n := 1 + p.rng.IntN(4)
	rev := wire.Rev{Main: p.model.rev + 1}
	for range n {
		if p.rng.IntN(4) == 0 {
			r := p.randomRange()
			want := p.model.delete(r, rev)
			require.Equal(p.t, want, p.store.Delete(b, r, nil))
			rev.Sub += want
			continue
		}
		k, v, l := p.key(), strings.Repeat("v", p.rng.IntN(40)), int64(p.rng.IntN(3))
		p.model.put(k, v, rev, l)
		p.store.Put(b, []byte(k), []byte(v), l)
		rev.Sub++
	}
	require.Equal(p.t, rev.Sub > 0, p.store.Wrote())
	p.store.End()
	before := p.model.rev
	if rev.Sub > 0 {
		p.model.rev++
	}
	for _, c := range p.store.TakeChanges() {
		want := p.model.at(c.KV.Key(), before)
		if c.KV.Fields().CreateRevision == c.Rev.Main {
			want = ""
		}
		require.Equal(p.t, want, c.Prev)
	}
	require.NoError(p.t, p.eng.Commit(b))
	require.Equal(p.t, p.model.rev, p.store.Rev())
}

func (p *pair) compact() {
	rev := p.model.compact + int64(p.rng.IntN(10)) - 2
	b := p.eng.NewBatch()
	err := p.store.Compact(b, rev)
	require.NoError(p.t, p.eng.Commit(b))
	switch {
	case rev <= p.model.compact:
		require.Equal(p.t, wire.ErrCompacted, err)
	case rev > p.model.rev:
		require.Equal(p.t, wire.ErrFutureRev, err)
	default:
		require.NoError(p.t, err)
		p.model.compact = rev
	}
}

func (p *pair) step() {
	b := p.eng.NewBatch()
	_, _, err := p.store.Step(b, 1+p.rng.IntN(5))
	require.NoError(p.t, err)
	require.NoError(p.t, p.eng.Commit(b))
}

func (p *pair) reopen() {
	leases := map[string]int64{}
	s, err := Open(p.eng, func(l int64, k string) { leases[k] = l })
	require.NoError(p.t, err)
	p.store = s
	for _, kv := range p.model.live(wire.Range{}, p.model.rev) {
		f := kv.Fields()
		require.Equal(p.t, f.LeaseID, leases[f.Key])
		delete(leases, f.Key)
	}
	require.Empty(p.t, leases)
}

// check compares random reads of a view with the model.
func (p *pair) check(v View, rev, compact int64) {
	r := p.randomRange()
	q := wire.RangeRequest{Key: []byte(r.Lo), End: []byte(r.Hi)}
	if key, ok := r.Single(); ok {
		q.Key, q.End = []byte(key), nil
	} else if r.Hi == "" {
		q.End = []byte{0}
	}
	q.Revision = rev - int64(p.rng.IntN(12)) + 2
	if p.rng.IntN(3) == 0 {
		q.Revision = 0
	}
	q.Limit = int64(p.rng.IntN(8))
	q.CountOnly = p.rng.IntN(6) == 0
	q.Order, q.Target = wire.SortOrder(p.rng.IntN(3)), wire.SortTarget(p.rng.IntN(5))
	if p.rng.IntN(4) == 0 {
		q.MinMod, q.MaxCreate = int64(p.rng.IntN(int(rev)+1)), int64(p.rng.IntN(int(rev)+1))
	}
	res, err := v.Range(&q)
	at := q.Revision
	if at <= 0 {
		at = rev
	}
	switch {
	case at > rev:
		require.Equal(p.t, wire.ErrFutureRev, err)
		return
	case at < compact:
		require.Equal(p.t, wire.ErrCompacted, err)
		return
	}
	require.NoError(p.t, err)
	all := p.model.live(r, at)
	require.EqualValues(p.t, len(all), res.Count, "%+v", q)
	if q.CountOnly {
		require.Empty(p.t, res.KVs)
		return
	}
	want, more := p.expect(all, &q)
	require.Equal(p.t, more, res.More, "%+v", q)
	require.Equal(p.t, len(want), len(res.KVs))
	for i := range want {
		if q.Target == wire.SortByKey {
			require.Equal(p.t, want[i], res.KVs[i])
		} else {
			// Equal targets may come in any order.
			require.Equal(p.t, sortKey(want[i], q.Target), sortKey(res.KVs[i], q.Target))
		}
	}
}

func sortKey(kv wire.KV, t wire.SortTarget) string {
	f := kv.Fields()
	switch t {
	case wire.SortByVersion:
		return fmt.Sprintf("%020d", f.Version)
	case wire.SortByCreate:
		return fmt.Sprintf("%020d", f.CreateRevision)
	case wire.SortByMod:
		return fmt.Sprintf("%020d", f.ModRevision)
	case wire.SortByValue:
		return f.Value
	}
	return f.Key
}

// expect does to all what section 7 of the contract says.
func (p *pair) expect(all []wire.KV, q *wire.RangeRequest) (out []wire.KV, more bool) {
	natural := q.Order == wire.SortNone || q.Target == wire.SortByKey && q.Order == wire.SortAscend
	out = slices.Clone(all)
	if q.Limit > 0 && natural && !q.Filtered() && len(out) > int(q.Limit)+1 {
		out = out[:q.Limit+1]
	}
	out = slices.DeleteFunc(out, func(kv wire.KV) bool {
		f := kv.Fields()
		return q.MinMod != 0 && f.ModRevision < q.MinMod || q.MaxCreate != 0 && f.CreateRevision > q.MaxCreate
	})
	sort.SliceStable(out, func(i, j int) bool {
		a, b := sortKey(out[i], q.Target), sortKey(out[j], q.Target)
		if q.Order == wire.SortDescend {
			return a > b
		}
		return a < b
	})
	if q.Limit > 0 && len(out) > int(q.Limit) {
		return out[:q.Limit], true
	}
	return out, false
}

// checkHistory compares a watcher's view of the past with the model, in steps of random size.
func (p *pair) checkHistory(v View) {
	r := p.randomRange()
	from := max(1, p.model.compact) + int64(p.rng.IntN(8))
	var want []wire.Change
	if !r.Empty() {
		for k, cs := range p.model.keys {
			for i, c := range cs {
				// Of several changes to a key in the compacted revision itself only the last is kept.
				if c.Rev.Main == p.model.compact && i+1 < len(cs) && cs[i+1].Rev.Main == c.Rev.Main {
					continue
				}
				if r.Contains(k) && c.Rev.Main >= from {
					want = append(want, c)
				}
			}
		}
	}
	sort.Slice(want, func(i, j int) bool { return want[i].Rev.Compare(want[j].Rev) < 0 })
	var got []wire.Change
	pending := p.store.finished < p.model.compact
	if pending && from == p.model.compact {
		return // what the compaction will remove of its own revision may still be there
	}
	for next := from; next <= v.Rev(); {
		cs, n, err := v.History(r, next, v.Rev(), 1+p.rng.IntN(4), true)
		require.NoError(p.t, err)
		require.Greater(p.t, n, next)
		for _, c := range cs {
			if c.KV.Fields().CreateRevision == c.Rev.Main {
				require.Empty(p.t, c.Prev)
			} else if c.Rev.Main-1 >= p.model.compact {
				require.Equal(p.t, p.model.at(c.KV.Key(), c.Rev.Main-1), c.Prev)
			}
			c.Prev = ""
			got = append(got, c)
		}
		next = n
	}
	require.Equal(p.t, len(want), len(got))
	for i := range want {
		require.Equal(p.t, want[i], got[i])
	}
}

// checkArena compares what the arena believes to live with the index.
func (p *pair) checkArena() {
	want := map[uint32]int{}
	a := &p.store.records
	p.store.index.root.ascend(wire.Range{}, false, func(it *item) bool {
		for id := range a.slabs {
			if b := a.slabs[id].buf; len(b) > 0 && uintptr(unsafe.Pointer(unsafe.StringData(string(it.kv)))) >= uintptr(unsafe.Pointer(&b[0])) &&
				uintptr(unsafe.Pointer(unsafe.StringData(string(it.kv)))) < uintptr(unsafe.Pointer(&b[0]))+uintptr(len(b)) {
				want[uint32(id)] += footprint(len(it.kv))
			}
		}
		return true
	})
	for id := range a.slabs {
		require.Equal(p.t, want[uint32(id)], a.slabs[id].live, "slab %d", id)
	}
}

// TestArenaStaysDense overwrites keys at random: memory must not grow beyond what lives by more than its bound.
func TestArenaStaysDense(t *testing.T) {
	eng := mem.New()
	s, err := Open(eng, nil)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	const keys, size = 4000, 300
	for range 60 {
		b := eng.NewBatch()
		for range 1000 {
			s.Put(b, fmt.Appendf(nil, "key-%05d", rng.IntN(keys)), make([]byte, size), 0)
			s.End()
		}
		s.TakeChanges()
		s.Tidy(3 * 1000)
		s.View()
	}
	total := 0
	for _, x := range s.records.slabs {
		total += len(x.buf)
	}
	require.Less(t, total, keys*footprint(size+48)*2+4*slabSize)
	require.Greater(t, total, keys*size)
}

// TestAgainstModel runs random transactions, compactions, restarts and reads against the model.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := newPair(t, seed)
			type kept struct {
				v            View
				rev, compact int64
			}
			var old []kept
			for i := range 400 {
				switch p.rng.IntN(12) {
				case 0:
					p.compact()
				case 1, 2, 3:
					p.step()
				case 4:
					if i%10 == 0 {
						p.reopen()
					}
				default:
					p.write()
				}
				p.store.Tidy(p.rng.IntN(40))
				v := p.store.View()
				p.check(v, p.model.rev, p.model.compact)
				p.checkHistory(v)
				require.Equal(t, len(p.model.live(wire.Range{}, p.model.rev)), v.Keys())
				for _, r := range []wire.Range{{}, p.randomRange()} {
					bytes := int64(0)
					for _, kv := range p.model.live(r, p.model.rev) {
						bytes += int64(len(kv.Key()) + len(kv.Fields().Value))
					}
					require.Equal(t, bytes, v.Bytes(r))
				}
				if i%50 == 0 {
					old = append(old, kept{v, p.model.rev, p.model.compact})
				}
			}
			p.checkArena()
			// A view that was taken long ago still shows its own state.
			for _, k := range old {
				var got []wire.KV
				k.v.Each(wire.Range{}, func(kv wire.KV) bool { got = append(got, kv); return true })
				m := model{keys: map[string][]wire.Change{}}
				for key, cs := range p.model.keys {
					for _, c := range cs {
						if c.Rev.Main <= k.rev {
							m.keys[key] = append(m.keys[key], c)
						}
					}
				}
				require.Equal(t, m.live(wire.Range{}, k.rev), got)
				require.Equal(t, k.rev, k.v.Rev())
			}
		})
	}
}

// TestCompactionLeavesWhatIsNeeded compares storage after a finished compaction with the keep rule, record by record.
func TestCompactionLeavesWhatIsNeeded(t *testing.T) {
	for seed := range uint64(30) {
		p := newPair(t, 1000+seed)
		for range 200 {
			p.write()
			if p.rng.IntN(20) == 0 {
				p.compact()
			}
		}
		for {
			if _, _, pending := p.store.Pending(); !pending {
				break
			}
			p.step()
		}
		want := map[string]bool{}
		for _, cs := range p.model.keys {
			for i, c := range cs {
				newestAtCompact := c.Rev.Main <= p.model.compact && (i+1 == len(cs) || cs[i+1].Rev.Main > p.model.compact)
				switch {
				case c.Rev.Main > p.model.compact:
				case newestAtCompact && (!c.Deleted() || c.Rev.Main == p.model.compact):
				default:
					continue
				}
				want[string(wire.AppendRevKey(nil, c.Rev, c.Deleted()))] = true
			}
		}
		got := map[string]bool{}
		require.NoError(t, p.eng.Scan(engine.Key, nil, nil, func(k, _ []byte) bool { got[string(k)] = true; return true }))
		require.Equal(t, want, got, "seed %d", seed)
	}
}

// TestHashVectors is the table of v3-grpc.md section 16.6.
func TestHashVectors(t *testing.T) {
	eng := mem.New()
	s, err := Open(eng, nil)
	require.NoError(t, err)
	tx := func(f func(b engine.Batch)) {
		b := eng.NewBatch()
		f(b)
		s.End()
		require.NoError(t, eng.Commit(b))
	}
	check := func(rev int64, want uint32, compacted int64) {
		t.Helper()
		view := eng.View()
		defer view.Release()
		v := s.View()
		require.Equal(t, compacted, v.CompactRev())
		got, err := v.HashKV(view, rev, v.CompactRev())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	compact := func(rev int64) {
		tx(func(b engine.Batch) { require.NoError(t, s.Compact(b, rev)) })
		for done := false; !done; {
			b := eng.NewBatch()
			_, done, err = s.Step(b, 1)
			require.NoError(t, err)
			require.NoError(t, eng.Commit(b))
		}
	}
	check(1, 1084519789, -1)
	tx(func(b engine.Batch) { s.Put(b, []byte("a"), []byte("b"), 0) })
	check(2, 3628877040, -1)
	tx(func(b engine.Batch) { s.Put(b, []byte("a"), []byte("c"), 0) })
	check(3, 2695939337, -1)
	tx(func(b engine.Batch) { s.Delete(b, wire.One("a"), nil) })
	check(4, 849889012, -1)
	tx(func(b engine.Batch) { s.Put(b, []byte("x"), nil, 0) })
	check(5, 1320377550, -1)
	compact(4)
	check(5, 318548823, 4)
	tx(func(b engine.Batch) { s.Put(b, []byte("x"), []byte("y"), 0) })
	check(6, 1616350342, 4)
	compact(5)
	check(6, 244783480, 5)
}

// TestEngineFailureIsPassedOn shows that a read of history reports a broken engine instead of missing data.
func TestEngineFailureIsPassedOn(t *testing.T) {
	p := newPair(t, 7)
	for range 50 {
		p.write()
	}
	v := p.store.View()
	require.NoError(t, p.eng.Close())
	_, err := v.Range(&wire.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: v.Rev() - 20})
	require.True(t, errors.Is(err, engine.ErrClosed), "%v", err)
}

// TestTreeCountsAndOrder checks the index alone, with many keys and removals, against a sorted slice.
func TestTreeCountsAndOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	tr := newTree()
	var records arena
	alive, dead, sizes := map[string]bool{}, map[string]bool{}, map[string]int64{}
	for i := range 30000 {
		k := fmt.Sprintf("%05d", rng.IntN(8000))
		switch {
		case alive[k]:
			tr.updateLive(wire.One(k), func(it *item) bool {
				*it = it.successor(records.copy(wire.Tombstone(k), 0), wire.Rev{Main: int64(i + 2)})
				return true
			})
			delete(alive, k)
			dead[k] = true
		case dead[k] && rng.IntN(2) == 0:
			tr.remove(k)
			delete(dead, k)
		default:
			value := strings.Repeat("v", rng.IntN(20))
			tr.update(k, func(old item) (item, weight) {
				f := wire.Fields{Key: k, Value: value, CreateRevision: 1, ModRevision: int64(i + 2), Version: 1}
				return old.successor(records.make(&f, 0), wire.Rev{Main: int64(i + 2)}), weigh(len(k), len(value))
			})
			alive[k] = true
			sizes[k] = int64(len(k) + len(value))
			delete(dead, k)
		}
		if i%7 == 0 {
			tr.freeze()
		}
		if i%500 != 0 {
			continue
		}
		var keys []string
		for k := range alive {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		r := wire.Range{Lo: fmt.Sprintf("%05d", rng.IntN(8000)), Hi: fmt.Sprintf("%05d", rng.IntN(8000))}
		lo, _ := slices.BinarySearch(keys, r.Lo)
		hi, _ := slices.BinarySearch(keys, r.Hi)
		want := keys[lo:max(lo, hi)]
		require.Equal(t, len(want), tr.root.count(r))
		bytes := int64(0)
		for _, k := range want {
			bytes += sizes[k]
		}
		require.Equal(t, bytes, tr.root.bytesIn(r))
		var up, down []string
		if !r.Empty() {
			tr.root.ascend(r, true, func(it *item) bool {
				if it.live() {
					up = append(up, it.kv.Key())
				}
				return true
			})
			tr.root.descend(r, func(it *item) bool {
				if it.live() {
					down = append(down, it.kv.Key())
				}
				return true
			})
		}
		slices.Reverse(down)
		require.Equal(t, append([]string(nil), want...), up)
		require.Equal(t, up, down)
	}
}

// TestWeightOfWhatIsLoadedInChunks: a key's versions may lie in several chunks, of which the last counts.
func TestWeightOfWhatIsLoadedInChunks(t *testing.T) {
	eng := mem.New()
	s, err := Open(eng, nil)
	require.NoError(t, err)
	b := eng.NewBatch()
	var bytes, keys int64
	const n = 3000
	for round := range 3 {
		for i := range n {
			key := fmt.Sprintf("%05d", i)
			if round == 2 && i%3 == 0 {
				s.Delete(b, wire.One(key), nil)
			} else {
				value := strings.Repeat("v", (i*7+round*31)%200)
				s.Put(b, []byte(key), []byte(value), 0)
				if round == 2 {
					bytes, keys = bytes+int64(len(key)+len(value)), keys+1
				}
			}
			s.End()
		}
	}
	require.NoError(t, eng.Commit(b))
	for range 2 {
		require.Equal(t, bytes, s.View().Bytes(wire.Range{}))
		require.EqualValues(t, keys, s.View().Count(wire.Range{}))
		s, err = Open(eng, nil)
		require.NoError(t, err)
	}
}
