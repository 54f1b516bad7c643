package client

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// CompareTarget and CompareResult are the parts of a comparison.
type (
	CompareTarget int
	CompareResult int
)

const (
	CompareVersion CompareTarget = iota
	CompareCreated
	CompareModified
	CompareValue
)

// Cmp is one guard of a transaction. It is a value: no method changes another's.
type Cmp struct{ pb *pb.Compare }

// FromCompare wraps a wire comparison.
func FromCompare(c *pb.Compare) Cmp { return Cmp{pb: clone(c)} }

// GetCompare returns the wire form.
func (cmp *Cmp) GetCompare() *pb.Compare { return cmp.pb }

// Clone returns an independent copy.
func (cmp *Cmp) Clone() Cmp { return Cmp{pb: clone(cmp.pb)} }

func clone(c *pb.Compare) *pb.Compare {
	if c == nil {
		return &pb.Compare{}
	}
	return proto.CloneOf(c)
}

// Value, Version, CreateRevision, ModRevision and LeaseValue begin a comparison
// of that property of a key; Compare completes it.
func Value(key string) Cmp          { return target(key, pb.Compare_VALUE) }
func Version(key string) Cmp        { return target(key, pb.Compare_VERSION) }
func CreateRevision(key string) Cmp { return target(key, pb.Compare_CREATE) }
func ModRevision(key string) Cmp    { return target(key, pb.Compare_MOD) }
func LeaseValue(key string) Cmp     { return target(key, pb.Compare_LEASE) }

func target(key string, t pb.Compare_CompareTarget) Cmp {
	return Cmp{pb: &pb.Compare{Key: []byte(key), Target: t}}
}

// Compare completes a comparison. result is one of "=", "!=", ">", "<"; v is a
// string for Value, int or int64 for the revisions and the version, and LeaseID,
// int or int64 for LeaseValue. It panics over anything else.
func Compare(cmp Cmp, result string, v any) Cmp {
	c := clone(cmp.pb)
	switch result {
	case "=":
		c.Result = pb.Compare_EQUAL
	case "!=":
		c.Result = pb.Compare_NOT_EQUAL
	case ">":
		c.Result = pb.Compare_GREATER
	case "<":
		c.Result = pb.Compare_LESS
	default:
		panic("Unknown result op")
	}
	switch c.Target {
	case pb.Compare_VALUE:
		s, ok := v.(string)
		if !ok {
			panic(fmt.Sprintf("bad compare value: expected a string, got %T", v))
		}
		c.TargetUnion = &pb.Compare_Value{Value: []byte(s)}
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: number(v)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: number(v)}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: number(v)}
	case pb.Compare_LEASE:
		if id, ok := v.(LeaseID); ok {
			v = int64(id)
		}
		c.TargetUnion = &pb.Compare_Lease{Lease: number(v)}
	default:
		panic("Unknown compare type")
	}
	return Cmp{pb: c}
}

func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int:
		return int64(n)
	}
	panic(fmt.Sprintf("bad value: expected an integer, got %T", v))
}

// KeyBytes, WithKeyBytes, ValueBytes and WithValueBytes reach into the
// comparison.
func (cmp *Cmp) KeyBytes() []byte { return cmp.pb.GetKey() }

func (cmp *Cmp) WithKeyBytes(key []byte) {
	cmp.pb = clone(cmp.pb)
	cmp.pb.Key = key
}

func (cmp *Cmp) ValueBytes() []byte { return cmp.pb.GetValue() }

func (cmp *Cmp) WithValueBytes(v []byte) {
	cmp.pb = clone(cmp.pb)
	cmp.pb.TargetUnion = &pb.Compare_Value{Value: v}
}

// WithRange makes the comparison hold for every key in [key, end).
func (cmp Cmp) WithRange(end string) Cmp {
	c := clone(cmp.pb)
	c.RangeEnd = []byte(end)
	return Cmp{pb: c}
}

// WithPrefix makes the comparison hold for every key with that prefix.
func (cmp Cmp) WithPrefix() Cmp {
	c := clone(cmp.pb)
	c.RangeEnd = PrefixRangeEnd(c.Key)
	return Cmp{pb: c}
}
