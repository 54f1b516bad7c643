package measure

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// The methods that are called with bodies made beforehand.
const (
	methodPut       = "/etcdserverpb.KV/Put"
	methodTxn       = "/etcdserverpb.KV/Txn"
	methodRange     = "/etcdserverpb.KV/Range"
	methodWatch     = "/etcdserverpb.Watch/Watch"
	methodKeepAlive = "/etcdserverpb.Lease/LeaseKeepAlive"
)

// rawCodec sends bytes as they are, and of an answer keeps the size or the bytes: the client shares the processors with the
// server, and what it spends is missing there.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

var raw = grpc.ForceCodecV2(rawCodec{})

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("measure: %T is no body", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *int:
		*v = data.Len()
	case *[]byte:
		n := data.Len()
		if cap(*v) < n {
			*v = make([]byte, n, 2*n)
		}
		*v = (*v)[:n]
		data.CopyTo(*v)
	default:
		return fmt.Errorf("measure: %T takes no body", v)
	}
	return nil
}
