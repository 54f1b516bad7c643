package mvcc

import (
	"encoding/binary"
	"unsafe"

	"github.com/cairn-kv/cairn/internal/wire"
)

// arena holds the newest records, many to a slab, so that the garbage collector sees a few thousand objects and not one
// for each key. A record is a string into its slab: whoever still has it, a view or a watcher, keeps the slab alive, so
// nothing is ever freed under a reader. Slabs that are mostly dead are emptied by moving what lives.
//
// In front of each record are sixteen bytes: the number of its slab, its length, the sub revision it was made at, which
// the record itself does not tell, and whether it was released. That last word is the arena's own: readers do not look at it.
type arena struct {
	slabs  []slab
	free   []uint32 // numbers not in use
	cur    uint32   // the slab that is being filled
	sparse []uint32 // slabs to empty
	at     int      // place in the first of them
}

type slab struct {
	buf    []byte
	used   int
	live   int // bytes of records that the index refers to
	queued bool
}

const (
	slabSize   = 128 << 10
	slabHeader = 16
	// ownSlab is from which size on a record gets a slab for itself.
	ownSlab = slabSize / 8
	// released is the last word of the header of a record that the index no longer refers to.
	released = 1
)

// make encodes a record that is made at a sub revision.
func (a *arena) make(f *wire.Fields, sub int64) wire.KV {
	n := wire.SizeKV(f)
	b := wire.AppendKV(a.alloc(n, sub), f)
	return wire.KV(wire.BytesString(b))
}

// copy takes a record in.
func (a *arena) copy(kv wire.KV, sub int64) wire.KV {
	b := append(a.alloc(len(kv), sub), kv...)
	return wire.KV(wire.BytesString(b))
}

func footprint(n int) int { return slabHeader + (n+7)&^7 }

// alloc returns room for n bytes, as an empty slice. n is above 0: a slice without room need not point to its place, and what
// stands in front of it would be somebody else's memory.
func (a *arena) alloc(n int, sub int64) []byte {
	need := footprint(n)
	id := a.cur
	switch {
	case need >= ownSlab:
		id = a.open(need)
	case len(a.slabs) == 0 || a.slabs[id].used+need > len(a.slabs[id].buf):
		old := a.cur
		id = a.open(slabSize)
		a.cur = id
		if int(old) < len(a.slabs) && old != id {
			a.look(old)
		}
	}
	s := &a.slabs[id]
	at := s.used
	s.used += need
	s.live += need
	binary.NativeEndian.PutUint32(s.buf[at:], id)
	binary.NativeEndian.PutUint32(s.buf[at+4:], uint32(n))
	binary.NativeEndian.PutUint32(s.buf[at+8:], uint32(sub))
	at += slabHeader
	return s.buf[at : at : at+n]
}

func (a *arena) open(size int) uint32 {
	if k := len(a.free); k > 0 {
		id := a.free[k-1]
		a.free = a.free[:k-1]
		a.slabs[id] = slab{buf: make([]byte, size)}
		return id
	}
	a.slabs = append(a.slabs, slab{buf: make([]byte, size)})
	return uint32(len(a.slabs) - 1)
}

// release notes that the index no longer refers to a record, which must be one of the arena's.
func (a *arena) release(kv wire.KV) {
	h := header(kv)
	h[3] = released
	id := h[0]
	a.slabs[id].live -= footprint(len(kv))
	if id != a.cur {
		a.look(id)
	}
}

// header returns what stands in front of one of the arena's records.
func header(kv wire.KV) *[4]uint32 {
	return (*[4]uint32)(unsafe.Add(unsafe.Pointer(unsafe.StringData(string(kv))), -slabHeader))
}

// subOf is the sub revision one of the arena's records was made at.
func subOf(kv wire.KV) int64 { return int64(header(kv)[2]) }

// look drops a slab that is empty and queues one that is mostly dead. It is not called for the one being filled.
func (a *arena) look(id uint32) {
	s := &a.slabs[id]
	switch {
	case s.live == 0 && !s.queued:
		*s = slab{}
		a.free = append(a.free, id)
	case !s.queued && s.live*2 < s.used:
		s.queued = true
		a.sparse = append(a.sparse, id)
	}
}

// evacuate looks at up to n records of mostly dead slabs. move is given each that the index refers to.
func (a *arena) evacuate(n int, move func(wire.KV)) {
	for ; n > 0 && len(a.sparse) > 0; n-- {
		id := a.sparse[0]
		buf, used := a.slabs[id].buf, a.slabs[id].used
		if a.at == used || a.slabs[id].live == 0 {
			a.sparse = a.sparse[1:]
			a.at = 0
			a.slabs[id].queued = false
			a.look(id)
			continue
		}
		dead := binary.NativeEndian.Uint32(buf[a.at+12:]) == released
		size := int(binary.NativeEndian.Uint32(buf[a.at+4:]))
		kv := wire.KV(wire.BytesString(buf[a.at+slabHeader : a.at+slabHeader+size]))
		a.at += footprint(size)
		if !dead {
			move(kv)
		}
	}
}

// same reports whether two strings are one and the same record.
func same(a, b wire.KV) bool {
	return len(a) == len(b) && unsafe.StringData(string(a)) == unsafe.StringData(string(b))
}
