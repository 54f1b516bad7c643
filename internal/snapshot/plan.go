package snapshot

import (
	"context"
	"fmt"

	"github.com/cairn-kv/cairn/internal/engine"
)

// Image is the plan of a file: where each page will be. It holds the view, and
// for each page of pairs the first key; the view must stay until the last
// WriteTo. One goroutine uses it at a time.
type Image struct {
	buckets []*bucket
	root    page // the leaf with the buckets
	pages   uint64
}

// bucket is the plan of one bucket's pages.
type bucket struct {
	name   string
	pairs  *source
	leaves []page
	// branches are the levels above the leaves, the lowest first; the last one
	// is a single page. There is none above a single leaf.
	branches [][]page
	keys     []byte // the first keys of the leaves
}

// page is a run of pages with one header.
type page struct {
	id    uint64 // of the first
	pages uint64
	count int // elements
	// The first key below, in bucket.keys.
	keyAt, keySize int
}

// packer fills one page after the other.
type packer struct {
	size  int // bytes of the open page
	count int // elements in it
}

// add puts an element into the open page; where it does not fit, and at least
// least are there, it reports the page as done and opens another one.
func (p *packer) add(size, least int) (done packer, full bool) {
	if p.count >= least && p.size+elementSize+size > pageSize {
		done, full = *p, true
		*p = packer{}
	}
	if p.count == 0 {
		p.size = pageHeaderSize
	}
	p.size += elementSize + size
	p.count++
	return done, full
}

// pages is how many pages the open one needs.
func (p packer) pages() uint64 { return uint64(p.size+pageSize-1) / pageSize }

// maxElement bounds a pair: its place in a page is told in 32 bits.
const maxElement = 1<<31 - 1

// checkEvery is how many pairs pass between two looks at the context.
const checkEvery = 4096

// Plan lays out the file of a view. It reads the view once.
func Plan(ctx context.Context, v engine.View, o Options) (*Image, error) {
	im := &Image{pages: firstPage}
	for _, s := range o.spaces() {
		b := &bucket{name: s.Bucket(), pairs: newSource(v, s, o)}
		if err := b.planLeaves(ctx, im); err != nil {
			return nil, fmt.Errorf("snapshot: bucket %s: %w", b.name, err)
		}
		b.planBranches(im)
		im.buckets = append(im.buckets, b)
	}
	var root packer
	for _, b := range im.buckets {
		size := len(b.name) + b.valueSize()
		root.size += elementSize + size
		root.count++
	}
	root.size += pageHeaderSize
	im.root = im.place(root)
	return im, nil
}

// place gives a filled page its number.
func (im *Image) place(p packer) page {
	out := page{id: im.pages, pages: p.pages(), count: p.count}
	im.pages += out.pages
	return out
}

func (b *bucket) planLeaves(ctx context.Context, im *Image) error {
	var open packer
	var keyAt, keySize, seen int
	closeLeaf := func(p packer) {
		leaf := im.place(p)
		leaf.keyAt, leaf.keySize = keyAt, keySize
		b.leaves = append(b.leaves, leaf)
	}
	err := b.pairs.each(func(key, value []byte) error {
		if seen++; seen%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		size := len(key) + len(value)
		if size > maxElement {
			return fmt.Errorf("a pair of %d bytes is too large for a database file", size)
		}
		if len(key) == 0 {
			return engine.ErrEmptyKey
		}
		if done, full := open.add(size, 1); full {
			closeLeaf(done)
		}
		if open.count == 1 {
			keyAt, keySize = len(b.keys), len(key)
			b.keys = append(b.keys, key...)
		}
		return nil
	})
	if err == nil && open.count > 0 {
		closeLeaf(open)
	}
	return err
}

// planBranches builds the levels. A branch has two children at least, however
// long their keys are, so that each level is at most half of the one below.
func (b *bucket) planBranches(im *Image) {
	for below := b.leaves; len(below) > 1; {
		var level []page
		var open packer
		first := below[0]
		closeBranch := func(p packer) {
			branch := im.place(p)
			branch.keyAt, branch.keySize = first.keyAt, first.keySize
			level = append(level, branch)
		}
		for _, child := range below {
			if done, full := open.add(child.keySize, 2); full {
				closeBranch(done)
			}
			if open.count == 1 {
				first = child
			}
		}
		closeBranch(open)
		b.branches = append(b.branches, level)
		below = level
	}
}

// top is the page that the bucket of buckets points to; 0 for a bucket with
// nothing in it, which has no page.
func (b *bucket) top() uint64 {
	switch {
	case len(b.branches) > 0:
		return b.branches[len(b.branches)-1][0].id
	case len(b.leaves) > 0:
		return b.leaves[0].id
	}
	return 0
}

// valueSize is what the bucket takes in the bucket of buckets: an empty one is
// there as a whole.
func (b *bucket) valueSize() int {
	if b.top() == 0 {
		return bucketHeaderSize + pageHeaderSize
	}
	return bucketHeaderSize
}

// Size is the length of the file without a checksum, in bytes.
func (im *Image) Size() int64 { return int64(im.pages) * pageSize }
