package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Type says what a record holds.
type Type uint8

// The types of records.
const (
	TypeMetadata Type = 1
	TypeEntry    Type = 2
	TypeState    Type = 3
	TypeCRC      Type = 4
	TypeMark     Type = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	lengthSize = 8
	// maxCRCSize is the checksum's varint at its longest.
	maxCRCSize = 5
	// keepBuffer bounds the memory that an encoder holds between appends.
	keepBuffer = 4 << 20
)

// encoder strings records together in one buffer, which is written at once.
type encoder struct {
	buf []byte
	crc uint32 // running over the data of all records
}

func (e *encoder) reset() {
	if cap(e.buf) > keepBuffer {
		e.buf = nil
	}
	e.buf = e.buf[:0]
}

// open begins a record whose data has n bytes; the caller appends them and
// calls seal. The checksum in front of the data is not known yet: it gets the
// room of the longest one.
func (e *encoder) open(t Type, n int) (start int) {
	start = len(e.buf)
	e.buf = append(e.buf, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, byte(t), 0x10, 0, 0, 0, 0, 0, 0x1a)
	e.buf = binary.AppendUvarint(e.buf, uint64(n))
	return start
}

// seal fills in checksum, padding and length.
func (e *encoder) seal(start, n int) {
	e.crc = crc32.Update(e.crc, castagnoli, e.buf[len(e.buf)-n:])
	at := start + lengthSize + 3
	w := binary.PutUvarint(e.buf[at:at+maxCRCSize], uint64(e.crc))
	if w < maxCRCSize { // one in sixteen
		copy(e.buf[at+w:], e.buf[at+maxCRCSize:])
		e.buf = e.buf[:len(e.buf)-(maxCRCSize-w)]
	}
	e.frame(start)
}

// frame pads the record that began at start and writes its length.
func (e *encoder) frame(start int) {
	size := uint64(len(e.buf) - start - lengthSize)
	length := size
	if pad := -size & 7; pad > 0 {
		length |= (0x80 | pad) << 56
		e.buf = append(e.buf, make([]byte, pad)...)
	}
	binary.LittleEndian.PutUint64(e.buf[start:], length)
}

// crcRecord begins a segment: it carries the checksum over from the one before.
func (e *encoder) crcRecord() {
	start := len(e.buf)
	e.buf = append(e.buf, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, byte(TypeCRC), 0x10)
	e.buf = binary.AppendUvarint(e.buf, uint64(e.crc))
	e.frame(start)
}

func (e *encoder) metadata(m Metadata) {
	n := fieldSize(m.NodeID) + fieldSize(m.ClusterID)
	start := e.open(TypeMetadata, n)
	e.field(0x08, m.NodeID)
	e.field(0x10, m.ClusterID)
	e.seal(start, n)
}

func (e *encoder) entry(x *raftpb.Entry) {
	typ, term, index := uint64(x.GetType()), x.GetTerm(), x.GetIndex()
	n := fieldSize(term) + fieldSize(index)
	if typ != 0 {
		n += fieldSize(typ)
	}
	if len(x.Data) > 0 {
		n += fieldSize(uint64(len(x.Data))) + len(x.Data)
	}
	start := e.open(TypeEntry, n)
	if typ != 0 {
		e.field(0x08, typ)
	}
	e.field(0x10, term)
	e.field(0x18, index)
	if len(x.Data) > 0 {
		e.field(0x22, uint64(len(x.Data)))
		e.buf = append(e.buf, x.Data...)
	}
	e.seal(start, n)
}

func (e *encoder) state(hs *raftpb.HardState) {
	term, vote, commit := hs.GetTerm(), hs.GetVote(), hs.GetCommit()
	n := fieldSize(term) + fieldSize(vote) + fieldSize(commit)
	start := e.open(TypeState, n)
	e.field(0x08, term)
	e.field(0x10, vote)
	e.field(0x18, commit)
	e.seal(start, n)
}

// conf is the encoded configuration of a mark, nil for none.
func (m Mark) conf() ([]byte, error) {
	if m.ConfState == nil {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{}, m.ConfState)
}

func (e *encoder) mark(m Mark, conf []byte) {
	n := fieldSize(m.Index) + fieldSize(m.Term)
	if conf != nil {
		n += fieldSize(uint64(len(conf))) + len(conf)
	}
	start := e.open(TypeMark, n)
	e.field(0x08, m.Index)
	e.field(0x10, m.Term)
	if conf != nil {
		e.field(0x1a, uint64(len(conf)))
		e.buf = append(e.buf, conf...)
	}
	e.seal(start, n)
}

// field appends a tag of one byte and a varint.
func (e *encoder) field(tag byte, v uint64) {
	e.buf = binary.AppendUvarint(append(e.buf, tag), v)
}

// fieldSize is what field appends, in bytes.
func fieldSize(v uint64) int { return 1 + (bits.Len64(v|1)+6)/7 }
