package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxDepth bounds the levels of a tree: far more than a file can fill.
const maxDepth = 64

// walker visits the pairs of one tree of a file in order. Keys must ascend and
// no tree has more pages than the file, so that no damage makes it go on for
// ever.
type walker struct {
	f     *File
	bufs  [maxDepth][]byte // one page run for each level
	last  []byte           // the key before
	pages uint64           // visited
	visit func(flags uint32, key, value []byte) error
}

func damaged(id uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d: %s", ErrDamaged, id, fmt.Sprintf(format, args...))
}

// Buckets lists the names of the buckets in order.
func (f *File) Buckets() ([]string, error) {
	var names []string
	err := f.buckets(func(name, _ []byte) error {
		names = append(names, string(name))
		return nil
	})
	return names, err
}

// buckets visits the pairs of the root, which are the buckets.
func (f *File) buckets(visit func(name, header []byte) error) error {
	w := walker{f: f, visit: func(flags uint32, key, value []byte) error {
		if flags != bucketElement {
			return damaged(f.meta.root, "%q is not a bucket", key)
		}
		if len(value) < bucketHeaderSize {
			return damaged(f.meta.root, "bucket %q has a header of %d bytes", key, len(value))
		}
		return visit(key, value)
	}}
	return f.named(w.page(f.meta.root, 0))
}

// named adds the file's name to an error of reading it.
func (f *File) named(err error) error {
	if err == nil {
		return nil
	}
	var own *visitError
	if errors.As(err, &own) {
		return own.err
	}
	return fmt.Errorf("snapshot: %s: %w", f.path, err)
}

// visitError carries an error of a caller's function out, as it is.
type visitError struct{ err error }

// Error implements error.
func (e *visitError) Error() string { return e.err.Error() }

// Each calls fn for every pair of a bucket in ascending order; the slices are
// valid during the call. A bucket that is not there has no pairs. The error
// wraps ErrDamaged, or is that of fn as it is.
func (f *File) Each(bucket string, fn func(key, value []byte) error) error {
	return f.each(func(name []byte) bool { return string(name) == bucket },
		func(_, key, value []byte) error { return fn(key, value) }, nil)
}

// All calls fn for every pair of every bucket, in order.
func (f *File) All(fn func(bucket, key, value []byte) error) error {
	return f.each(func([]byte) bool { return true }, fn, nil)
}

func (f *File) each(want func(name []byte) bool, fn func(bucket, key, value []byte) error, begin func(bucket []byte)) error {
	return f.buckets(func(name, header []byte) error {
		if !want(name) {
			return nil
		}
		if begin != nil {
			begin(name)
		}
		w := walker{f: f, visit: func(flags uint32, key, value []byte) error {
			if flags != 0 {
				return fmt.Errorf("%w: bucket %q has a bucket %q inside", ErrDamaged, name, key)
			}
			if err := fn(name, key, value); err != nil {
				return &visitError{err}
			}
			return nil
		}}
		if root := binary.LittleEndian.Uint64(header); root != 0 {
			return w.page(root, 0)
		}
		return w.elements(0, header[bucketHeaderSize:], 0)
	})
}

// page visits the tree below a page.
func (w *walker) page(id uint64, depth int) error {
	if depth == maxDepth {
		return damaged(id, "the tree is deeper than %d levels", maxDepth)
	}
	if w.pages++; w.pages > w.f.meta.high {
		return damaged(id, "the tree has more pages than the file")
	}
	if id < firstPage || id >= w.f.meta.high {
		return damaged(id, "it is outside of the %d pages of the file", w.f.meta.high)
	}
	size := int64(w.f.meta.pageSize)
	head := w.room(depth, size)
	if _, err := w.f.f.ReadAt(head, int64(id)*size); err != nil {
		return err
	}
	if own := binary.LittleEndian.Uint64(head); own != id {
		return damaged(id, "it says that it is page %d", own)
	}
	run := 1 + uint64(binary.LittleEndian.Uint32(head[12:]))
	if run > w.f.meta.high-id {
		return damaged(id, "its %d pages go over the end of the file", run)
	}
	b := head
	if run > 1 {
		b = w.room(depth, int64(run)*size)
		if _, err := w.f.f.ReadAt(b, int64(id)*size); err != nil {
			return err
		}
	}
	return w.elements(id, b, depth)
}

// room is the buffer of a level.
func (w *walker) room(depth int, size int64) []byte {
	if int64(cap(w.bufs[depth])) < size {
		w.bufs[depth] = make([]byte, size)
	}
	return w.bufs[depth][:size]
}

// elements visits what is in a run of pages.
func (w *walker) elements(id uint64, b []byte, depth int) error {
	if len(b) < pageHeaderSize {
		return damaged(id, "it has %d bytes", len(b))
	}
	flags, count := binary.LittleEndian.Uint16(b[8:]), int(binary.LittleEndian.Uint16(b[10:]))
	if pageHeaderSize+count*elementSize > len(b) {
		return damaged(id, "its %d elements do not fit into %d bytes", count, len(b))
	}
	for i := range count {
		at := pageHeaderSize + i*elementSize
		var err error
		switch flags {
		case flagLeaf:
			err = w.leaf(id, b, at)
		case flagBranch:
			err = w.branch(id, b, at, depth)
		default:
			err = damaged(id, "it is neither branch nor leaf, flags %#x", flags)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(id uint64, b []byte, at int) error {
	e := b[at:]
	pos, keySize, valueSize := binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
	if uint64(pos)+uint64(keySize)+uint64(valueSize) > uint64(len(e)) {
		return damaged(id, "an element goes over its end")
	}
	key := e[pos : pos+keySize : pos+keySize]
	value := e[pos+keySize : pos+keySize+valueSize : pos+keySize+valueSize]
	if len(key) == 0 || w.last != nil && bytes.Compare(w.last, key) >= 0 {
		return damaged(id, "key %q does not follow %q", key, w.last)
	}
	w.last = append(w.last[:0], key...)
	return w.visit(binary.LittleEndian.Uint32(e), key, value)
}

func (w *walker) branch(id uint64, b []byte, at, depth int) error {
	if id == 0 {
		return damaged(id, "a branch is inside of a bucket's value")
	}
	return w.page(binary.LittleEndian.Uint64(b[at+8:]), depth+1)
}
