// Package tree is the keyspace of the v2 API: a tree of directories and keys with times to live, under one index that
// counts every change, and the history of the last thousand of them.
//
// It must never know the time (an expiration is given, and so is the time up to which nodes end), a request, or who
// watches. What is refused changes nothing.
package tree

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tidwall/btree"

	"github.com/cairn-kv/cairn/internal/engine"
)

// Window is how many events history holds (W-30).
const Window = 1000

// Records in the Tree space begin with what they are.
const (
	recordNode   = 'n'
	recordEvent  = 'e'
	recordRecord = 'r'
)

type nodes = btree.BTreeG[*Node]

// deadline is when a node ends.
type deadline struct {
	at   int64
	path string
}

// Tree is the keyspace. One goroutine, the apply queue, owns it.
type Tree struct {
	nodes     *nodes
	deadlines *btree.BTreeG[deadline]
	records   *records
	// recordsIndex is that of the last change of a record, or of when the tree was opened.
	recordsIndex uint64
	index        uint64
	time         int64 // of what is being done
	history      []*Event
	stats        Stats
	events       []*Event // since they were last taken
	view         *View    // as it is now; nil after a change
}

func newTree() *Tree {
	return &Tree{
		nodes: btree.NewBTreeGOptions(func(a, b *Node) bool { return less(a.Path, b.Path) }, btree.Options{NoLocks: true}),
		deadlines: btree.NewBTreeGOptions(func(a, b deadline) bool {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.path, b.path)) < 0
		}, btree.Options{NoLocks: true}),
		records: newRecords(),
	}
}

// less puts a directory right before everything under it, and the nodes of a directory in the order of their names: a slash
// comes before every other byte.
func less(a, b string) bool {
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return true
		}
		if y == '/' {
			return false
		}
		return x < y
	}
	return len(a) < len(b)
}

// Open reads the tree from the engine.
func Open(eng engine.Engine) (*Tree, error) {
	t := newTree()
	var bad error
	err := eng.Scan(engine.Tree, nil, nil, func(k, v []byte) bool {
		switch k[0] {
		case recordNode:
			var n *Node
			if n, bad = parseNode(string(k[1:]), v); bad == nil {
				t.nodes.Set(n)
				if n.Expires != 0 {
					t.deadlines.Set(deadline{n.Expires, n.Path})
				}
			}
		case recordEvent:
			var e *Event
			if e, bad = parseEvent(v); bad == nil {
				t.history = append(t.history, e)
			}
		case recordRecord:
			var r record
			if r, bad = parseRecord(string(k[1:]), v); bad == nil {
				t.records.Set(r)
			}
		}
		if bad != nil {
			bad = fmt.Errorf("tree: record %q: %w", k, bad)
		}
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err == nil {
		err = t.orderHistory()
	}
	t.recordsIndex = t.index
	return t, err
}

// orderHistory sorts events that come from a ring, and takes the index from the last one.
func (t *Tree) orderHistory() error {
	slices.SortFunc(t.history, func(a, b *Event) int { return cmp.Compare(a.Index, b.Index) })
	for i, e := range t.history {
		if e.Index != t.history[0].Index+uint64(i) {
			return fmt.Errorf("tree: history has %d behind %d", e.Index, t.history[i-1].Index)
		}
		t.index = e.Index
	}
	return nil
}

// Begin tells when what is done next was asked for, in nanoseconds of unix time; 0 if nobody knows.
func (t *Tree) Begin(at int64) { t.time = at }

// Index is the index of the last change.
func (t *Tree) Index() uint64 { return t.index }

// Events returns the events that were not taken yet.
func (t *Tree) Events() []*Event { return t.events }

// TakeEvents returns the events since the last call.
func (t *Tree) TakeEvents() []*Event {
	e := t.events
	t.events = nil
	return e
}

// Bump counts a change that clients do not see.
func (t *Tree) Bump(b engine.Batch) { t.done(b, &Event{Action: Internal, Index: t.index + 1}) }

// done makes an event part of history.
func (t *Tree) done(b engine.Batch, e *Event) *Event {
	t.index, t.view = e.Index, nil
	if e.Action != Internal {
		e.Time = t.time
	}
	b.Set(engine.Tree, eventKey(e.Index), e.append(nil))
	if len(t.history) >= Window {
		t.history = t.history[1:]
	}
	kept := e
	if e.before != nil {
		// A thousand former trees would be too many to keep.
		kept = new(*e)
		kept.before = nil
	}
	t.history = append(t.history, kept)
	t.events = append(t.events, e)
	return e
}

// eventKey is a place in a ring: an event takes that of the one that history forgets.
func eventKey(index uint64) []byte {
	return binary.BigEndian.AppendUint16([]byte{recordEvent}, uint16(index%Window))
}

func nodeKey(path string) []byte { return append([]byte{recordNode}, path...) }

// put keeps a node in the place of the one before it.
func (t *Tree) put(b engine.Batch, n *Node) {
	if old, ok := t.nodes.Set(n); ok && old.Expires != 0 {
		t.deadlines.Delete(deadline{old.Expires, old.Path})
	}
	if n.Expires != 0 {
		t.deadlines.Set(deadline{n.Expires, n.Path})
	}
	b.Set(engine.Tree, nodeKey(n.Path), n.append(nil))
}

// drop removes a node and everything under it.
func (t *Tree) drop(b engine.Batch, n *Node) {
	remove := func(n *Node) {
		t.nodes.Delete(n)
		if n.Expires != 0 {
			t.deadlines.Delete(deadline{n.Expires, n.Path})
		}
		b.Delete(engine.Tree, nodeKey(n.Path))
	}
	if n.Dir {
		var under []*Node
		t.nodes.Ascend(&Node{Path: n.Path + "/"}, func(x *Node) bool {
			if !below(x.Path, n.Path) {
				return false
			}
			under = append(under, x)
			return true
		})
		for _, x := range under {
			remove(x)
		}
	}
	remove(n)
}

func (t *Tree) get(path string) (*Node, bool) { return t.nodes.Get(&Node{Path: path}) }

var root = &Node{Path: "/", Dir: true}

// find returns a node, or the refusal for one that is not there: the first component that is missing, or the key that is
// in the way.
func (t *Tree) find(path string) (*Node, *Error) {
	if path == "/" {
		return root, nil
	}
	if n, ok := t.get(path); ok {
		return n, nil
	}
	return nil, t.missing(path)
}

func (t *Tree) missing(path string) *Error {
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		n, ok := t.get(path[:i])
		switch {
		case !ok:
			return t.refuse(CodeNotFound, path[:i])
		case !n.Dir && i < len(path):
			return t.refuse(CodeNotDir, path[:i])
		}
	}
	return nil
}

// blocked is the refusal for a path with a key in the way.
func (t *Tree) blocked(path string) *Error {
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		n, ok := t.get(path[:i])
		if !ok {
			return nil
		}
		if !n.Dir {
			return t.refuse(CodeNotDir, path[:i])
		}
	}
	return nil
}

// makeParents makes the directories that a path needs (K-04).
func (t *Tree) makeParents(b engine.Batch, path string, index uint64) {
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if _, ok := t.get(path[:i]); !ok {
			t.put(b, &Node{Path: path[:i], Dir: true, Created: index, Modified: index})
		}
	}
}
