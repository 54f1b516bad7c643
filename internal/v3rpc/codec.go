package v3rpc

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/wire"
)

// raw receives a request body as it came.
type raw struct{ b []byte }

// chunkPool takes back the chunks of frames that gRPC has sent.
type chunkPool struct{}

func (chunkPool) Get(int) *[]byte { panic("v3rpc: chunks are taken by frame builders") }

func (chunkPool) Put(b *[]byte) { wire.FreeChunk(b) }

// heldPool tells the holder of a frame what was sent of it. The last chunk that is freed is the end of the frame: only then may
// others have its memory.
type heldPool struct {
	holder wire.Holder
	left   *atomic.Int64 // chunks
}

func (heldPool) Get(int) *[]byte { panic("v3rpc: chunks are taken by frame builders") }

func (p heldPool) Put(b *[]byte) {
	n := len(*b)
	wire.FreeChunk(b)
	p.holder.Sent(n, p.left.Add(-1) == 0)
}

// pool is where a frame's chunks go when they are sent.
func pool(f *wire.Frame) mem.BufferPool {
	if f.Holder == nil {
		return chunkPool{}
	}
	p := heldPool{f.Holder, new(atomic.Int64)}
	for _, c := range f.Chunks {
		if c != nil {
			p.left.Add(1)
		}
	}
	if p.left.Load() == 0 {
		f.Holder.Sent(f.Size, true)
		return chunkPool{}
	}
	return p
}

// codec passes frames and raw bodies on without encoding them; everything else is protobuf.
type codec struct{ metrics *Metrics }

func (codec) Name() string { return "proto" }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *wire.Frame:
		c.metrics.bytesOut.Add(float64(m.Size))
		out, chunks := make(mem.BufferSlice, len(m.Bufs)), pool(m)
		for i, b := range m.Bufs {
			if i < len(m.Chunks) && m.Chunks[i] != nil {
				out[i] = mem.NewBuffer(m.Chunks[i], chunks)
				continue
			}
			out[i] = mem.SliceBuffer(b)
		}
		return out, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, err
		}
		c.metrics.bytesOut.Add(float64(len(b)))
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	return nil, fmt.Errorf("v3rpc: cannot encode %T", v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	c.metrics.bytesIn.Add(float64(data.Len()))
	switch m := v.(type) {
	case *raw:
		m.b = data.Materialize()
		return nil
	case proto.Message:
		buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer buf.Free()
		return proto.Unmarshal(buf.ReadOnlyData(), m)
	}
	return fmt.Errorf("v3rpc: cannot decode %T", v)
}
