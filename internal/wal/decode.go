package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Record is one record of a log, as tools see it.
type Record struct {
	File   string // path of the segment
	Offset int64  // where the record's length field is, in bytes
	Type   Type
	CRC    uint32
	// Data is valid until the next record is read.
	Data []byte
}

// parseLength splits a length field. An error names what cannot be.
func parseLength(v uint64) (size int64, pad int64, err error) {
	size = int64(v & (1<<56 - 1))
	if top := v >> 56; top != 0 {
		if top&^7 != 0x80 || top&7 == 0 {
			return 0, 0, fmt.Errorf("impossible length field %#016x", v)
		}
		pad = int64(top & 7)
	}
	if (size+pad)%8 != 0 {
		return 0, 0, fmt.Errorf("impossible length field %#016x", v)
	}
	return size, pad, nil
}

// fields walks over the fields of a protobuf message of varints and byte
// strings.
func fields(b []byte, visit func(num uint64, v uint64, data []byte) error) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return errors.New("broken field tag")
		}
		b = b[n:]
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return errors.New("broken field value")
		}
		b = b[n:]
		var data []byte
		switch tag & 7 {
		case 0:
		case 2:
			if v > uint64(len(b)) {
				return errors.New("field is longer than its message")
			}
			data, b = b[:v:v], b[v:]
		default:
			return fmt.Errorf("unknown kind of field, tag %#x", tag)
		}
		if err := visit(tag, v, data); err != nil {
			return err
		}
	}
	return nil
}

func unknown(tag uint64) error { return fmt.Errorf("unknown field, tag %#x", tag) }

// parseBody reads the record inside a frame.
func (r *Record) parseBody(body []byte) error {
	var typ, crc uint64
	err := fields(body, func(tag, v uint64, data []byte) error {
		switch tag {
		case 0x08:
			typ = v
		case 0x10:
			crc = v
		case 0x1a:
			r.Data = data
		default:
			return unknown(tag)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if typ < uint64(TypeMetadata) || typ > uint64(TypeMark) {
		return fmt.Errorf("unknown record type %d", typ)
	}
	if crc > 1<<32-1 {
		return errors.New("checksum of more than 32 bits")
	}
	r.Type, r.CRC = Type(typ), uint32(crc)
	return nil
}

// Metadata decodes a record of TypeMetadata.
func (r *Record) Metadata() (m Metadata, err error) {
	err = fields(r.Data, func(tag, v uint64, _ []byte) error {
		switch tag {
		case 0x08:
			m.NodeID = v
		case 0x10:
			m.ClusterID = v
		default:
			return unknown(tag)
		}
		return nil
	})
	return m, err
}

// entrySlot holds an entry and what its pointers point to: one allocation.
type entrySlot struct {
	entry       raftpb.Entry
	term, index uint64
	typ         raftpb.EntryType
}

// Entry decodes a record of TypeEntry. The entry owns its bytes.
func (r *Record) Entry() (*raftpb.Entry, error) {
	s := new(entrySlot)
	s.entry.Term, s.entry.Index = &s.term, &s.index
	err := fields(r.Data, func(tag, v uint64, data []byte) error {
		switch tag {
		case 0x08:
			if v > uint64(raftpb.EntryConfChangeV2) {
				return fmt.Errorf("unknown entry type %d", v)
			}
			s.typ = raftpb.EntryType(v)
			s.entry.Type = &s.typ
		case 0x10:
			s.term = v
		case 0x18:
			s.index = v
		case 0x22:
			s.entry.Data = append(make([]byte, 0, len(data)), data...)
		default:
			return unknown(tag)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s.entry, nil
}

// entryIndex decodes only what tells whether an entry is wanted.
func (r *Record) entryIndex() (index, term uint64, err error) {
	err = fields(r.Data, func(tag, v uint64, _ []byte) error {
		switch tag {
		case 0x10:
			term = v
		case 0x18:
			index = v
		}
		return nil
	})
	if err == nil && index == 0 {
		err = errors.New("entry without an index")
	}
	return index, term, err
}

// State decodes a record of TypeState.
func (r *Record) State() (*raftpb.HardState, error) {
	var term, vote, commit uint64
	err := fields(r.Data, func(tag, v uint64, _ []byte) error {
		switch tag {
		case 0x08:
			term = v
		case 0x10:
			vote = v
		case 0x18:
			commit = v
		default:
			return unknown(tag)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}, nil
}

// Mark decodes a record of TypeMark.
func (r *Record) Mark() (m Mark, err error) {
	err = fields(r.Data, func(tag, v uint64, data []byte) error {
		switch tag {
		case 0x08:
			m.Index = v
		case 0x10:
			m.Term = v
		case 0x1a:
			m.ConfState = new(raftpb.ConfState)
			return proto.Unmarshal(data, m.ConfState)
		default:
			return unknown(tag)
		}
		return nil
	})
	return m, err
}
