package limits

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Set is the rules at one moment. It never changes; any number of goroutines may read it. A nil Set has none.
type Set struct {
	users    []*Rule  // by name
	prefixes []prefix // by prefix
	quotas   int      // prefixes that have one
}

// prefix is a rule for a prefix.
type prefix struct {
	*Rule
	text   string
	keys   wire.Range
	parent int // the longest other prefix that this one begins with, -1 if there is none
	depth  int
}

// newSet makes a set of rules that are in no order, nil if there are none.
func newSet(rules []*Rule) (*Set, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("there are %d limits already", MaxRules)
	}
	s := &Set{}
	for _, r := range rules {
		if r.Kind == User {
			s.users = append(s.users, r)
			continue
		}
		s.prefixes = append(s.prefixes, prefix{Rule: r, text: string(r.Name), keys: r.Range(), parent: -1})
		if r.Quota() {
			s.quotas++
		}
	}
	slices.SortFunc(s.users, func(a, b *Rule) int { return strings.Compare(string(a.Name), string(b.Name)) })
	slices.SortFunc(s.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range s.prefixes {
		p := &s.prefixes[i]
		if p.parent = s.above(i-1, p.text); p.parent >= 0 {
			p.depth = s.prefixes[p.parent].depth + 1
		}
		if p.depth >= MaxDepth {
			return nil, fmt.Errorf("a key may be below %d limited prefixes at most: %q would be one more", MaxDepth, p.text)
		}
	}
	return s, nil
}

// above is the last of the prefixes up to i that key begins with, -1 if there is none. No prefix behind i and up to key may be
// one: what lies between a prefix and a key that begins with it begins with it too.
func (s *Set) above(i int, key string) int {
	for i >= 0 && !strings.HasPrefix(key, s.prefixes[i].text) {
		i = s.prefixes[i].parent
	}
	return i
}

// Len is the number of rules.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.users) + len(s.prefixes)
}

// Quotas reports whether any rule has a quota.
func (s *Set) Quotas() bool { return s != nil && s.quotas > 0 }

// All are the rules: those of users by name, then those of prefixes.
func (s *Set) All() iter.Seq[*Rule] {
	return func(yield func(*Rule) bool) {
		if s == nil {
			return
		}
		for _, r := range s.users {
			if !yield(r) {
				return
			}
		}
		for i := range s.prefixes {
			if !yield(s.prefixes[i].Rule) {
				return
			}
		}
	}
}

// User is the rule for a user, nil if there is none.
func (s *Set) User(name string) *Rule {
	i := sort.Search(len(s.users), func(i int) bool { return string(s.users[i].Name) >= name })
	if i < len(s.users) && string(s.users[i].Name) == name {
		return s.users[i]
	}
	return nil
}

// Covering calls fn for the rules of the prefixes that key begins with, the longest first, at most MaxDepth of them.
func (s *Set) Covering(key string, fn func(*Rule)) {
	i := sort.Search(len(s.prefixes), func(i int) bool { return s.prefixes[i].text > key }) - 1
	for i = s.above(i, key); i >= 0; i = s.prefixes[i].parent {
		fn(s.prefixes[i].Rule)
	}
}

// Touching calls fn for the rules of the prefixes that a key of r may begin with.
func (s *Set) Touching(r wire.Range, fn func(*Rule)) {
	if key, ok := r.Single(); ok {
		s.Covering(key, fn)
		return
	}
	if r.Empty() {
		return
	}
	i := sort.Search(len(s.prefixes), func(i int) bool { return s.prefixes[i].text >= r.Lo })
	for j := i; j < len(s.prefixes) && (r.Hi == "" || s.prefixes[j].text < r.Hi); j++ {
		fn(s.prefixes[j].Rule)
	}
	// Those in front of the range's start that reach into it are those that the start begins with.
	for j := s.above(i-1, r.Lo); j >= 0; j = s.prefixes[j].parent {
		fn(s.prefixes[j].Rule)
	}
}
