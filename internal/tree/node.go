package tree

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Node is a key or a directory at one moment. It never changes.
type Node struct {
	Path              string
	Dir               bool
	Value             string
	Created, Modified uint64 // indexes
	Expires           int64  // in nanoseconds of unix time; 0 for never
}

// Permanent is where an expiration has to lie behind to count (P-33): the year 2000, in nanoseconds of unix time.
const Permanent = 946684800 * 1e9

// expiration is the time a node ends; what lies before the year 2000 stands for never.
func expiration(nanos int64) int64 {
	if nanos < Permanent {
		return 0
	}
	return nanos
}

// append encodes a node without its path (docs/format/v2.md).
func (n *Node) append(b []byte) []byte {
	if n.Dir {
		b = wire.AppendUint(b, 1, 1)
	}
	if n.Value != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, n.Value)
	}
	b = wire.AppendUint(b, 3, n.Created)
	b = wire.AppendUint(b, 4, n.Modified)
	return wire.AppendUint(b, 5, uint64(n.Expires))
}

var errMalformed = errors.New("tree: malformed record")

func parseNode(path string, b []byte) (*Node, error) {
	n := &Node{Path: path}
	for len(b) > 0 {
		num, typ, k := protowire.ConsumeTag(b)
		if k < 0 {
			return nil, errMalformed
		}
		b = b[k:]
		switch {
		case typ == protowire.VarintType:
			v, k := protowire.ConsumeVarint(b)
			if k < 0 {
				return nil, errMalformed
			}
			b = b[k:]
			switch num {
			case 1:
				n.Dir = v != 0
			case 3:
				n.Created = v
			case 4:
				n.Modified = v
			case 5:
				n.Expires = int64(v)
			}
		case typ == protowire.BytesType && num == 2:
			v, k := protowire.ConsumeString(b)
			if k < 0 {
				return nil, errMalformed
			}
			n.Value, b = v, b[k:]
		default:
			return nil, fmt.Errorf("%w: field %d", errMalformed, num)
		}
	}
	return n, nil
}
