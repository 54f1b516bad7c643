package wire

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// Frame is one response as a list of byte slices, none of which is written any more. The codec hands it to gRPC as it is.
type Frame struct {
	Bufs [][]byte
	Size int
	// Chunks are the slices of Bufs, by position, that come from the pool of chunks; nil for those that do not. Whoever
	// has sent the frame may give them back with FreeChunk. It is nil if there are none.
	Chunks []*[]byte
	// Holder, if there is one, is told of what has been sent of the frame. Whoever has it and does not send it tells of its end.
	Holder Holder
}

// Holder is what a frame's memory was taken from.
type Holder interface {
	// Sent tells that n bytes of chunks are free again; last is the end of the frame.
	Sent(n int, last bool)
}

// Drop tells that the frame will not be sent.
func (f *Frame) Drop() {
	if f.Holder != nil {
		f.Holder.Sent(f.Size, true)
	}
}

var chunks = sync.Pool{New: func() any {
	b := make([]byte, 0, chunk)
	return &b
}}

// FreeChunk gives a chunk back to the pool.
func FreeChunk(b *[]byte) {
	*b = (*b)[:0]
	chunks.Put(b)
}

// Add appends b by reference.
func (f *Frame) Add(b []byte) {
	if len(b) > 0 {
		f.Bufs = append(f.Bufs, b)
		f.Size += len(b)
	}
}

// Header is etcdserverpb.ResponseHeader.
type Header struct {
	ClusterID, MemberID uint64
	Revision            int64
	Term                uint64
}

// AppendHeader appends h as field num.
func AppendHeader(b []byte, num protowire.Number, h Header) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	n := SizeUint(1, h.ClusterID) + SizeUint(2, h.MemberID) + SizeUint(3, uint64(h.Revision)) + SizeUint(4, h.Term)
	b = protowire.AppendVarint(b, uint64(n))
	b = AppendUint(b, 1, h.ClusterID)
	b = AppendUint(b, 2, h.MemberID)
	b = AppendUint(b, 3, uint64(h.Revision))
	return AppendUint(b, 4, h.Term)
}

// HeaderSize is the size of AppendHeader for a small field number.
func HeaderSize(h Header) int {
	n := SizeUint(1, h.ClusterID) + SizeUint(2, h.MemberID) + SizeUint(3, uint64(h.Revision)) + SizeUint(4, h.Term)
	return 1 + protowire.SizeBytes(n)
}

// Builder writes a frame. Small pieces are copied together, large ones go by reference.
type Builder struct {
	f     Frame
	buf   []byte
	chunk *[]byte // what buf is part of, if it came from the pool
}

const (
	// ByReference is the size from which a record is not copied any more.
	ByReference = 16 << 10
	chunk       = 64 << 10
	// fromPool is from which size on a buffer is taken from the pool.
	fromPool = 8 << 10
)

// NewBuilder starts a frame of about size bytes.
func NewBuilder(size int) *Builder {
	b := &Builder{}
	b.open(size)
	return b
}

func (b *Builder) open(size int) {
	b.chunk = nil
	if size >= fromPool {
		b.chunk = chunks.Get().(*[]byte)
		b.buf = *b.chunk
		return
	}
	b.buf = make([]byte, 0, max(size, 64))
}

// Buf gives the buffer to append small fields to; it has to be handed back to SetBuf.
func (b *Builder) Buf() []byte { return b.buf }

// SetBuf takes the buffer back.
func (b *Builder) SetBuf(buf []byte) { b.buf = buf }

// Room makes sure that n more bytes fit the buffer. left is about how much is still to come.
func (b *Builder) Room(n, left int) {
	if cap(b.buf)-len(b.buf) < n {
		b.flush(max(n, left))
	}
}

// Uint appends a varint field unless it is zero.
func (b *Builder) Uint(num protowire.Number, v uint64) { b.buf = AppendUint(b.buf, num, v) }

const maxTagAndLength = 16

// Record appends a record as field num. left is about how much is still to come, the record included.
func (b *Builder) Record(num protowire.Number, kv KV, left int) {
	b.Room(maxTagAndLength+min(len(kv), ByReference), left+maxTagAndLength)
	b.buf = protowire.AppendTag(b.buf, num, protowire.BytesType)
	b.buf = protowire.AppendVarint(b.buf, uint64(len(kv)))
	if len(kv) < ByReference {
		b.buf = append(b.buf, kv...)
		return
	}
	b.flush(left)
	b.f.Add(kv.Bytes())
}

// Message appends the bytes of a message as field num.
func (b *Builder) Message(num protowire.Number, m *Frame) {
	b.buf = protowire.AppendTag(b.buf, num, protowire.BytesType)
	b.buf = protowire.AppendVarint(b.buf, uint64(m.Size))
	for i, x := range m.Bufs {
		if len(x) < ByReference {
			b.buf = append(b.buf, x...)
			if m.Chunks != nil && i < len(m.Chunks) && m.Chunks[i] != nil {
				FreeChunk(m.Chunks[i])
			}
			continue
		}
		b.flush(64)
		b.f.Add(x)
		if m.Chunks != nil && i < len(m.Chunks) && m.Chunks[i] != nil {
			b.f.own(m.Chunks[i])
		}
	}
}

// own notes that the last slice of the frame is a chunk.
func (f *Frame) own(c *[]byte) {
	for len(f.Chunks) < len(f.Bufs) {
		f.Chunks = append(f.Chunks, nil)
	}
	f.Chunks[len(f.Bufs)-1] = c
}

func (b *Builder) close() {
	if len(b.buf) == 0 {
		if b.chunk != nil {
			FreeChunk(b.chunk)
		}
		return
	}
	b.f.Add(b.buf)
	// A buffer that had to grow beyond its chunk has left it.
	if b.chunk != nil && cap(b.buf) == cap(*b.chunk) {
		*b.chunk = b.buf
		b.f.own(b.chunk)
	}
}

func (b *Builder) flush(next int) {
	b.close()
	b.open(next)
}

// Frame finishes the frame.
func (b *Builder) Frame() *Frame {
	b.close()
	b.buf, b.chunk = nil, nil
	return &b.f
}
