package peer

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// What arrives is decoded by hand as well: all entries of a message lie in one allocation and all their data in another.
// They live and die together, for raft keeps a run of its log and drops a run of it, so none keeps much alive that is not
// needed. A field that is unknown here, or rare, sends the bytes to the generated decoder: what it accepts is accepted.

// entrySlot holds an entry and what only it points to.
type entrySlot struct {
	entry raftpb.Entry
	index uint64
}

// messageSlot holds a message and what it points to.
type messageSlot struct {
	m       raftpb.Message
	numbers [8]uint64
	context [8]byte // raft's contexts are 8 bytes or none
	typ     raftpb.MessageType
	reject  bool
}

// kinds are the values that all entries' types point to. Nobody writes through the pointers of a raft message.
var kinds = [...]raftpb.EntryType{raftpb.EntryNormal, raftpb.EntryConfChange, raftpb.EntryConfChangeV2}

// varint takes a varint off b. The count is negative if there is none.
func varint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

// entryParser decodes entries one after another; neighbours of the same term share it.
type entryParser struct{ term *uint64 }

// parse decodes an entry into its slot. The data shares b's memory.
func (x *entryParser) parse(s *entrySlot, b []byte) error {
	if x.plain(s, b) {
		return nil
	}
	s.entry = raftpb.Entry{}
	return proto.Unmarshal(b, &s.entry)
}

func (x *entryParser) plain(s *entrySlot, b []byte) bool {
	for len(b) > 0 {
		tag := b[0]
		v, n := varint(b[1:])
		if n < 0 {
			return false
		}
		b = b[1+n:]
		switch tag {
		case 0x08:
			if v >= uint64(len(kinds)) {
				return false
			}
			s.entry.Type = &kinds[v]
		case 0x10:
			if x.term == nil || *x.term != v {
				term := v // v itself would be allocated for every field
				x.term = &term
			}
			s.entry.Term = x.term
		case 0x18:
			s.index = v
			s.entry.Index = &s.index
		case 0x22:
			if v > uint64(len(b)) {
				return false
			}
			s.entry.Data, b = b[:v:v], b[v:]
		default:
			return false
		}
	}
	return true
}

// own copies the data of all entries out of the memory that they were parsed from, into one block of exactly their size.
func own(slots []entrySlot) {
	size := 0
	for i := range slots {
		size += len(slots[i].entry.Data)
	}
	block := make([]byte, 0, size)
	for i := range slots {
		if e := &slots[i].entry; e.Data != nil {
			from := len(block)
			block = append(block, e.Data...)
			e.Data = block[from:len(block):len(block)]
		}
	}
}

// parseMessage decodes a message. With shared, its entries' data stays where it is in b; else b may be used again.
func parseMessage(b []byte, shared bool) (*raftpb.Message, error) {
	s := new(messageSlot)
	if ok, err := s.plain(b, shared); ok || err != nil {
		return &s.m, err
	}
	m := new(raftpb.Message)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("peer: malformed message: %w", err)
	}
	return m, nil
}

func (s *messageSlot) plain(b []byte, shared bool) (bool, error) {
	entries := countEntries(b)
	var slots []entrySlot
	if entries > 0 {
		slots = make([]entrySlot, entries)
		s.m.Entries = make([]*raftpb.Entry, 0, entries)
	}
	var parser entryParser
	set := func(at int, v uint64) *uint64 {
		s.numbers[at] = v
		return &s.numbers[at]
	}
	for len(b) > 0 {
		tag := b[0]
		v, n := varint(b[1:])
		if n < 0 {
			return false, nil
		}
		b = b[1+n:]
		var data []byte
		if tag&7 == byte(protowire.BytesType) {
			if v > uint64(len(b)) {
				return false, nil
			}
			data, b = b[:v:v], b[v:]
		}
		switch tag {
		case 0x08:
			if v > uint64(raftpb.MsgForgetLeader) {
				return false, nil
			}
			s.typ = raftpb.MessageType(v)
			s.m.Type = &s.typ
		case 0x10:
			s.m.To = set(0, v)
		case 0x18:
			s.m.From = set(1, v)
		case 0x20:
			s.m.Term = set(2, v)
		case 0x28:
			s.m.LogTerm = set(3, v)
		case 0x30:
			s.m.Index = set(4, v)
		case 0x3a:
			slot := &slots[len(s.m.Entries)]
			if err := parser.parse(slot, data); err != nil {
				return false, fmt.Errorf("peer: malformed entry: %w", err)
			}
			s.m.Entries = append(s.m.Entries, &slot.entry)
		case 0x40:
			s.m.Commit = set(5, v)
		case 0x50:
			s.reject = v != 0
			s.m.Reject = &s.reject
		case 0x58:
			s.m.RejectHint = set(6, v)
		case 0x62:
			s.m.Context = append(s.context[:0], data...)
		case 0x68:
			s.m.Vote = set(7, v)
		default:
			return false, nil
		}
	}
	if !shared {
		own(slots)
	}
	return true, nil
}

// countEntries is an upper bound of the entries that plain will find in a message: exactly their number if it finds
// nothing wrong.
func countEntries(b []byte) (count int) {
	for len(b) > 0 {
		tag := b[0]
		v, n := varint(b[1:])
		if n < 0 {
			return count
		}
		b = b[1+n:]
		if tag&7 == byte(protowire.BytesType) {
			if v > uint64(len(b)) {
				return count
			}
			b = b[v:]
		}
		if tag == 0x3a {
			count++
		}
	}
	return count
}
