// Package enginetest is the conformance suite that every engine passes.
//
// It must never know which engine it runs: what differs between engines is in
// Harness.
package enginetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
)

// Harness makes engines of one kind for one test.
type Harness interface {
	// Open returns the engine, with what it held before.
	Open(t *testing.T) engine.Engine
	// Crash ends e as a power loss would and returns its successor.
	Crash(t *testing.T, e engine.Engine, seed uint64) engine.Engine
}

// Run runs the suite; fresh makes an empty harness.
func Run(t *testing.T, fresh func(t *testing.T) Harness) {
	cases := []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"an empty engine holds nothing", testEmpty},
		{"what is committed can be read", testReadBack},
		{"spaces are apart", testSpaces},
		{"changes of a batch apply in order", testOrder},
		{"ranges are half open", testRanges},
		{"a view does not move", testView},
		{"a batch with a mistake applies nothing", testMistakes},
		{"a released or closed engine gives errors", testMisuse},
		{"arguments and results are copies", testCopies},
		{"scans stop and nest", testScan},
		{"readers run beside a writer", testConcurrent},
		{"the content equals a plain map", testMetamorphic},
		{"a crash leaves a prefix of the commits", testCrash},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, fresh(t)) })
	}
}

// commit applies changes given as functions on one batch.
func commit(t *testing.T, e engine.Engine, changes ...func(engine.Batch)) {
	t.Helper()
	b := e.NewBatch()
	for _, c := range changes {
		c(b)
	}
	require.NoError(t, e.Commit(b))
}

func set(s engine.Space, key, value string) func(engine.Batch) {
	return func(b engine.Batch) { b.Set(s, []byte(key), []byte(value)) }
}

func del(s engine.Space, key string) func(engine.Batch) {
	return func(b engine.Batch) { b.Delete(s, []byte(key)) }
}

func delRange(s engine.Space, lo, hi []byte) func(engine.Batch) {
	return func(b engine.Batch) { b.DeleteRange(s, lo, hi) }
}

type scanner interface {
	Scan(s engine.Space, lo, hi []byte, fn func(key, value []byte) bool) error
}

// dump renders a range as "k=v k=v".
func dump(t *testing.T, from scanner, s engine.Space, lo, hi []byte) string {
	t.Helper()
	out := ""
	require.NoError(t, from.Scan(s, lo, hi, func(k, v []byte) bool {
		if out != "" {
			out += " "
		}
		out += fmt.Sprintf("%s=%s", k, v)
		return true
	}))
	return out
}

func testEmpty(t *testing.T, h Harness) {
	e := h.Open(t)
	for _, s := range engine.Spaces {
		_, ok, err := e.Get(s, []byte("k"))
		require.NoError(t, err)
		require.False(t, ok)
		require.Empty(t, dump(t, e, s, nil, nil))
	}
	require.NoError(t, e.Flush())
	commit(t, e) // an empty batch
	require.NoError(t, e.Flush())
}

func testReadBack(t *testing.T, h Harness) {
	e := h.Open(t)
	b := e.NewBatch()
	b.Set(engine.Key, []byte("a"), []byte("12"))
	b.Set(engine.Key, []byte("b"), nil)
	b.Delete(engine.Key, []byte("zz"))
	require.Equal(t, 3, b.Len())
	require.Equal(t, 6, b.Bytes())
	require.NoError(t, e.Commit(b))
	v, ok, err := e.Get(engine.Key, []byte("a"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "12", string(v))
	v, ok, err = e.Get(engine.Key, []byte("b"))
	require.NoError(t, err)
	require.True(t, ok, "an empty value is a value")
	require.Empty(t, v)
	require.Positive(t, e.Size().Total)
	require.Positive(t, e.Size().InUse)
	require.NoError(t, e.Flush())
	require.Equal(t, "a=12 b=", dump(t, e, engine.Key, nil, nil))
}

func testSpaces(t *testing.T, h Harness) {
	e := h.Open(t)
	for _, s := range engine.Spaces {
		commit(t, e, set(s, "\x00", s.Bucket()), set(s, "\xff\xff", s.Bucket()))
	}
	for _, s := range engine.Spaces {
		want := fmt.Sprintf("\x00=%s \xff\xff=%s", s.Bucket(), s.Bucket())
		require.Equal(t, want, dump(t, e, s, nil, nil))
	}
	commit(t, e, delRange(engine.Meta, nil, nil))
	for _, s := range engine.Spaces {
		require.Equal(t, s == engine.Meta, dump(t, e, s, nil, nil) == "", s.Bucket())
	}
}

func testOrder(t *testing.T, h Harness) {
	e := h.Open(t)
	commit(t, e, set(engine.Key, "a", "1"), set(engine.Key, "a", "2"), del(engine.Key, "a"), set(engine.Key, "a", "3"))
	require.Equal(t, "a=3", dump(t, e, engine.Key, nil, nil))
	commit(t, e, set(engine.Key, "b", "1"), delRange(engine.Key, nil, nil), set(engine.Key, "c", "1"))
	require.Equal(t, "c=1", dump(t, e, engine.Key, nil, nil))
	commit(t, e, set(engine.Key, "c", "2"), del(engine.Key, "c"))
	require.Empty(t, dump(t, e, engine.Key, nil, nil))
}

func testRanges(t *testing.T, h Harness) {
	fill := func(e engine.Engine) {
		for _, k := range []string{"a", "b", "ba", "c", "d"} {
			commit(t, e, set(engine.Lease, k, ""))
		}
	}
	cases := []struct{ lo, hi, scan, left string }{
		{"a", "b", "a=", "b= ba= c= d="},
		{"b", "c", "b= ba=", "a= c= d="},
		{"b", "b", "", "a= b= ba= c= d="},
		{"c", "b", "", "a= b= ba= c= d="},
		{"b\x00", "d", "ba= c=", "a= b= d="},
		{"x", "z", "", "a= b= ba= c= d="},
	}
	e := h.Open(t)
	for _, c := range cases {
		fill(e)
		lo, hi := []byte(c.lo), []byte(c.hi)
		require.Equal(t, c.scan, dump(t, e, engine.Lease, lo, hi), "%q..%q", c.lo, c.hi)
		commit(t, e, delRange(engine.Lease, lo, hi))
		require.Equal(t, c.left, dump(t, e, engine.Lease, nil, nil), "%q..%q", c.lo, c.hi)
	}
	fill(e)
	require.Equal(t, "c= d=", dump(t, e, engine.Lease, []byte("c"), nil))
	require.Empty(t, dump(t, e, engine.Lease, nil, []byte{}), "an empty bound is below every key")
	commit(t, e, delRange(engine.Lease, []byte("c"), nil), delRange(engine.Lease, nil, []byte("b")))
	require.Equal(t, "b= ba=", dump(t, e, engine.Lease, nil, nil))
}

func testView(t *testing.T, h Harness) {
	e := h.Open(t)
	commit(t, e, set(engine.Key, "a", "1"), set(engine.Key, "b", "1"))
	old := e.View()
	defer old.Release()
	commit(t, e, set(engine.Key, "a", "2"), del(engine.Key, "b"), set(engine.Key, "c", "2"))
	require.NoError(t, e.Flush())
	commit(t, e, delRange(engine.Key, nil, nil))
	require.NoError(t, e.Flush())
	require.Equal(t, "a=1 b=1", dump(t, old, engine.Key, nil, nil))
	v, ok, err := old.Get(engine.Key, []byte("b"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "1", string(v))
	_, ok, err = old.Get(engine.Key, []byte("c"))
	require.NoError(t, err)
	require.False(t, ok)
	require.Empty(t, dump(t, e, engine.Key, nil, nil))
}

func testConcurrent(t *testing.T, h Harness) {
	e := h.Open(t)
	const commits = 300
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				v := e.View()
				a, _, errA := v.Get(engine.Key, []byte("a"))
				b, _, errB := v.Get(engine.Meta, []byte("b"))
				v.Release()
				if errA != nil || errB != nil || string(a) != string(b) {
					t.Errorf("a view shows half a batch: %q %q (%v %v)", a, b, errA, errB)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range commits {
		n := fmt.Sprint(i)
		commit(t, e, set(engine.Key, "a", n), set(engine.Meta, "b", n))
		if i%100 == 0 {
			require.NoError(t, e.Flush())
		}
	}
	close(stop)
	readers.Wait()
}
