// Package snapshot turns a view of an engine into an etcd database file, and
// such a file into pairs again.
//
// It must never know what a key means; what has to be different in a file is
// told by the caller (Options). A file is written as a stream: its layout is
// planned in one pass over the view and its pages are made in a second one, so
// that neither a temporary file nor memory for the content is needed. It is
// read with every offset checked: a damaged file gives an error, never a crash.
//
// The format is drawn in docs/format/db.md.
package snapshot

import (
	"cmp"
	"slices"

	"github.com/cairn-kv/cairn/internal/engine"
)

// SumSize is the length of the SHA-256 that follows the pages of a file made
// for keeping, in bytes.
const SumSize = 32

// Options says how a file differs from the view.
type Options struct {
	// Tree adds the v2 tree, in a bucket that etcd does not have.
	Tree bool
	// Replace adds pairs, or replaces those of the same key; a nil value leaves
	// the key out. The inner maps are by key.
	Replace map[engine.Space]map[string][]byte
	// Skip leaves whole spaces out, but for the pairs in Replace. Their
	// buckets are there and empty.
	Skip []engine.Space
}

// spaces lists what a file holds, in the order of the bucket names.
func (o Options) spaces() []engine.Space {
	var out []engine.Space
	for _, s := range engine.Spaces {
		if s != engine.Tree || o.Tree {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b engine.Space) int { return cmp.Compare(a.Bucket(), b.Bucket()) })
	return out
}

// pair is one entry of Options.Replace; a nil value leaves the key out.
type pair struct{ key, value []byte }

// source hands out the pairs of one bucket in order: those of the view, with
// the replacements merged in.
type source struct {
	view    engine.View
	space   engine.Space
	skip    bool
	replace []pair
}

func newSource(v engine.View, s engine.Space, o Options) *source {
	src := &source{view: v, space: s, skip: slices.Contains(o.Skip, s)}
	for k, value := range o.Replace[s] {
		src.replace = append(src.replace, pair{[]byte(k), value})
	}
	slices.SortFunc(src.replace, func(a, b pair) int { return slices.Compare(a.key, b.key) })
	return src
}

// each calls fn for every pair in ascending order, until fn fails.
func (s *source) each(fn func(key, value []byte) error) error {
	left := s.replace
	var err error
	emit := func(p pair) error {
		if p.value == nil {
			return nil
		}
		return fn(p.key, p.value)
	}
	if !s.skip {
		scanErr := s.view.Scan(s.space, nil, nil, func(key, value []byte) bool {
			for len(left) > 0 {
				order := slices.Compare(left[0].key, key)
				if order > 0 {
					break
				}
				if err = emit(left[0]); err != nil {
					return false
				}
				left = left[1:]
				if order == 0 {
					return true
				}
			}
			err = fn(key, value)
			return err == nil
		})
		if err == nil {
			err = scanErr
		}
	}
	for _, p := range left {
		if err == nil {
			err = emit(p)
		}
	}
	return err
}
