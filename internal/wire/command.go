package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Kind says what a command does: its field number in etcd's InternalRaftRequest (operations.md section 7.3).
type Kind int32

// The kinds of commands.
const (
	KindNone            Kind = 0
	KindRange           Kind = 3
	KindPut             Kind = 4
	KindDeleteRange     Kind = 5
	KindTxn             Kind = 6
	KindCompaction      Kind = 7
	KindLeaseGrant      Kind = 8
	KindLeaseRevoke     Kind = 9
	KindAlarm           Kind = 10
	KindLeaseCheckpoint Kind = 11

	KindAuthEnable               Kind = 1000
	KindAuthDisable              Kind = 1011
	KindAuthenticate             Kind = 1012
	KindAuthStatus               Kind = 1013
	KindAuthUserAdd              Kind = 1100
	KindAuthUserDelete           Kind = 1101
	KindAuthUserGet              Kind = 1102
	KindAuthUserChangePassword   Kind = 1103
	KindAuthUserGrantRole        Kind = 1104
	KindAuthUserRevokeRole       Kind = 1105
	KindAuthUserList             Kind = 1106
	KindAuthRoleList             Kind = 1107
	KindAuthRoleAdd              Kind = 1200
	KindAuthRoleDelete           Kind = 1201
	KindAuthRoleGet              Kind = 1202
	KindAuthRoleGrantPermission  Kind = 1203
	KindAuthRoleRevokePermission Kind = 1204

	KindClusterVersionSet    Kind = 1300
	KindMemberAttrSet        Kind = 1301
	KindDowngradeInfoSet     Kind = 1302
	KindDowngradeVersionTest Kind = 9900
	fieldHeader                   = 100
	fieldID                       = 1
)

// Command is one log entry in etcd's InternalRaftRequest encoding. Its body is kept as the client sent it.
type Command struct {
	ID           uint64 // the request's id; the member that proposed it waits for this id
	User         string // who asked, "" if nobody in particular
	AuthRevision uint64
	Kind         Kind
	Body         []byte // shares the entry's memory
}

var errMalformedCommand = errors.New("wire: malformed command")

// AppendCommand appends the encoding of c. The body goes in as it is.
func AppendCommand(b []byte, c *Command) []byte {
	// Fields ascend, as every protobuf encoder writes them: bodies below 100 come before the header.
	if c.Kind < fieldHeader {
		b = appendBody(b, c)
	}
	n := SizeUint(1, c.ID) + SizeString(2, c.User) + SizeUint(3, c.AuthRevision)
	b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(n))
	b = AppendUint(b, 1, c.ID)
	b = AppendString(b, 2, c.User)
	b = AppendUint(b, 3, c.AuthRevision)
	if c.Kind > fieldHeader {
		b = appendBody(b, c)
	}
	return b
}

func appendBody(b []byte, c *Command) []byte {
	b = protowire.AppendTag(b, protowire.Number(c.Kind), protowire.BytesType)
	return protowire.AppendBytes(b, c.Body)
}

// CommandSize is the number of bytes AppendCommand adds: what max-request-bytes limits.
func CommandSize(c *Command) int {
	n := SizeUint(1, c.ID) + SizeString(2, c.User) + SizeUint(3, c.AuthRevision)
	return protowire.SizeTag(fieldHeader) + protowire.SizeBytes(n) +
		protowire.SizeTag(protowire.Number(c.Kind)) + protowire.SizeBytes(len(c.Body))
}

// MessageCommand makes a command whose body is the encoding of m.
func MessageCommand(id uint64, k Kind, m proto.Message) (*Command, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return &Command{ID: id, Kind: k, Body: body}, nil
}

// ParseCommand takes an entry apart. A command holds exactly one body; an unknown one is returned with its number.
func ParseCommand(b []byte) (c Command, err error) {
	r := fieldReader{b: b}
	for r.next() {
		switch {
		case r.num == fieldID && r.typ == protowire.VarintType:
			if c.ID == 0 {
				c.ID = r.v
			}
		case r.num == fieldHeader && r.typ == protowire.BytesType:
			h := fieldReader{b: r.data}
			for h.next() {
				switch {
				case h.num == 1 && h.typ == protowire.VarintType:
					c.ID = h.v
				case h.num == 2 && h.typ == protowire.BytesType:
					c.User = string(h.data)
				case h.num == 3 && h.typ == protowire.VarintType:
					c.AuthRevision = h.v
				}
			}
			if h.bad {
				return c, errMalformedCommand
			}
		case r.typ == protowire.BytesType:
			if c.Kind != KindNone {
				return c, errMalformedCommand
			}
			c.Kind, c.Body = Kind(r.num), r.data
		}
	}
	if r.bad {
		return c, errMalformedCommand
	}
	return c, nil
}

// fieldReader walks the fields of one protobuf message.
type fieldReader struct {
	b    []byte
	num  protowire.Number
	typ  protowire.Type
	v    uint64 // of a varint
	data []byte // of a length-delimited field, in the message's memory
	bad  bool
}

func (r *fieldReader) next() bool {
	if len(r.b) == 0 || r.bad {
		return false
	}
	num, typ, n := protowire.ConsumeTag(r.b)
	if n < 0 {
		r.bad = true
		return false
	}
	r.b = r.b[n:]
	r.num, r.typ = num, typ
	switch typ {
	case protowire.VarintType:
		r.v, n = protowire.ConsumeVarint(r.b)
	case protowire.BytesType:
		r.data, n = protowire.ConsumeBytes(r.b)
	default:
		n = protowire.ConsumeFieldValue(num, typ, r.b)
	}
	if n < 0 {
		r.bad = true
		return false
	}
	r.b = r.b[n:]
	return true
}

// AppendUint appends a varint field unless it is zero.
func AppendUint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// AppendString appends a length-delimited field unless it is empty.
func AppendString(b []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

// SizeUint is the size of AppendUint.
func SizeUint(num protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeVarint(v)
}

// SizeString is the size of AppendString.
func SizeString(num protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(s))
}
