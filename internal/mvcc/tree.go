package mvcc

import (
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/internal/wire"
)

// The index is a B+tree from user key to the key's newest record and the revisions of its older ones. Nodes are copied
// on write: taking the root as a view costs nothing, and a view never changes. Every node knows how many live keys are
// below it and how many bytes they have, so counting a range or finding a page costs O(log n), however large the range is.

const (
	maxLeaf  = 32 // items in a leaf
	maxInner = 32 // children of an inner node
	minFill  = 8  // below this a node looks for a neighbour to merge with
)

// item is one key. Its newest record is in the arena. A key whose newest record is a tombstone stays until a compaction
// has passed it.
type item struct {
	kv   wire.KV
	hist *history // nil for a live key with one record
}

// history is what the newest record does not tell. It is never changed once a view may have seen it; older may be
// appended to behind the length that a view knows.
type history struct {
	rev   wire.Rev  // of the newest record
	older []version // ascending
}

// version is one older record of a key; the record itself is in the engine.
type version struct {
	main      int64
	sub       int32
	tombstone bool
}

func (v version) rev() wire.Rev { return wire.Rev{Main: v.main, Sub: int64(v.sub)} }

func (it *item) live() bool { return !it.kv.IsTombstone() }

func (it *item) rev() wire.Rev {
	if it.hist != nil {
		return it.hist.rev
	}
	return wire.Rev{Main: it.kv.ModRevision(), Sub: subOf(it.kv)}
}

func (it *item) newest() version {
	r := it.rev()
	return version{r.Main, int32(r.Sub), !it.live()}
}

// successor returns the item after its key took the step to kv at rev.
func (it *item) successor(kv wire.KV, rev wire.Rev) item {
	if it.kv == "" {
		if !kv.IsTombstone() {
			return item{kv: kv} // the record and its header tell the revision
		}
		return item{kv, &history{rev: rev}}
	}
	return it.after(it.newest(), kv, rev)
}

// after is successor for an item whose newest version is known.
func (it *item) after(newest version, kv wire.KV, rev wire.Rev) item {
	h := &history{rev: rev}
	if it.hist != nil {
		h.older = it.hist.older
	}
	h.older = append(h.older, newest)
	return item{kv, h}
}

// weight is what keys come to: how many live, and the bytes of them and their values.
type weight struct {
	live  int
	bytes int64
}

// weigh is the weight of a live key.
func weigh(key, value int) weight { return weight{1, int64(key + value)} }

func (w *weight) add(o weight) { w.live, w.bytes = w.live+o.live, w.bytes+o.bytes }
func (w *weight) sub(o weight) { w.live, w.bytes = w.live-o.live, w.bytes-o.bytes }

func (it *item) weight() weight {
	if !it.live() {
		return weight{}
	}
	f := it.kv.Fields()
	return weigh(len(f.Key), len(f.Value))
}

type node struct {
	epoch    uint64 // the tree may change the node in place while its own epoch is the same
	weight          // of what is below
	items    []item // of a leaf
	keys     []string
	children []*node // of an inner node; keys[i] is a lower bound of children[i+1] and above all of children[i]
}

func (n *node) leaf() bool { return n.children == nil }

// child returns the position of the child that key belongs to.
func (n *node) child(key string) int {
	lo, hi := 0, len(n.keys)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if n.keys[m] <= key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// find returns the position of the first item whose key is not below key, and whether it is key itself.
func (n *node) find(key string) (int, bool) {
	lo, hi := 0, len(n.items)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if n.items[m].kv.Key() < key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, lo < len(n.items) && n.items[lo].kv.Key() == key
}

// tree is the index while it is written. One goroutine owns it.
type tree struct {
	root  *node
	epoch uint64
}

func newTree() tree { return tree{root: &node{epoch: 1}, epoch: 1} }

// freeze returns the root as it is now; later writes leave it alone.
func (t *tree) freeze() *node {
	t.epoch++
	return t.root
}

func (t *tree) own(n *node) *node {
	if n.epoch == t.epoch {
		return n
	}
	c := &node{epoch: t.epoch, weight: n.weight}
	if n.leaf() {
		c.items = append(make([]item, 0, room(len(n.items))), n.items...)
	} else {
		c.keys = append(make([]string, 0, cap(n.keys)), n.keys...)
		c.children = append(make([]*node, 0, cap(n.children)), n.children...)
	}
	return c
}

// room is how many items a leaf with n of them gets space for: a little more, and never more than it may hold.
func room(n int) int { return min(n+4, maxLeaf+1) }

// get finds the item of key below n.
func (n *node) get(key string) (item, bool) {
	for !n.leaf() {
		n = n.children[n.child(key)]
	}
	if i, ok := n.find(key); ok {
		return n.items[i], true
	}
	return item{}, false
}

// set stores it under its key, where an item of the same weight is.
func (t *tree) set(it item) {
	t.update(it.kv.Key(), func(item) (item, weight) { return it, weight{} })
}

// update replaces the item of key, the zero item if there is none, by what fn makes of it. fn also tells by how much
// the weight changes.
func (t *tree) update(key string, fn func(old item) (next item, delta weight)) {
	t.root = t.own(t.root)
	_, right, sep := t.updateKey(t.root, key, fn)
	if right != nil {
		left := t.root
		sum := left.weight
		sum.add(right.weight)
		t.root = &node{epoch: t.epoch, weight: sum, keys: append(make([]string, 0, maxInner), sep),
			children: append(make([]*node, 0, maxInner+1), left, right)}
	}
}

func (t *tree) updateKey(n *node, key string, fn func(item) (item, weight)) (delta weight, right *node, sep string) {
	if n.leaf() {
		i, ok := n.find(key)
		if ok {
			n.items[i], delta = fn(n.items[i])
			n.add(delta)
			return delta, nil, ""
		}
		var it item
		it, delta = fn(item{})
		n.add(delta)
		if len(n.items) == cap(n.items) {
			n.items = append(make([]item, 0, room(len(n.items)+1)), n.items...)
		}
		n.items = slices.Insert(n.items, i, it)
		if len(n.items) <= maxLeaf {
			return delta, nil, ""
		}
		right, sep = t.splitLeaf(n, i)
		return delta, right, sep
	}
	i := n.child(key)
	c := t.own(n.children[i])
	n.children[i] = c
	delta, r, s := t.updateKey(c, key, fn)
	n.add(delta)
	if r == nil {
		return delta, nil, ""
	}
	n.keys = slices.Insert(n.keys, i, s)
	n.children = slices.Insert(n.children, i+1, r)
	if len(n.children) <= maxInner {
		return delta, nil, ""
	}
	right, sep = t.splitInner(n, i+1)
	return delta, right, sep
}

// splitLeaf splits a full leaf whose last insert was at position at. A key that came last starts a leaf of its own:
// ascending keys, the usual way data is loaded, then leave full leaves behind them.
func (t *tree) splitLeaf(n *node, at int) (*node, string) {
	cut := len(n.items) / 2
	if at == len(n.items)-1 {
		cut = at
	}
	r := &node{epoch: t.epoch, items: append(make([]item, 0, room(len(n.items)-cut)), n.items[cut:]...)}
	for i := range r.items {
		r.add(r.items[i].weight())
	}
	n.sub(r.weight)
	clear(n.items[cut:])
	n.items = n.items[:cut]
	return r, strings.Clone(r.items[0].kv.Key())
}

func (t *tree) splitInner(n *node, at int) (*node, string) {
	cut := len(n.children) / 2
	if at == len(n.children)-1 {
		cut = at
	}
	r := &node{epoch: t.epoch,
		keys:     append(make([]string, 0, maxInner), n.keys[cut:]...),
		children: append(make([]*node, 0, maxInner+1), n.children[cut:]...)}
	sep := n.keys[cut-1]
	for _, c := range r.children {
		r.add(c.weight)
	}
	n.sub(r.weight)
	clear(n.children[cut:])
	clear(n.keys[cut-1:])
	n.children, n.keys = n.children[:cut], n.keys[:cut-1]
	return r, sep
}

// remove takes a dead key out of the index.
func (t *tree) remove(key string) {
	if it, ok := t.root.get(key); !ok || it.live() {
		return
	}
	t.root = t.own(t.root)
	t.removeBelow(t.root, key)
	for !t.root.leaf() && len(t.root.children) == 1 {
		t.root = t.own(t.root.children[0])
	}
}

func (t *tree) removeBelow(n *node, key string) {
	if n.leaf() {
		if i, ok := n.find(key); ok {
			n.items = slices.Delete(n.items, i, i+1)
		}
		return
	}
	i := n.child(key)
	c := t.own(n.children[i])
	n.children[i] = c
	t.removeBelow(c, key)
	t.mend(n, i)
}

// mend merges child i of n with a neighbour if it has become small, and drops it if it is empty.
func (t *tree) mend(n *node, i int) {
	c := n.children[i]
	if c.size() >= minFill {
		return
	}
	l := i
	if l == len(n.children)-1 {
		l--
	}
	if l < 0 {
		return
	}
	left, right := n.children[l], n.children[l+1]
	limit := maxInner
	if left.leaf() {
		limit = maxLeaf
	}
	if left.size()+right.size() > limit*3/4 && c.size() > 0 {
		return
	}
	left = t.own(left)
	left.add(right.weight)
	if left.leaf() {
		left.items = append(left.items, right.items...)
	} else {
		left.keys = append(append(left.keys, n.keys[l]), right.keys...)
		left.children = append(left.children, right.children...)
	}
	n.children[l] = left
	n.children = slices.Delete(n.children, l+1, l+2)
	n.keys = slices.Delete(n.keys, l, l+1)
}

func (n *node) size() int {
	if n.leaf() {
		return len(n.items)
	}
	return len(n.children)
}

// updateLive calls fn for every live item in r, ascending; fn may change the item and tells whether it is dead now.
func (t *tree) updateLive(r wire.Range, fn func(*item) (dead bool)) {
	if r.Empty() || t.root.count(r) == 0 {
		return
	}
	t.root = t.own(t.root)
	t.updateBelow(t.root, r, fn)
}

func (t *tree) updateBelow(n *node, r wire.Range, fn func(*item) bool) (died weight) {
	if n.leaf() {
		i, _ := n.find(r.Lo)
		for ; i < len(n.items) && (r.Hi == "" || n.items[i].kv.Key() < r.Hi); i++ {
			if w := n.items[i].weight(); w.live > 0 && fn(&n.items[i]) {
				died.add(w)
			}
		}
		n.sub(died)
		return died
	}
	for i := n.child(r.Lo); i < len(n.children); i++ {
		if i > 0 && r.Hi != "" && n.keys[i-1] >= r.Hi {
			break
		}
		if n.children[i].live == 0 {
			continue
		}
		c := t.own(n.children[i])
		n.children[i] = c
		died.add(t.updateBelow(c, r, fn))
	}
	n.sub(died)
	return died
}

// rank is the number of live keys below key.
func (n *node) rank(key string) int {
	sum := 0
	for !n.leaf() {
		i := n.child(key)
		// Add up the shorter side.
		if i <= len(n.children)/2 {
			for _, c := range n.children[:i] {
				sum += c.live
			}
		} else {
			sum += n.live
			for _, c := range n.children[i:] {
				sum -= c.live
			}
		}
		n = n.children[i]
	}
	i, _ := n.find(key)
	for j := range n.items[:i] {
		if n.items[j].live() {
			sum++
		}
	}
	return sum
}

// count is the number of live keys in r.
func (n *node) count(r wire.Range) int {
	if r.Empty() {
		return 0
	}
	hi := n.live
	if r.Hi != "" {
		hi = n.rank(r.Hi)
	}
	return hi - n.rank(r.Lo)
}

// bytesBefore is how many bytes the live keys below key have.
func (n *node) bytesBefore(key string) (sum int64) {
	for !n.leaf() {
		i := n.child(key)
		for _, c := range n.children[:i] {
			sum += c.bytes
		}
		n = n.children[i]
	}
	i, _ := n.find(key)
	for j := range n.items[:i] {
		sum += n.items[j].weight().bytes
	}
	return sum
}

// bytesIn is how many bytes the live keys in r have.
func (n *node) bytesIn(r wire.Range) int64 {
	if r.Empty() {
		return 0
	}
	hi := n.bytes
	if r.Hi != "" {
		hi = n.bytesBefore(r.Hi)
	}
	return hi - n.bytesBefore(r.Lo)
}

// ascend calls fn for the items of r in order until it returns false. With liveOnly, parts of the tree without live
// keys are passed over; fn may still see dead items.
func (n *node) ascend(r wire.Range, liveOnly bool, fn func(*item) bool) bool {
	if n.leaf() {
		i, _ := n.find(r.Lo)
		for ; i < len(n.items); i++ {
			if r.Hi != "" && n.items[i].kv.Key() >= r.Hi {
				return false
			}
			if !fn(&n.items[i]) {
				return false
			}
		}
		return true
	}
	for i := n.child(r.Lo); i < len(n.children); i++ {
		if i > 0 && r.Hi != "" && n.keys[i-1] >= r.Hi {
			return false
		}
		if liveOnly && n.children[i].live == 0 {
			continue
		}
		if !n.children[i].ascend(r, liveOnly, fn) {
			return false
		}
	}
	return true
}

// descend is ascend in the other direction, over parts with live keys only.
func (n *node) descend(r wire.Range, fn func(*item) bool) bool {
	if n.leaf() {
		i := len(n.items)
		if r.Hi != "" {
			i, _ = n.find(r.Hi)
		}
		for i--; i >= 0; i-- {
			if n.items[i].kv.Key() < r.Lo {
				return false
			}
			if !fn(&n.items[i]) {
				return false
			}
		}
		return true
	}
	i := len(n.children) - 1
	if r.Hi != "" {
		i = n.child(r.Hi)
	}
	for ; i >= 0; i-- {
		if i < len(n.keys) && n.keys[i] <= r.Lo {
			// keys[i] is the lower bound of the next child: nothing of this one is in range.
			return false
		}
		if n.children[i].live == 0 {
			continue
		}
		if !n.children[i].descend(r, fn) {
			return false
		}
	}
	return true
}
