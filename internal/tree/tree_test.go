package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
)

// rig is a tree over an engine in memory.
type rig struct {
	t   *testing.T
	eng *mem.Engine
	*Tree
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, eng: mem.New()}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	r.Tree, err = Open(r.eng)
	require.NoError(r.t, err)
}

func (r *rig) do(f func(b engine.Batch) (*Event, error)) string {
	r.t.Helper()
	b := r.eng.NewBatch()
	e, err := f(b)
	require.NoError(r.t, r.eng.Commit(b))
	return show(e, err)
}

func show(e *Event, err error) string {
	var refused *Error
	if errors.As(err, &refused) {
		return fmt.Sprintf("%d %s @%d", refused.Code, refused.Cause, refused.Index)
	}
	s := e.Action.String() + " " + text(e.Node)
	if e.Prev != nil {
		s += " was " + text(e.Prev)
	}
	return s
}

func text(n *Node) string {
	s := n.Path
	if n.Dir {
		s += "/"
	} else {
		s += "=" + n.Value
	}
	if n.Expires != 0 {
		s += fmt.Sprintf(" ends %d", n.Expires-Permanent)
	}
	return fmt.Sprintf("%s %d/%d", s, n.Modified, n.Created)
}

func (r *rig) set(c Change) string {
	return r.do(func(b engine.Batch) (*Event, error) { return r.Set(b, c) })
}
func (r *rig) create(c Change, inOrder bool) string {
	return r.do(func(b engine.Batch) (*Event, error) { return r.Create(b, c, inOrder) })
}
func (r *rig) update(c Change) string {
	return r.do(func(b engine.Batch) (*Event, error) { return r.Update(b, c) })
}
func (r *rig) swap(c Change, if_ Condition) string {
	return r.do(func(b engine.Batch) (*Event, error) { return r.CompareAndSwap(b, c, if_) })
}
func (r *rig) del(path string, dir, recursive bool) string {
	return r.do(func(b engine.Batch) (*Event, error) { return r.Delete(b, path, dir, recursive) })
}
func (r *rig) delIf(path string, if_ Condition) string {
	return r.do(func(b engine.Batch) (*Event, error) { return r.CompareAndDelete(b, path, if_) })
}

func (r *rig) expire(now int64) {
	b := r.eng.NewBatch()
	r.Expire(b, now)
	require.NoError(r.t, r.eng.Commit(b))
}

// TestVectors are those of v2-http.md section 22, as far as they are the tree's.
func TestVectors(t *testing.T) {
	r := newRig(t)
	b := r.eng.NewBatch()
	for range 3 { // what the start of a member takes (K-08)
		r.Bump(b)
	}
	require.NoError(t, r.eng.Commit(b))
	at := func(s int64) int64 { return Permanent + s }
	for i, c := range []struct{ got, want string }{
		{r.set(Change{Path: "/a/b", Value: "1"}), "set /a/b=1 4/4"},
		{r.set(Change{Path: "/a", Value: "x"}), "102 /a @4"},
		{r.set(Change{Path: "/a/b/c", Value: "x"}), "104 /a/b @4"},
		{r.swap(Change{Path: "/a/b", Value: "2"}, Condition{Index: 9}), "101 [9 != 4] @4"},
		{r.swap(Change{Path: "/a/b", Value: "2"}, Condition{Value: "z", Index: 9}), "101 [z != 1] [9 != 4] @4"},
		{r.swap(Change{Path: "/a/b", Value: "2"}, Condition{Value: "1", Index: 4}), "compareAndSwap /a/b=2 5/4 was /a/b=1 4/4"},
		{r.create(Change{Path: "/a/b", Value: "3"}, false), "105 /a/b @5"},
		{r.update(Change{Path: "/a/b"}), "update /a/b= 6/4 was /a/b=2 5/4"},
		{r.update(Change{Path: "/zz", Value: "1"}), "100 /zz @6"},
		{r.set(Change{Path: "/a/b", Value: "4", Expires: at(100)}), "set /a/b=4 ends 100 7/7 was /a/b= 6/4"},
		{r.set(Change{Path: "/a/b", Value: "5"}), "set /a/b=5 8/8 was /a/b=4 ends 100 7/7"},
		{r.set(Change{Path: "/d", Dir: true, Value: "ignored"}), "set /d/ 9/9"},
		{r.set(Change{Path: "/d", Dir: true}), "102 /d @9"},
		{r.create(Change{Path: "/d", Dir: true}, false), "105 /d @9"},
		{r.update(Change{Path: "/d", Dir: true, Expires: at(50)}), "update /d/ ends 50 10/9 was /d/ 9/9"},
		{r.update(Change{Path: "/d", Value: "v"}), "102 /d @10"},
		{r.set(Change{Path: "/k", Value: "v"}), "set /k=v 11/11"},
		{r.set(Change{Path: "/k", Dir: true}), "set /k/ 12/12 was /k=v 11/11"},
		{r.del("/k", false, false), "102 /k @12"},
		{r.del("/a", true, false), "108 /a @12"},
		{r.del("/k", true, false), "delete /k/ 13/12 was /k/ 12/12"},
		{r.delIf("/a/b", Condition{Value: "nope"}), "101 [nope != 5] @13"},
		{r.delIf("/a/b", Condition{Index: 8}), "compareAndDelete /a/b= 14/8 was /a/b=5 8/8"},
		{r.del("/a", false, true), "delete /a/ 15/4 was /a/ 4/4"},
		{r.create(Change{Path: "/q", Value: "x"}, true), "create /q/00000000000000000016=x 16/16"},
		{r.create(Change{Path: "/q/00000000000000000016", Value: "x"}, true), "104 /q/00000000000000000016 @16"},
		{r.set(Change{Path: "/_h", Value: "s"}), "set /_h=s 17/17"},
		{r.set(Change{Path: "/", Value: "x"}), "107 / @17"},
		{r.del("/", false, true), "107 / @17"},
		{r.update(Change{Path: "/"}), "107 / @17"},
		{r.create(Change{Path: "/"}, false), "107 / @17"},
		{r.swap(Change{Path: "/"}, Condition{Index: 1}), "107 / @17"},
		{r.delIf("/", Condition{Index: 1}), "102  @17"},
		{r.delIf("/d", Condition{Index: 1}), "102 /d @17"},
		{r.set(Change{Path: "/n", Value: "x"}), "set /n=x 18/18"},
		{r.update(Change{Path: "/n", Refresh: true, Expires: at(9)}), "update /n=x ends 9 19/18 was /n=x 18/18"},
		{r.set(Change{Path: "/none/x", Refresh: true, Expires: at(9)}), "100 /none @19"},
		{r.set(Change{Path: "/n", Refresh: true, Expires: at(12)}), "set /n=x ends 12 20/20 was /n=x ends 9 19/18"},
		{r.set(Change{Path: "/d", Refresh: true, Expires: at(12)}), "102 /d @20"},
		{r.set(Change{Path: "/n", Value: "y", Expires: 5}), "set /n=y 21/21 was /n=x ends 12 20/20"},
		{r.del("/n/x", false, false), "104 /n @21"},
		{r.del("/x/y", false, false), "100 /x @21"},
		{r.create(Change{Path: "/", Value: "r"}, true), "create /00000000000000000022=r 22/22"},
	} {
		require.Equal(t, c.want, c.got, "step %d", i)
	}
}

func TestExpiryTakesTheTreeBelow(t *testing.T) {
	r := newRig(t)
	at := func(s int64) int64 { return Permanent + s }
	r.set(Change{Path: "/t", Dir: true, Expires: at(10)})
	r.set(Change{Path: "/t/x", Value: "1", Expires: at(50)})
	r.set(Change{Path: "/t/y/z", Value: "1"})
	r.set(Change{Path: "/b", Value: "1", Expires: at(10)})
	r.set(Change{Path: "/a", Value: "1", Expires: at(5)})
	r.set(Change{Path: "/tt", Value: "stays"})
	r.TakeEvents()
	v := r.View()
	require.True(t, v.Timed() && v.Due(at(5)) && !v.Due(at(4)))
	r.expire(at(4))
	require.Empty(t, r.TakeEvents())
	r.expire(at(10))
	var got []string
	for _, e := range r.TakeEvents() {
		got = append(got, show(e, nil))
	}
	require.Equal(t, []string{"expire /a= 7/5 was /a=1 ends 5 5/5", "expire /b= 8/4 was /b=1 ends 10 4/4", "expire /t/ 9/1 was /t/ ends 10 1/1"}, got)
	require.Equal(t, 1, r.View().Len())
	require.False(t, r.View().Timed())
	require.Equal(t, 7, v.Len(), "an older view stays as it was")
	require.EqualValues(t, 3, r.Stats().Expired)
}

func list(v *View, dir string, deep bool) string {
	var out []string
	v.Each(dir, deep, func(n *Node, depth int) bool {
		out = append(out, fmt.Sprintf("%d%s", depth, n.Path))
		return true
	})
	return strings.Join(out, " ")
}

func TestListing(t *testing.T) {
	r := newRig(t)
	for _, p := range []string{"/b/x/1", "/b/x/2", "/b-c", "/b/y", "/a", "/b\x00c", "/_hidden/x", "/b/_h", "/b/x/_i/j", "/b\xff"} {
		r.set(Change{Path: p, Value: "v"})
	}
	v := r.View()
	require.Equal(t, "1/a 1/b 1/b\x00c 1/b-c 1/b\xff", list(v, "/", false))
	require.Equal(t, "1/a 1/b 2/b/x 3/b/x/1 3/b/x/2 2/b/y 1/b\x00c 1/b-c 1/b\xff", list(v, "/", true))
	require.Equal(t, "1/b/x 1/b/y", list(v, "/b", false))
	require.Equal(t, "1/b/x 2/b/x/1 2/b/x/2 1/b/y", list(v, "/b", true))
	require.Equal(t, "1/_hidden/x", list(v, "/_hidden", true), "what is asked for directly is shown")
	require.Empty(t, list(v, "/nothing", true))
}

func TestPaths(t *testing.T) {
	for in, want := range map[string]string{"": "/", "/": "/", "a": "/a", "/a/b/": "/a/b", "//a//b": "/a/b", "/a/./b": "/a/b", "/a/../b": "/b",
		"/../../x": "/x", "/a/..": "/", "/...": "/..."} {
		require.Equal(t, want, Clean(in), in)
	}
	for _, c := range []struct {
		p, dir string
		hidden bool
	}{{"/_a", "/_a", false}, {"/_a/b", "/_a", false}, {"/_a/_b", "/_a", true}, {"/_a", "/", true}, {"/a/_b/c", "/a", true}, {"/a/b_", "/a", false}, {"/a/_b/c", "/a/_b", false}} {
		require.Equal(t, c.hidden, Hidden(c.p, c.dir), "%s from %s", c.p, c.dir)
	}
}

func TestWatchersAndHistory(t *testing.T) {
	r := newRig(t)
	r.set(Change{Path: "/foo/bar", Value: "1"})                                                 // 1
	r.set(Change{Path: "/foobar", Value: "1"})                                                  // 2
	r.update(Change{Path: "/foo/bar", Refresh: true, Expires: Permanent + 9})                   // 3
	r.set(Change{Path: "/foo/_h/x", Value: "1"})                                                // 4
	r.del("/foo", true, true)                                                                   // 5
	r.set(Change{Path: "/foo", Value: "1"})                                                     // 6
	r.do(func(b engine.Batch) (*Event, error) { r.Bump(b); return &Event{Node: &Node{}}, nil }) // 7
	for again := range 2 {
		v := r.View()
		for _, c := range []struct {
			path      string
			recursive bool
			from      uint64
			want      uint64 // 0 for none yet
		}{
			{"/foo/bar", false, 0, 1}, {"/foo/bar", false, 2, 5}, {"/foo", false, 1, 5}, {"/foo", true, 1, 1}, {"/foo", true, 2, 5}, {"/foo", true, 6, 6},
			{"/foobar", false, 1, 2}, {"/foobar", false, 3, 0}, {"/", true, 2, 2}, {"/", true, 3, 5}, {"/", false, 1, 0}, {"/foo/_h", true, 1, 4},
			{"/foo/_h/x", false, 5, 5}, {"/foo", true, 7, 0}, {"/foo", true, 8, 0}, {"/foo", true, 100, 0},
		} {
			e, err := v.Search(c.path, c.recursive, c.from)
			require.NoError(t, err)
			var got uint64
			if e != nil {
				got = e.Index
			}
			require.Equal(t, c.want, got, "%v", c)
		}
		if again == 0 {
			r.open() // history is part of the state (W-33)
		}
	}
	// Just after it was made, an event knows who existed.
	r.set(Change{Path: "/d/x", Value: "1"})
	r.TakeEvents()
	r.del("/d", true, true)
	e := r.TakeEvents()[0]
	require.True(t, e.Matches("/d/x", false))
	require.False(t, e.Matches("/d/y", false))
	require.False(t, e.Matches("/dd", true))
	r.set(Change{Path: "/key", Value: "1"})
	r.del("/key", false, false)
	found, err := r.View().Search("/key/below", true, e.Index)
	require.NoError(t, err)
	require.Nil(t, found, "W-23: nothing is below a key that is removed")
	for range 2 { // W-34: history does not ask who existed, neither before it is opened anew nor after
		found, err := r.View().Search("/d/y", false, e.Index)
		require.NoError(t, err)
		require.NotNil(t, found)
		require.Equal(t, e.Index, found.Index)
		r.open()
	}
	for i := range Window {
		r.set(Change{Path: "/fill", Value: fmt.Sprint(i)})
	}
	v := r.View()
	oldest := v.Index - Window + 1
	_, err = v.Search("/fill", false, oldest-1)
	require.Equal(t, fmt.Sprintf("401 the requested history has been cleared [%d/%d] @%d", oldest, oldest-1, v.Index), show(nil, err))
	e, err = v.Search("/fill", false, oldest)
	require.NoError(t, err)
	require.Equal(t, oldest, e.Index)
	r.open()
	require.Len(t, r.View().history, Window)
}

// TestAgainstAModel does random things to the tree and to a map, and opens the tree anew now and then.
func TestAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := newRig(t)
		model := map[string]*Node{}
		path := func() string {
			p := ""
			for range 1 + rnd.IntN(3) {
				p += "/" + []string{"a", "b", "_c", "a-", "a\x00"}[rnd.IntN(5)]
			}
			return p
		}
		for range 300 {
			index := r.Index()
			p := path()
			switch rnd.IntN(6) {
			case 0, 1, 2:
				c := Change{Path: p, Value: fmt.Sprint(rnd.IntN(100)), Dir: rnd.IntN(5) == 0}
				if rnd.IntN(3) == 0 {
					c.Expires = Permanent + 1 + int64(rnd.IntN(100))
				}
				if !strings.HasPrefix(r.set(c), "set") {
					break
				}
				for i := 1; i < len(p); i++ {
					if p[i] == '/' && model[p[:i]] == nil {
						model[p[:i]] = &Node{Path: p[:i], Dir: true, Created: index + 1, Modified: index + 1}
					}
				}
				n := &Node{Path: p, Dir: c.Dir, Value: c.Value, Created: index + 1, Modified: index + 1, Expires: c.Expires}
				if n.Dir {
					n.Value = ""
				}
				model[p] = n
			case 3:
				if strings.HasPrefix(r.del(p, true, true), "delete") {
					for k := range model {
						if k == p || strings.HasPrefix(k, p+"/") {
							delete(model, k)
						}
					}
				}
			case 4:
				now := Permanent + int64(rnd.IntN(120))
				r.expire(now)
				for k, n := range model {
					if n.Expires != 0 && n.Expires <= now {
						for u := range model {
							if u == k || strings.HasPrefix(u, k+"/") {
								delete(model, u)
							}
						}
					}
				}
			case 5:
				r.open()
			}
			var want []string
			for _, n := range model {
				want = append(want, text(n))
			}
			var got []string
			r.View().nodes.Scan(func(n *Node) bool { got = append(got, text(n)); return true })
			sort.Strings(want)
			sort.Strings(got)
			require.Equal(t, want, got, "seed %d", seed)
		}
	}
}

// TestHistoryOutlivesARestart covers W-33: the ring of events is read in order, wherever it begins.
func TestHistoryOutlivesARestart(t *testing.T) {
	eng := mem.New()
	tr, err := Open(eng)
	require.NoError(t, err)
	for n := range 2*Window + 345 {
		b := eng.NewBatch()
		_, err := tr.Set(b, Change{Path: "/k", Value: fmt.Sprint(n)})
		require.NoError(t, err)
		require.NoError(t, eng.Commit(b))
		if n != 3 && n != Window-1 && n != Window && n != 2*Window+344 {
			continue
		}
		again, err := Open(eng)
		require.NoError(t, err)
		require.Equal(t, tr.Index(), again.Index())
		for i := uint64(0); i <= tr.Index()+1; i++ {
			want, wantErr := tr.View().Search("/", true, i)
			got, gotErr := again.View().Search("/", true, i)
			require.Equal(t, wantErr, gotErr)
			require.Equal(t, want, got)
		}
	}

	// One that has a gap is refused.
	b := eng.NewBatch()
	b.Delete(engine.Tree, eventKey(tr.Index()-5))
	require.NoError(t, eng.Commit(b))
	_, err = Open(eng)
	require.ErrorContains(t, err, "history has")
}

// What no client has asked for has no time: a member that was just opened does not know when the one before was.
func TestTimesOfEvents(t *testing.T) {
	r := newRig(t)
	r.Begin(5)
	r.set(Change{Path: "/a", Value: "1"})
	b := r.eng.NewBatch()
	r.Bump(b)
	require.NoError(t, r.eng.Commit(b))
	r.expire(7)
	r.open()
	require.EqualValues(t, 5, r.View().history[0].Time)
	require.Zero(t, r.View().history[1].Time)
	require.Len(t, r.View().history, 2)
}
