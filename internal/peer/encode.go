package peer

import (
	"encoding/binary"
	"math/bits"
	"net"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Entries and messages are encoded by hand, into bytes that proto.Marshal would give as well: they are what every write
// of a cluster passes through, and the generated code's reflection, its pointers and the copy per entry are most of what
// sending costs. A field is written if it is set, be it to zero, which is what etcd does.

const (
	// byReference is the size from which an entry's data is handed to the kernel where it lies. Below it, copying costs
	// less than another element of the write.
	byReference = 8 << 10
	// keepPage bounds the memory that a page holds between flushes.
	keepPage = 1 << 20
	// chunkHead is room for the head of a chunk: eight hexadecimal digits and the end of the line.
	chunkHead = 10
)

// page collects frames until they are written at once, as one chunk of the HTTP body.
type page struct {
	b        []byte // begins with chunkHead bytes of room
	refs     []reference
	refBytes int
	vec      [][]byte
}

// reference is data that belongs into the page behind b[:at].
type reference struct {
	at   int
	data []byte
}

func (p *page) reset() {
	if cap(p.b) > keepPage {
		p.b = nil
	}
	p.b = append(p.b[:0], "00000000\r\n"...)
	clear(p.refs)
	p.refs, p.refBytes = p.refs[:0], 0
}

// size is the number of bytes of all frames.
func (p *page) size() int { return len(p.b) - chunkHead + p.refBytes }

// chunk closes the page and returns what to write. It is valid until the next reset.
func (p *page) chunk() net.Buffers {
	const digits = "0123456789abcdef"
	for n, i := p.size(), 7; i >= 0; n, i = n>>4, i-1 {
		p.b[i] = digits[n&15]
	}
	p.b = append(p.b, '\r', '\n')
	p.vec = p.vec[:0]
	from := 0
	for _, r := range p.refs {
		p.vec = append(p.vec, p.b[from:r.at], r.data)
		from = r.at
	}
	p.vec = append(p.vec, p.b[from:])
	return p.vec
}

func (p *page) uint64(v uint64) { p.b = binary.BigEndian.AppendUint64(p.b, v) }

// field appends a tag of one byte and a varint.
func (p *page) field(tag byte, v uint64) {
	if v < 0x80 {
		p.b = append(p.b, tag, byte(v))
		return
	}
	p.b = binary.AppendUvarint(append(p.b, tag), v)
}

// optional appends a field if it is set.
func (p *page) optional(tag byte, v *uint64) {
	if v != nil {
		p.field(tag, *v)
	}
}

// fieldSize is what field appends, in bytes.
func fieldSize(v uint64) int { return 1 + (bits.Len64(v|1)+6)/7 }

func optionalSize(v *uint64) int {
	if v == nil {
		return 0
	}
	return fieldSize(*v)
}

func bytesSize(n int) int { return fieldSize(uint64(n)) + n }

func entrySize(e *raftpb.Entry) int {
	n := optionalSize(e.Term) + optionalSize(e.Index)
	if e.Type != nil {
		n += fieldSize(uint64(*e.Type))
	}
	if e.Data != nil {
		n += bytesSize(len(e.Data))
	}
	return n
}

func (p *page) entry(e *raftpb.Entry) {
	if e.Type != nil {
		p.field(0x08, uint64(*e.Type))
	}
	p.optional(0x10, e.Term)
	p.optional(0x18, e.Index)
	if e.Data == nil {
		return
	}
	p.field(0x22, uint64(len(e.Data)))
	if len(e.Data) < byReference {
		p.b = append(p.b, e.Data...)
		return
	}
	p.refs = append(p.refs, reference{len(p.b), e.Data})
	p.refBytes += len(e.Data)
}

// rare reports whether a message has fields that only the generated code knows. Raft sets them in messages that do not
// come this way: the snapshot travels with its image, and responses stay inside of a member.
func rare(m *raftpb.Message) bool { return m.Snapshot != nil || len(m.Responses) > 0 }

func messageSize(m *raftpb.Message) int {
	if rare(m) {
		return proto.Size(m)
	}
	n := optionalSize(m.To) + optionalSize(m.From) + optionalSize(m.Term) + optionalSize(m.LogTerm) +
		optionalSize(m.Index) + optionalSize(m.Commit) + optionalSize(m.RejectHint) + optionalSize(m.Vote)
	if m.Type != nil {
		n += fieldSize(uint64(*m.Type))
	}
	if m.Reject != nil {
		n += 2
	}
	if m.Context != nil {
		n += bytesSize(len(m.Context))
	}
	for _, e := range m.Entries {
		n += bytesSize(entrySize(e))
	}
	return n
}

// message appends a message; its size is messageSize. The error is that of the generated code for a message that cannot
// be encoded.
func (p *page) message(m *raftpb.Message) error {
	if rare(m) {
		b, err := proto.MarshalOptions{}.MarshalAppend(p.b, m)
		if err == nil {
			p.b = b
		}
		return err
	}
	if m.Type != nil {
		p.field(0x08, uint64(*m.Type))
	}
	p.optional(0x10, m.To)
	p.optional(0x18, m.From)
	p.optional(0x20, m.Term)
	p.optional(0x28, m.LogTerm)
	p.optional(0x30, m.Index)
	for _, e := range m.Entries {
		p.field(0x3a, uint64(entrySize(e)))
		p.entry(e)
	}
	p.optional(0x40, m.Commit)
	if m.Reject != nil {
		p.field(0x50, flag(*m.Reject))
	}
	p.optional(0x58, m.RejectHint)
	if m.Context != nil {
		p.field(0x62, uint64(len(m.Context)))
		p.b = append(p.b, m.Context...)
	}
	p.optional(0x68, m.Vote)
	return nil
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
