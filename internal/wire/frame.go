package wire

import "google.golang.org/protobuf/encoding/protowire"

// Frame is one response as a list of byte slices, none of which is written any more. The codec hands it to gRPC as it is.
type Frame struct {
	Bufs [][]byte
	Size int
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
	f   Frame
	buf []byte
}

const (
	// byReference is the size from which a record is not copied any more.
	byReference = 8 << 10
	chunk       = 64 << 10
)

// NewBuilder starts a frame of about size bytes.
func NewBuilder(size int) *Builder {
	return &Builder{buf: make([]byte, 0, min(max(size, 64), chunk))}
}

// Buf gives the buffer to append small fields to; it has to be handed back to SetBuf.
func (b *Builder) Buf() []byte { return b.buf }

// SetBuf takes the buffer back.
func (b *Builder) SetBuf(buf []byte) { b.buf = buf }

// Uint appends a varint field unless it is zero.
func (b *Builder) Uint(num protowire.Number, v uint64) { b.buf = AppendUint(b.buf, num, v) }

// Record appends a record as field num. left is about how much is still to come.
func (b *Builder) Record(num protowire.Number, kv KV, left int) {
	if cap(b.buf)-len(b.buf) < 12+min(len(kv), byReference) {
		b.flush(left + len(kv) + 12)
	}
	b.buf = protowire.AppendTag(b.buf, num, protowire.BytesType)
	b.buf = protowire.AppendVarint(b.buf, uint64(len(kv)))
	if len(kv) < byReference {
		b.buf = append(b.buf, kv...)
		return
	}
	rest := b.buf[len(b.buf):len(b.buf):cap(b.buf)]
	b.f.Add(b.buf[:len(b.buf):len(b.buf)])
	b.buf = rest
	b.f.Add(kv.Bytes())
}

// Message appends the bytes of a message as field num.
func (b *Builder) Message(num protowire.Number, m *Frame) {
	b.buf = protowire.AppendTag(b.buf, num, protowire.BytesType)
	b.buf = protowire.AppendVarint(b.buf, uint64(m.Size))
	for _, x := range m.Bufs {
		if len(x) < byReference {
			b.buf = append(b.buf, x...)
			continue
		}
		b.flush(64)
		b.f.Add(x)
	}
}

func (b *Builder) flush(next int) {
	b.f.Add(b.buf)
	b.buf = make([]byte, 0, min(max(next, 64), chunk))
}

// Frame finishes the frame.
func (b *Builder) Frame() *Frame {
	b.f.Add(b.buf)
	b.buf = nil
	return &b.f
}
