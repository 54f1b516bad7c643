package tree

import (
	"fmt"

	"github.com/cairn-kv/cairn/internal/engine"
)

// Change is what is to become of a node.
type Change struct {
	Path    string
	Dir     bool
	Value   string
	Expires int64 // in nanoseconds of unix time; 0, or before the year 2000, for never
	Refresh bool  // keep the value, change only the time
}

// Condition is what a key must be for a change to happen. Nothing set stands for no condition.
type Condition struct {
	Value string // "" for none: an empty value cannot be compared
	Index uint64 // of the last change of the key; 0 for none
}

// Set makes or replaces a key, or makes a directory (section 4.3).
func (t *Tree) Set(b engine.Batch, c Change) (*Event, error) {
	ev, err := t.set(b, c)
	t.stats.count(&t.stats.Sets, err)
	return ev, asError(err)
}

// asError keeps a nil *Error from becoming an error that is not nil.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

func (t *Tree) set(b engine.Batch, c Change) (*Event, *Error) {
	if err := t.blocked(c.Path); err != nil {
		return nil, err
	}
	old, there := t.get(c.Path)
	if c.Refresh && !there && c.Path != "/" {
		return nil, t.missing(c.Path)
	}
	switch {
	case c.Path == "/":
		return nil, t.refuse(CodeRootReadOnly, "/")
	case there && old.Dir:
		return nil, t.refuse(CodeNotFile, c.Path)
	}
	if c.Refresh {
		c.Value = old.Value
	}
	index := t.index + 1
	t.makeParents(b, c.Path, index)
	n := &Node{Path: c.Path, Dir: c.Dir, Value: c.Value, Created: index, Modified: index, Expires: expiration(c.Expires)}
	if n.Dir {
		n.Value = ""
	}
	t.put(b, n)
	return t.done(b, &Event{Action: Set, Index: index, Node: n, Prev: old, Refresh: c.Refresh}), nil
}

// Create makes a node that must not be there (4.4). With inOrder the node is made under the path and named after the
// index (4.5).
func (t *Tree) Create(b engine.Batch, c Change, inOrder bool) (*Event, error) {
	ev, err := t.create(b, c, inOrder)
	t.stats.count(&t.stats.Creates, err)
	return ev, asError(err)
}

func (t *Tree) create(b engine.Batch, c Change, inOrder bool) (*Event, *Error) {
	index := t.index + 1
	if inOrder {
		dir := c.Path
		if dir == "/" {
			dir = ""
		}
		c.Path = fmt.Sprintf("%s/%020d", dir, index)
	}
	if c.Path == "/" {
		return nil, t.refuse(CodeRootReadOnly, "/")
	}
	if err := t.blocked(c.Path); err != nil {
		return nil, err
	}
	if _, there := t.get(c.Path); there {
		return nil, t.refuse(CodeExists, c.Path)
	}
	t.makeParents(b, c.Path, index)
	n := &Node{Path: c.Path, Dir: c.Dir, Value: c.Value, Created: index, Modified: index, Expires: expiration(c.Expires)}
	if n.Dir {
		n.Value = ""
	}
	t.put(b, n)
	return t.done(b, &Event{Action: Create, Index: index, Node: n}), nil
}

// Update changes a key, or the time of a directory (4.6).
func (t *Tree) Update(b engine.Batch, c Change) (*Event, error) {
	ev, err := t.update(b, c)
	t.stats.count(&t.stats.Updates, err)
	return ev, asError(err)
}

func (t *Tree) update(b engine.Batch, c Change) (*Event, *Error) {
	if c.Path == "/" {
		return nil, t.refuse(CodeRootReadOnly, "/")
	}
	old, err := t.find(c.Path)
	if err != nil {
		return nil, err
	}
	if old.Dir && c.Value != "" {
		return nil, t.refuse(CodeNotFile, c.Path)
	}
	return t.changed(b, Update, old, c), nil
}

// changed keeps a node's beginning and changes the rest.
func (t *Tree) changed(b engine.Batch, a Action, old *Node, c Change) *Event {
	index := t.index + 1
	n := &Node{Path: old.Path, Dir: old.Dir, Value: c.Value, Created: old.Created, Modified: index, Expires: expiration(c.Expires)}
	if c.Refresh {
		n.Value = old.Value
	}
	t.put(b, n)
	return t.done(b, &Event{Action: a, Index: index, Node: n, Prev: old, Refresh: c.Refresh})
}

// CompareAndSwap changes a key if it is as the condition says (4.7).
func (t *Tree) CompareAndSwap(b engine.Batch, c Change, if_ Condition) (*Event, error) {
	ev, err := t.compareAndSwap(b, c, if_)
	t.stats.count(&t.stats.Swaps, err)
	return ev, asError(err)
}

func (t *Tree) compareAndSwap(b engine.Batch, c Change, if_ Condition) (*Event, *Error) {
	if c.Path == "/" {
		return nil, t.refuse(CodeRootReadOnly, "/")
	}
	old, err := t.find(c.Path)
	if err != nil {
		return nil, err
	}
	if old.Dir {
		return nil, t.refuse(CodeNotFile, c.Path)
	}
	if err := t.compare(old, if_); err != nil {
		return nil, err
	}
	return t.changed(b, CompareAndSwap, old, c), nil
}

// compare tells how a key differs from what the condition asks for (K-101).
func (t *Tree) compare(n *Node, if_ Condition) *Error {
	cause := ""
	if if_.Value != "" && if_.Value != n.Value {
		cause = fmt.Sprintf("[%s != %s]", if_.Value, n.Value)
	}
	if if_.Index != 0 && if_.Index != n.Modified {
		if cause != "" {
			cause += " "
		}
		cause += fmt.Sprintf("[%d != %d]", if_.Index, n.Modified)
	}
	if cause == "" {
		return nil
	}
	return t.refuse(CodeTestFailed, cause)
}

// Delete removes a key, or a directory: an empty one with dir, any with recursive (4.8).
func (t *Tree) Delete(b engine.Batch, path string, dir, recursive bool) (*Event, error) {
	ev, err := t.delete(b, path, dir || recursive, recursive)
	t.stats.count(&t.stats.Deletes, err)
	return ev, asError(err)
}

func (t *Tree) delete(b engine.Batch, path string, dir, recursive bool) (*Event, *Error) {
	if path == "/" {
		return nil, t.refuse(CodeRootReadOnly, "/")
	}
	n, err := t.find(path)
	if err != nil {
		return nil, err
	}
	if n.Dir {
		switch {
		case !dir:
			return nil, t.refuse(CodeNotFile, path)
		case !recursive && !t.empty(path):
			return nil, t.refuse(CodeNotEmpty, path)
		}
	}
	return t.removed(b, Delete, n), nil
}

func (t *Tree) empty(dir string) bool {
	empty := true
	t.nodes.Ascend(&Node{Path: dir + "/"}, func(n *Node) bool {
		empty = !below(n.Path, dir)
		return false
	})
	return empty
}

func (t *Tree) removed(b engine.Batch, a Action, n *Node) *Event {
	index := t.index + 1
	e := &Event{Action: a, Index: index, Prev: n,
		Node: &Node{Path: n.Path, Dir: n.Dir, Created: n.Created, Modified: index}}
	if n.Dir {
		e.before = t.nodes.Copy()
	}
	t.drop(b, n)
	return t.done(b, e)
}

// CompareAndDelete removes a key if it is as the condition says (4.9).
func (t *Tree) CompareAndDelete(b engine.Batch, path string, if_ Condition) (*Event, error) {
	ev, err := t.compareAndDelete(b, path, if_)
	t.stats.count(&t.stats.DeleteIfs, err)
	return ev, asError(err)
}

func (t *Tree) compareAndDelete(b engine.Batch, path string, if_ Condition) (*Event, *Error) {
	n, err := t.find(path)
	if err != nil {
		return nil, err
	}
	if n.Dir {
		if path == "/" {
			path = "" // as etcd has it
		}
		return nil, t.refuse(CodeNotFile, path)
	}
	if err := t.compare(n, if_); err != nil {
		return nil, err
	}
	return t.removed(b, CompareAndDelete, n), nil
}

// Expire removes all nodes whose time is over, in the order of their times, then of their paths.
func (t *Tree) Expire(b engine.Batch, now int64) {
	t.Begin(now)
	for {
		d, ok := t.deadlines.Min()
		if !ok || d.at > now {
			return
		}
		n, _ := t.get(d.path)
		t.removed(b, Expire, n)
		t.stats.Expired++
	}
}
