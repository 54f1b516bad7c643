package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// treeModel is the v2 keyspace in its simplest form: a map that is searched from end to end, and every event that ever was. It
// is told each entry once, works out by itself what has to come of it, and compares.
type treeModel struct {
	now      map[string]tree.Node
	events   []tree.Event // event i has index i+1
	versions map[string][]nodeVersion
	acked    uint64 // the highest index that a client was told
}

// nodeVersion is a node from an index on.
type nodeVersion struct {
	index uint64
	node  tree.Node // without a path if there is none
}

func newTreeModel() *treeModel {
	return &treeModel{now: map[string]tree.Node{}, versions: map[string][]nodeVersion{}}
}

func (t *treeModel) index() uint64 { return uint64(len(t.events)) }

// applied compares what an entry has done with what it has to do.
func (t *treeModel) applied(c wire.Command, eff *machine.Effects) {
	first := len(t.events)
	var q wire.V2Request
	if c.Kind == wire.KindV2 {
		var err error
		q, err = wire.ParseV2Request(c.Body)
		must(err)
	}
	if c.Kind != wire.KindV2 || q.Path == machine.MirrorRecord || q.Path == machine.LimitsRecord {
		for _, e := range eff.Events { // a change of the members takes an index
			if e.Action != tree.Internal || e.Index != t.index()+1 {
				fail("v2 model", "an entry of kind %v has brought about event %v at %d", c.Kind, e.Action, e.Index)
			}
			t.events = append(t.events, *e)
		}
		return
	}
	code := t.apply(&q)
	want := t.events[first:]
	r := eff.Results[0]
	if len(eff.Events) != len(want) {
		fail("v2 model", "%+v has brought about %d events, not %d (%v)", q, len(eff.Events), len(want), r.Err)
	}
	for i, e := range eff.Events {
		if got, ought := eventText(e), eventText(&want[i]); got != ought {
			fail("v2 model", "%+v has brought about %s, not %s", q, got, ought)
		}
	}
	var refused *tree.Error
	if errors.As(r.Err, &refused); r.Err != nil && refused == nil {
		fail("v2 model", "%+v has failed: %v", q, r.Err)
	}
	switch {
	case code == 0 && r.Err != nil, code != 0 && (refused == nil || refused.Code != code || refused.Index != t.index()):
		fail("v2 model", "%+v is answered by %v, not by code %d at %d", q, r.Err, code, t.index())
	case code == 0 && q.Method != wire.V2Sync && r.Event != eff.Events[0]:
		fail("v2 model", "%+v is answered by another event than its own", q)
	}
}

func eventText(e *tree.Event) string {
	b := fmt.Sprintf("%v %d", e.Action, e.Index)
	for _, n := range []*tree.Node{e.Node, e.Prev} {
		if n != nil {
			b += fmt.Sprintf(" %+v", *n)
		}
	}
	return b
}

// apply does what a request asks for; code is that of the refusal, if it is refused.
func (t *treeModel) apply(q *wire.V2Request) (code int) {
	if q.Method == wire.V2Sync {
		t.expire(q.Time)
		return 0
	}
	path := strings.TrimPrefix(q.Path, "/1")
	index := t.index() + 1
	fresh := tree.Node{Path: path, Dir: q.Dir, Value: q.Val, Created: index, Modified: index, Expires: q.Expiration}
	if q.Dir {
		fresh.Value = ""
	}
	old, there := t.now[path]
	missing, blocked := t.way(path)
	compared := q.PrevValue != "" || q.PrevIndex != 0
	holds := (q.PrevValue == "" || q.PrevValue == old.Value) && (q.PrevIndex == 0 || q.PrevIndex == old.Modified)
	switch {
	case q.Method == wire.V2Post:
		fresh.Path = fmt.Sprintf("%s/%020d", path, index)
		if _, blocked := t.way(fresh.Path); blocked {
			return tree.CodeNotDir
		}
		t.put(tree.Create, fresh, nil)
	case q.Method == wire.V2Delete:
		switch {
		case !there && blocked:
			return tree.CodeNotDir
		case !there:
			return tree.CodeNotFound
		case compared && old.Dir, old.Dir && !q.Dir && !q.Recursive:
			return tree.CodeNotFile
		case compared && !holds:
			return tree.CodeTestFailed
		case old.Dir && !q.Recursive && len(t.under(path)) > 0:
			return tree.CodeNotEmpty
		case compared:
			t.remove(tree.CompareAndDelete, old)
		default:
			t.remove(tree.Delete, old)
		}
	case q.PrevExist != nil && !*q.PrevExist:
		switch {
		case blocked:
			return tree.CodeNotDir
		case there:
			return tree.CodeExists
		}
		t.put(tree.Create, fresh, nil)
	case compared || q.PrevExist != nil:
		switch {
		case !there && blocked:
			return tree.CodeNotDir
		case !there && missing:
			return tree.CodeNotFound
		case old.Dir && (compared || q.Val != ""):
			return tree.CodeNotFile
		case compared && !holds:
			return tree.CodeTestFailed
		}
		fresh.Created, fresh.Dir, fresh.Value = old.Created, old.Dir, q.Val
		if q.Refresh {
			fresh.Value = old.Value
		}
		action := tree.Update
		if compared {
			action = tree.CompareAndSwap
		}
		t.put(action, fresh, &old)
	default:
		switch {
		case blocked:
			return tree.CodeNotDir
		case q.Refresh && !there:
			return tree.CodeNotFound
		case there && old.Dir:
			return tree.CodeNotFile
		}
		if q.Refresh {
			fresh.Value = old.Value
		}
		if there {
			t.put(tree.Set, fresh, &old)
		} else {
			t.put(tree.Set, fresh, nil)
		}
	}
	t.events[len(t.events)-1].Refresh = q.Refresh
	return 0
}

// way reports whether something on the way to a path is missing, or is a key.
func (t *treeModel) way(path string) (missing, blocked bool) {
	if _, ok := t.now[path]; !ok {
		missing = true
	}
	parts := strings.Split(path[1:], "/")
	for i := range len(parts) - 1 {
		n, ok := t.now["/"+strings.Join(parts[:i+1], "/")]
		switch {
		case !ok:
			return true, false
		case !n.Dir:
			return missing, true
		}
	}
	return missing, false
}

// under are the paths below a directory, in no order.
func (t *treeModel) under(dir string) (out []string) {
	for p := range t.now {
		if strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	return out
}

func (t *treeModel) put(a tree.Action, n tree.Node, old *tree.Node) {
	index := t.index() + 1
	parts := strings.Split(n.Path[1:], "/")
	for i := range len(parts) - 1 {
		dir := "/" + strings.Join(parts[:i+1], "/")
		if _, ok := t.now[dir]; !ok {
			t.become(dir, index, tree.Node{Path: dir, Dir: true, Created: index, Modified: index})
		}
	}
	t.become(n.Path, index, n)
	t.events = append(t.events, tree.Event{Action: a, Index: index, Node: &n, Prev: old})
}

func (t *treeModel) remove(a tree.Action, n tree.Node) {
	index := t.index() + 1
	for _, p := range append(t.under(n.Path), n.Path) {
		t.become(p, index, tree.Node{})
	}
	gone := tree.Node{Path: n.Path, Dir: n.Dir, Created: n.Created, Modified: index}
	t.events = append(t.events, tree.Event{Action: a, Index: index, Node: &gone, Prev: &n})
}

func (t *treeModel) become(path string, index uint64, n tree.Node) {
	if n.Path == "" {
		delete(t.now, path)
	} else {
		t.now[path] = n
	}
	t.versions[path] = append(t.versions[path], nodeVersion{index, n})
}

// expire ends what is over: always that which was over first, by path where two ended at once. What goes with its directory
// does not end again.
func (t *treeModel) expire(until int64) {
	for {
		var next *tree.Node
		for _, n := range t.now {
			if n.Expires == 0 || n.Expires > until {
				continue
			}
			if next == nil || n.Expires < next.Expires || n.Expires == next.Expires && n.Path < next.Path {
				next = &n
			}
		}
		if next == nil {
			return
		}
		t.remove(tree.Expire, *next)
	}
}

// at is the node of a path at an index.
func (t *treeModel) at(path string, index uint64) tree.Node {
	vs := t.versions[path]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].index <= index {
			return vs[i].node
		}
	}
	return tree.Node{}
}

// list are the nodes below a directory at an index, by path.
func (t *treeModel) list(dir string, index uint64) (out []tree.Node) {
	for _, p := range sortedKeys(t.versions) {
		if !strings.HasPrefix(p, dir+"/") {
			continue
		}
		if n := t.at(p, index); n.Path != "" {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b tree.Node) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// tells says whether a watcher is told of an event. maybe is for the end of a directory in which the path was not there:
// servers only know that of an event they have just made.
func (t *treeModel) tells(e *tree.Event, path string, recursive bool) (yes, maybe bool) {
	if e.Action == tree.Internal || e.Refresh {
		return false, false
	}
	p := e.Node.Path
	switch {
	case p == path:
		return true, false
	case path == "/" || strings.HasPrefix(p, path+"/"):
		return recursive, false
	case e.Action.Removes() && strings.HasPrefix(path, p+"/"):
		there := t.at(path, e.Index-1).Path != ""
		return there, !there
	}
	return false, false
}
