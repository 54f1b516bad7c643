package tree

import "github.com/tidwall/btree"

// Counts are how often an operation went well, and how often not.
type Counts struct{ Success, Fail uint64 }

// Stats count the operations since the tree was opened.
type Stats struct {
	Sets, Creates, Updates, Swaps, Deletes, DeleteIfs Counts
	Expired                                           uint64
}

func (s *Stats) count(c *Counts, err *Error) {
	if err != nil {
		c.Fail++
	} else {
		c.Success++
	}
}

// View is the tree at one moment. Any number of goroutines may read it.
type View struct {
	nodes     *nodes
	deadlines *btree.BTreeG[deadline]
	records   *records
	history   []*Event
	Index     uint64
	// RecordsIndex changes whenever a record does.
	RecordsIndex uint64
}

// View returns the tree as it is now, unmoved by later changes.
func (t *Tree) View() *View {
	if t.view == nil {
		t.view = &View{nodes: t.nodes.Copy(), deadlines: t.deadlines.Copy(), records: t.records.Copy(),
			history: t.history, Index: t.index, RecordsIndex: t.recordsIndex}
	}
	return t.view
}

// Stats are the counts so far.
func (t *Tree) Stats() Stats { return t.stats }

// Timed reports whether any node has a time to live.
func (v *View) Timed() bool { return v.deadlines.Len() > 0 }

// Due reports whether the time of a node is over.
func (v *View) Due(now int64) bool {
	d, ok := v.deadlines.Min()
	return ok && d.at <= now
}

// Len is the number of nodes, the root not counted.
func (v *View) Len() int { return v.nodes.Len() }

// Get returns a node, or the refusal for one that is not there.
func (v *View) Get(path string) (*Node, error) {
	t := Tree{nodes: v.nodes, index: v.Index}
	n, err := t.find(path)
	return n, asError(err)
}

// Used reports whether there is anything that a client has made.
func (v *View) Used() bool { return v.nodes.Len() > 0 || v.records.Len() > 0 }

// All calls fn for every node, hidden ones among them, in the order of paths. fn returns false to end.
func (v *View) All(fn func(n *Node) bool) { v.nodes.Scan(fn) }

// Each calls fn for the nodes under a directory in the order of their names, those right in it or, with deep, all; depth is
// 1 for those right in it. Hidden nodes and what is under them are left out. fn returns false to end.
func (v *View) Each(dir string, deep bool, fn func(n *Node, depth int) bool) {
	from := dir + "/"
	if dir == "/" {
		from = dir
	}
	for {
		skip := ""
		v.nodes.Ascend(&Node{Path: from}, func(n *Node) bool {
			if !below(n.Path, dir) {
				return false
			}
			depth, hidden := place(n.Path, dir)
			if hidden {
				skip = n.Path
				return false
			}
			if !fn(n, depth) {
				return false
			}
			if !deep && n.Dir {
				skip = n.Path
				return false
			}
			return true
		})
		if skip == "" {
			return
		}
		from = after(skip)
	}
}

// after is a path that comes behind everything under p and before what follows p among its siblings.
func after(p string) string { return p + "\x00" }

// place is how deep a node is under a directory, and whether its own name is hidden.
func place(p, dir string) (depth int, hidden bool) {
	rest := p[len(dir):]
	if dir == "/" {
		rest = p
	}
	last := 0
	for i := range len(rest) {
		if rest[i] == '/' {
			depth++
			last = i
		}
	}
	return depth, last+1 < len(rest) && rest[last+1] == '_'
}

// Search finds the first event from an index on that a watcher of a path is told of. found is nil if there is none yet; the
// refusal says that history does not reach back so far.
func (v *View) Search(path string, recursive bool, from uint64) (found *Event, err error) {
	if len(v.history) == 0 {
		return nil, nil
	}
	oldest := v.history[0].Index
	if from < oldest && oldest > 1 {
		return nil, &Error{CodeCleared, clearedCause(oldest, from), v.Index}
	}
	if from > v.Index {
		return nil, nil
	}
	for _, e := range v.history[max(from, oldest)-oldest:] {
		if e.Matches(path, recursive) {
			return e, nil
		}
	}
	return nil, nil
}
