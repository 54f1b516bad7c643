package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// writeBuffer is how much goes into one Write, in bytes, at least.
const writeBuffer = 256 << 10

// errMoved says that the second pass over a view saw something else.
var errMoved = errors.New("snapshot: the view is not what it was when the file was planned")

// WriteTo writes the pages. It reads the view once more. Every call to it
// writes the same bytes.
func (im *Image) WriteTo(w io.Writer) (int64, error) {
	out := &pageWriter{w: bufio.NewWriterSize(w, writeBuffer)}
	err := im.write(out)
	if err == nil {
		err = out.w.Flush()
	}
	if err == nil && out.written != im.Size() {
		err = errMoved
	}
	return out.written - int64(out.w.Buffered()), err
}

// WriteWithSum writes the pages and behind them their SHA-256, the form of a
// file that is kept.
func (im *Image) WriteWithSum(w io.Writer) (int64, error) {
	sum := sha256.New()
	n, err := im.WriteTo(io.MultiWriter(w, sum))
	if err != nil {
		return n, err
	}
	m, err := w.Write(sum.Sum(nil))
	return n + int64(m), err
}

// pageWriter makes runs of pages in one buffer, one after the other.
type pageWriter struct {
	w       *bufio.Writer
	buf     []byte
	written int64
}

// begin returns the cleared room of a run of pages, its header written.
func (o *pageWriter) begin(p page, flags uint16) []byte {
	size := int(p.pages) * pageSize
	if cap(o.buf) < size {
		o.buf = make([]byte, size)
	}
	o.buf = o.buf[:size]
	putPageHeader(o.buf, p.id, flags, p.count, p.pages)
	return o.buf
}

// end writes the run; used is where its content ends.
func (o *pageWriter) end(used int) error {
	clear(o.buf[used:])
	n, err := o.w.Write(o.buf)
	o.written += int64(n)
	return err
}

func (im *Image) write(o *pageWriter) error {
	for txid := range uint64(firstPage) {
		b := o.begin(page{id: txid, pages: 1}, flagMeta)
		meta{pageSize: pageSize, root: im.root.id, freelist: noFreelist, high: im.pages, txid: txid}.put(b[pageHeaderSize:])
		if err := o.end(pageHeaderSize + metaSize); err != nil {
			return err
		}
	}
	for _, b := range im.buckets {
		if err := b.writeLeaves(o); err != nil {
			return fmt.Errorf("snapshot: bucket %s: %w", b.name, err)
		}
		below := b.leaves
		for _, level := range b.branches {
			if err := b.writeBranches(o, level, below); err != nil {
				return err
			}
			below = level
		}
	}
	return im.writeRoot(o)
}

func (b *bucket) writeLeaves(o *pageWriter) error {
	var buf []byte
	next, element, data := 0, 0, 0 // of the open leaf
	err := b.pairs.each(func(key, value []byte) error {
		if buf == nil {
			if next == len(b.leaves) {
				return errMoved
			}
			buf = o.begin(b.leaves[next], flagLeaf)
			element = pageHeaderSize
			data = pageHeaderSize + b.leaves[next].count*elementSize
		}
		if data+len(key)+len(value) > len(buf) {
			return errMoved
		}
		putLeafElement(buf[element:], 0, data-element, len(key), len(value))
		data += copy(buf[data:], key)
		data += copy(buf[data:], value)
		element += elementSize
		if element == pageHeaderSize+b.leaves[next].count*elementSize {
			buf = nil
			next++
			return o.end(data)
		}
		return nil
	})
	if err == nil && (buf != nil || next != len(b.leaves)) {
		err = errMoved
	}
	return err
}

func (b *bucket) writeBranches(o *pageWriter, level, below []page) error {
	for _, p := range level {
		buf := o.begin(p, flagBranch)
		data := pageHeaderSize + p.count*elementSize
		for i, child := range below[:p.count] {
			at := pageHeaderSize + i*elementSize
			putBranchElement(buf[at:], data-at, child.keySize, child.id)
			data += copy(buf[data:], b.keys[child.keyAt:child.keyAt+child.keySize])
		}
		below = below[p.count:]
		if err := o.end(data); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) writeRoot(o *pageWriter) error {
	buf := o.begin(im.root, flagLeaf)
	data := pageHeaderSize + im.root.count*elementSize
	for i, b := range im.buckets {
		at := pageHeaderSize + i*elementSize
		size := b.valueSize()
		putLeafElement(buf[at:], bucketElement, data-at, len(b.name), size)
		data += copy(buf[data:], b.name)
		value := buf[data : data+size]
		clear(value)
		binary.LittleEndian.PutUint64(value, b.top())
		if b.top() == 0 {
			putPageHeader(value[bucketHeaderSize:], 0, flagLeaf, 0, 1)
		}
		data += size
	}
	return o.end(data)
}
