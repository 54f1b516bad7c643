package watch

import (
	"slices"
	"strings"
)

// rangeIndex finds the ranges that hold a key. The ranges lie in a slice sorted by lower bound, read as a balanced tree
// (the middle is the root); top holds the largest upper bound of each subtree and is made anew when the slice has
// changed since the last question.
type rangeIndex struct {
	subs  []*sub
	top   []string // "" is no bound at all
	stale bool
}

func (x *rangeIndex) len() int { return len(x.subs) }

func (x *rangeIndex) add(s *sub) {
	i, _ := slices.BinarySearchFunc(x.subs, s, func(a, b *sub) int { return strings.Compare(a.r.Lo, b.r.Lo) })
	x.subs = slices.Insert(x.subs, i, s)
	x.stale = true
}

func (x *rangeIndex) remove(s *sub) {
	i, _ := slices.BinarySearchFunc(x.subs, s, func(a, b *sub) int { return strings.Compare(a.r.Lo, b.r.Lo) })
	for ; i < len(x.subs) && x.subs[i].r.Lo == s.r.Lo; i++ {
		if x.subs[i] == s {
			x.subs = slices.Delete(x.subs, i, i+1)
			x.stale = true
			return
		}
	}
}

// each calls fn for every range that holds key.
func (x *rangeIndex) each(key string, fn func(*sub)) {
	if x.stale {
		x.top = slices.Grow(x.top[:0], len(x.subs))[:len(x.subs)]
		x.build(0, len(x.subs))
		x.stale = false
	}
	x.visit(0, len(x.subs), key, fn)
}

func (x *rangeIndex) build(lo, hi int) (top string, any bool) {
	if lo == hi {
		return "", false
	}
	m := (lo + hi) / 2
	top = x.subs[m].r.Hi
	for _, side := range [2][2]int{{lo, m}, {m + 1, hi}} {
		if t, ok := x.build(side[0], side[1]); ok && above(t, top) {
			top = t
		}
	}
	x.top[m] = top
	return top, true
}

// above compares upper bounds; "" is above all.
func above(a, b string) bool { return b != "" && (a == "" || a > b) }

func (x *rangeIndex) visit(lo, hi int, key string, fn func(*sub)) {
	if lo == hi {
		return
	}
	m := (lo + hi) / 2
	if x.top[m] != "" && x.top[m] <= key {
		return
	}
	x.visit(lo, m, key, fn)
	s := x.subs[m]
	if s.r.Lo > key {
		return
	}
	if s.r.Hi == "" || key < s.r.Hi {
		fn(s)
	}
	x.visit(m+1, hi, key, fn)
}
