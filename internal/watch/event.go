package watch

import (
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Event is one change on its way to watchers, with its encoding as an element of WatchResponse.events. Whoever needs
// the encoding first makes it; it is the same for everybody.
type Event struct {
	change    wire.Change
	plain     atomic.Pointer[[]byte]
	withPrior atomic.Pointer[[]byte]
}

// Field numbers of Event and of WatchResponse.
const (
	eventType   = 1
	eventKV     = 2
	eventPrevKV = 3
	respEvents  = 11
)

func (e *Event) encoding(prior bool) []byte {
	p := &e.plain
	if prior && e.change.Prev != "" {
		p = &e.withPrior
	}
	if b := p.Load(); b != nil {
		return *b
	}
	b := encodeEvent(&e.change, prior)
	p.Store(&b)
	return b
}

// encodeEvent encodes a change with the tag and length it has inside a WatchResponse.
func encodeEvent(c *wire.Change, prior bool) []byte {
	kv := c.KV
	deleted := c.Deleted()
	if deleted {
		// A deletion shows the key and the revision of the deletion.
		kv = wire.MakeKV(wire.Fields{Key: c.KV.Key(), ModRevision: c.Rev.Main})
	}
	n := protowire.SizeTag(eventKV) + protowire.SizeBytes(len(kv))
	if deleted {
		n += 2
	}
	if prior && c.Prev != "" {
		n += protowire.SizeTag(eventPrevKV) + protowire.SizeBytes(len(c.Prev))
	}
	b := make([]byte, 0, n+6)
	b = protowire.AppendTag(b, respEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(n))
	if deleted {
		b = wire.AppendUint(b, eventType, 1)
	}
	b = wire.AppendString(b, eventKV, string(kv))
	if prior {
		b = wire.AppendString(b, eventPrevKV, string(c.Prev))
	}
	return b
}
