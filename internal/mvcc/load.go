package mvcc

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// loader rebuilds the index from the records in the engine, which come in revision order. It sorts them by key in
// chunks, because inserting neighbours one after the other is several times faster than inserting at random.
type loader struct {
	store *Store
	chunk []loaded
	bytes []byte // of the chunk's records
	order []place
}

type loaded struct {
	key  string
	kv   wire.KV
	rev  wire.Rev
	tomb bool
}

func (x *loaded) version() version { return version{x.rev.Main, int32(x.rev.Sub), x.tomb} }

func (l *loader) run() error {
	var bad error
	err := l.store.eng.Scan(engine.Key, nil, nil, func(k, v []byte) bool {
		rev, tomb, err := wire.ParseRevKey(k)
		if err != nil {
			bad = fmt.Errorf("mvcc: record %x: %w", k, err)
			return false
		}
		l.store.rev = max(l.store.rev, rev.Main)
		if len(v) == 0 {
			// etcdutl's bump-revision leaves such a record: it only moves the revision.
			return true
		}
		kv := wire.KV(wire.BytesString(v)) // only lent, until it is checked and copied
		if err := kv.Check(); err != nil {
			bad = fmt.Errorf("mvcc: record %v: %w", rev, err)
			return false
		}
		if !tomb && (kv.IsTombstone() || kv.ModRevision() != rev.Main) {
			bad = fmt.Errorf("mvcc: record %v is one of revision %d", rev, kv.ModRevision())
			return false
		}
		if len(l.chunk) == loadChunk || len(l.bytes)+len(v) > cap(l.bytes) {
			full := len(l.chunk) < loadChunk
			l.insert()
			if full && cap(l.bytes) < loadBytes || len(v) > cap(l.bytes) {
				// A small store is not worth a large buffer.
				l.bytes = make([]byte, 0, max(min(4*cap(l.bytes), loadBytes), loadBytes>>10, len(v)))
			}
		}
		l.bytes = append(l.bytes, v...)
		kv = wire.KV(wire.BytesString(l.bytes[len(l.bytes)-len(v):]))
		l.chunk = append(l.chunk, loaded{kv.Key(), kv, rev, tomb})
		l.store.made++
		return true
	})
	if err != nil {
		return err
	}
	if bad != nil {
		return bad
	}
	l.insert()
	return nil
}

// place is a record's place in the order of its chunk: the eight bytes of its key behind what all keys of the chunk begin
// with, which nearly always decide, and its number.
type place struct {
	head uint64
	n    uint32
}

// sort orders the chunk by key, and by revision where the key is the same.
func (l *loader) sort() []place {
	common := len(l.chunk[0].key)
	for i := range l.chunk {
		common = commonPrefix(l.chunk[0].key[:common], l.chunk[i].key)
	}
	if cap(l.order) < len(l.chunk) {
		l.order = make([]place, len(l.chunk), max(len(l.chunk), min(2*len(l.chunk), loadChunk)))
	}
	order := l.order[:len(l.chunk)]
	for i := range l.chunk {
		var head [8]byte
		copy(head[:], l.chunk[i].key[common:])
		order[i] = place{binary.BigEndian.Uint64(head[:]), uint32(i)}
	}
	slices.SortFunc(order, func(a, b place) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return cmp.Or(strings.Compare(l.chunk[a.n].key, l.chunk[b.n].key), cmp.Compare(a.n, b.n))
	})
	return order
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (l *loader) insert() {
	if len(l.chunk) == 0 {
		return
	}
	order := l.sort()
	for i := 0; i < len(order); {
		j := i + 1
		key := l.chunk[order[i].n].key
		for j < len(order) && l.chunk[order[j].n].key == key {
			j++
		}
		versions := order[i:j]
		l.store.index.update(key, func(old item) (item, weight) { return l.merge(old, versions) })
		i = j
	}
	l.chunk = l.chunk[:0]
	l.bytes = l.bytes[:0]
}

// merge adds a key's records of the chunk, in revision order, to what earlier chunks held of it.
func (l *loader) merge(old item, versions []place) (item, weight) {
	it, before := old, old.weight()
	for i, p := range versions {
		x := &l.chunk[p.n]
		kv := x.kv
		if x.tomb {
			kv = wire.Tombstone(x.key)
		}
		// The chunk's own records have no header: only what ends up as the newest one moves into the arena.
		if i == 0 {
			it = it.successor(kv, x.rev)
		} else {
			it = it.after(l.chunk[versions[i-1].n].version(), kv, x.rev)
		}
	}
	it.kv = l.store.records.copy(it.kv, l.chunk[versions[len(versions)-1].n].rev.Sub)
	if old.kv != "" {
		l.store.records.release(old.kv)
	}
	delta := it.weight()
	delta.sub(before)
	return it, delta
}
