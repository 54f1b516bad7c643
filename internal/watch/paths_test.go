package watch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/tree"
)

// forest is a tree with those who watch it, written by the test.
type forest struct {
	t     *testing.T
	eng   engine.Engine
	tree  *tree.Tree
	paths *Paths
}

func (f *forest) Tree() *tree.View { return f.tree.View() }

func newForest(t *testing.T) *forest {
	eng := mem.New()
	tr, err := tree.Open(eng)
	require.NoError(t, err)
	f := &forest{t: t, eng: eng, tree: tr}
	f.paths = NewPaths(f, 0)
	return f
}

// do runs words of the form set:/a, dir:/a, rm:/a, and publishes what they bring about.
func (f *forest) do(words string) {
	b := f.eng.NewBatch()
	for _, w := range strings.Fields(words) {
		op, path, _ := strings.Cut(w, ":")
		var err error
		switch op {
		case "set":
			_, err = f.tree.Set(b, tree.Change{Path: path, Value: "v"})
		case "dir":
			_, err = f.tree.Set(b, tree.Change{Path: path, Dir: true})
		case "rm":
			_, err = f.tree.Delete(b, path, true, true)
		}
		require.NoError(f.t, err, w)
	}
	require.NoError(f.t, f.eng.Commit(b))
	f.paths.Publish(f.tree.TakeEvents())
}

func (f *forest) watch(path string, recursive bool, from uint64) *Waiter {
	w, _, err := f.paths.Watch(path, recursive, from)
	require.NoError(f.t, err)
	f.t.Cleanup(w.Close)
	return w
}

func taken(t *testing.T, w *Waiter) (indexes []uint64) {
	events, err := w.Take()
	require.NoError(t, err)
	for _, e := range events {
		indexes = append(indexes, e.Index)
	}
	return indexes
}

// TestWaiters covers who is told of what (v2-http.md 7.2).
func TestWaiters(t *testing.T) {
	f := newForest(t)
	f.do("set:/a/k set:/a/_hidden") // 1, 2
	for _, c := range []struct {
		path      string
		recursive bool
		from      uint64
		words     string
		want      []int // of the words, by number
	}{
		{"/a/k", false, 0, "set:/a/k set:/a/x set:/a/k", []int{0, 2}},
		{"/a", false, 0, "set:/a/k", nil},
		{"/a", true, 0, "set:/a/k set:/ab set:/a/b/c", []int{0, 2}},
		{"/", true, 0, "set:/a/k set:/_h set:/a/_h/x set:/b", []int{0, 3}},
		{"/a/_hidden", true, 0, "set:/a/_hidden", []int{0}},
		{"/d/k", false, 0, "set:/d/k rm:/d set:/d/x rm:/d", []int{0, 1}},
		{"/d", true, 0, "set:/d/k rm:/d", []int{0, 1}},
		{"/none", true, 0, "set:/d/k rm:/d", nil},
	} {
		w := f.watch(c.path, c.recursive, c.from)
		before := f.tree.Index()
		f.do(c.words)
		var want []uint64
		for _, n := range c.want {
			want = append(want, before+uint64(n)+1)
		}
		require.Equal(t, want, taken(t, w), "%s: %s", c.path, c.words)
	}
}

// TestWaiterRecallsAll covers W-41: more of history than may wait comes all the same, before what happens meanwhile.
func TestWaiterRecallsAll(t *testing.T) {
	f := newForest(t)
	const n = 3*pathQueue + 7
	for i := range n {
		f.do(fmt.Sprintf("set:/q/%d", i%5))
	}
	w := f.watch("/q", true, 1)
	f.do("set:/q/x set:/other")
	var got []uint64
	for range 10 {
		select {
		case <-w.Wake():
		default:
		}
		got = append(got, taken(t, w)...)
		f.do("set:/q/y")
	}
	require.GreaterOrEqual(t, len(got), n+10)
	for i, index := range got[:n+1] {
		require.Equal(t, uint64(i+1), index)
	}
	for i, index := range got[n+1:] {
		require.Equal(t, uint64(n+3+i), index, "what does not match is left out, and nothing else")
	}

	// What is cleared while it waits to be recalled ends the wait.
	w = f.watch("/q", true, f.tree.Index()-2*pathQueue)
	for range tree.Window + 1 {
		f.do("set:/q/z")
	}
	_, err := w.Take()
	require.NoError(t, err)
	select {
	case <-w.Wake():
	default:
		t.Fatal("nobody is woken")
	}
	_, err = w.Take()
	require.ErrorIs(t, err, ErrDropped)
}

// TestSlowWaiterIsDropped covers W-40.
func TestSlowWaiterIsDropped(t *testing.T) {
	f := newForest(t)
	slow, fast := f.watch("/", true, 0), f.watch("/", true, 0)
	for i := range pathQueue + 1 {
		f.do("set:/k")
		require.Equal(t, []uint64{uint64(i + 1)}, taken(t, fast))
	}
	_, err := slow.Take()
	require.ErrorIs(t, err, ErrDropped)
	require.Equal(t, 2, f.paths.Len())

	// So is everybody when the state is replaced.
	f.paths.Reset(5)
	_, err = fast.Take()
	require.ErrorIs(t, err, ErrDropped)
	slow.Close()
	slow.Close()
	fast.Close()
	require.Zero(t, f.paths.Len())
	require.Empty(t, f.paths.exact)
	require.Empty(t, f.paths.deep)
	require.Zero(t, f.paths.all.Len())
}
