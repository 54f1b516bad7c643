package enginetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
)

// model is the plain map that an engine must equal: space byte and key.
type model map[string]string

func (m model) delRange(s engine.Space, lo, hi []byte) {
	for k := range m {
		if in(k, s, lo, hi) {
			delete(m, k)
		}
	}
}

func in(k string, s engine.Space, lo, hi []byte) bool {
	return k[0] == byte(s) && k[1:] >= string(lo) && (hi == nil || k[1:] < string(hi))
}

// list renders the pairs of a range in order.
func (m model) list(s engine.Space, lo, hi []byte) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if in(k, s, lo, hi) {
			out = append(out, k[1:]+"="+m[k])
		}
	}
	return out
}

func listOf(t *testing.T, from scanner, s engine.Space, lo, hi []byte) []string {
	t.Helper()
	var out []string
	require.NoError(t, from.Scan(s, lo, hi, func(k, v []byte) bool {
		out = append(out, string(k)+"="+string(v))
		return true
	}))
	return out
}

func requireEqual(t *testing.T, want model, got scanner, what string) {
	t.Helper()
	for _, s := range engine.Spaces {
		require.Equal(t, want.list(s, nil, nil), listOf(t, got, s, nil, nil), "%s: %s", what, s.Bucket())
	}
}

// workload makes random batches; the same seed gives the same batches.
type workload struct{ rng *rand.Rand }

func newWorkload(seed uint64) *workload {
	return &workload{rand.New(rand.NewPCG(seed, 1))}
}

func (w *workload) space() engine.Space {
	return engine.Spaces[w.rng.IntN(3)*5] // the first, a middle one, the last
}

func (w *workload) key() []byte {
	k := fmt.Appendf(nil, "%02d", w.rng.IntN(40))
	if w.rng.IntN(8) == 0 {
		k = append(k, 0xff)
	}
	return k
}

func (w *workload) value() []byte {
	v := make([]byte, w.rng.IntN(20))
	if w.rng.IntN(10) == 0 {
		v = make([]byte, w.rng.IntN(6000))
	}
	for i := range v {
		v[i] = byte('a' + w.rng.IntN(26))
	}
	return v
}

func (w *workload) bounds() (lo, hi []byte) {
	if w.rng.IntN(6) > 0 {
		lo = w.key()
	}
	if w.rng.IntN(6) > 0 {
		hi = w.key()
	}
	return lo, hi
}

// fill adds a few random changes to b and to m.
func (w *workload) fill(b engine.Batch, m model) {
	for range w.rng.IntN(12) {
		s := w.space()
		switch n := w.rng.IntN(20); {
		case n < 14:
			k, v := w.key(), w.value()
			b.Set(s, k, v)
			m[string(byte(s))+string(k)] = string(v)
		case n < 19:
			k := w.key()
			b.Delete(s, k)
			delete(m, string(byte(s))+string(k))
		default:
			lo, hi := w.bounds()
			b.DeleteRange(s, lo, hi)
			m.delRange(s, lo, hi)
		}
	}
}

func testMetamorphic(t *testing.T, h Harness) {
	type held struct {
		view engine.View
		want model
	}
	for seed := range uint64(3) {
		e, w, m := h.Open(t), newWorkload(seed), model{}
		commit(t, e, func(b engine.Batch) {
			for _, s := range engine.Spaces {
				b.DeleteRange(s, nil, nil) // the harness keeps the content
			}
		})
		var views []held
		for range 400 {
			switch n := w.rng.IntN(20); {
			case n < 12:
				b := e.NewBatch()
				w.fill(b, m)
				require.NoError(t, e.Commit(b))
			case n < 15:
				s := w.space()
				lo, hi := w.bounds()
				require.Equal(t, m.list(s, lo, hi), listOf(t, e, s, lo, hi), "%s %q..%q", s, lo, hi)
			case n < 17:
				s, k := w.space(), w.key()
				got, ok, err := e.Get(s, k)
				require.NoError(t, err)
				want, wantOK := m[string(byte(s))+string(k)]
				require.Equal(t, wantOK, ok)
				require.Equal(t, want, string(got))
			case n < 18:
				views = append(views, held{e.View(), maps.Clone(m)})
			case n < 19 && len(views) > 0:
				i := w.rng.IntN(len(views))
				requireEqual(t, views[i].want, views[i].view, "held view")
				views[i].view.Release()
				views = slices.Delete(views, i, i+1)
			default:
				require.NoError(t, e.Flush())
			}
		}
		requireEqual(t, m, e, "at the end")
		for _, v := range views {
			requireEqual(t, v.want, v.view, "held view")
			v.view.Release()
		}
		require.NoError(t, e.Flush())
		require.NoError(t, e.Close())
		e = h.Open(t)
		requireEqual(t, m, e, "opened again")
		require.NoError(t, e.Close())
	}
}

// testCrash commits numbered batches, crashes, and looks which prefix is left.
func testCrash(t *testing.T, h Harness) {
	for seed := range uint64(12) {
		e, w := h.Open(t), newWorkload(100+seed)
		counter := []byte("counter")
		// states[i] is the content after i batches; they go on over crashes.
		states := []model{contentOf(t, e)}
		flushed := 0
		for round := range 3 {
			for range 5 + w.rng.IntN(40) {
				m := maps.Clone(states[len(states)-1])
				b := e.NewBatch()
				w.fill(b, m)
				n := fmt.Sprint(seed, round, len(states))
				b.Set(engine.Meta, counter, []byte(n))
				m[string(byte(engine.Meta))+string(counter)] = n
				require.NoError(t, e.Commit(b))
				states = append(states, m)
				if w.rng.IntN(10) == 0 {
					require.NoError(t, e.Flush())
					flushed = len(states) - 1
				}
			}
			e = h.Crash(t, e, seed*10+uint64(round))
			value, _, err := e.Get(engine.Meta, counter)
			require.NoError(t, err)
			left := slices.IndexFunc(states, func(m model) bool {
				return m[string(byte(engine.Meta))+string(counter)] == string(value)
			})
			require.GreaterOrEqual(t, left, flushed, "flushed batches were lost, or a state was made up")
			requireEqual(t, states[left], e, "after the crash")
			states, flushed = states[left:left+1], 0
		}
		require.NoError(t, e.Close())
	}
}

func contentOf(t *testing.T, e engine.Engine) model {
	t.Helper()
	m := model{}
	for _, s := range engine.Spaces {
		require.NoError(t, e.Scan(s, nil, nil, func(k, v []byte) bool {
			m[string(byte(s))+string(k)] = string(v)
			return true
		}))
	}
	return m
}
