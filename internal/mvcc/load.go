package mvcc

import (
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
		if len(l.chunk) == loadChunk || len(l.bytes)+len(v) > cap(l.bytes) {
			l.insert()
			l.bytes = make([]byte, 0, max(loadBytes, len(v)))
		}
		l.bytes = append(l.bytes, v...)
		kv = wire.KV(wire.BytesString(l.bytes[len(l.bytes)-len(v):]))
		l.chunk = append(l.chunk, loaded{kv.Key(), kv, rev, tomb})
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

func (l *loader) insert() {
	slices.SortStableFunc(l.chunk, func(a, b loaded) int { return strings.Compare(a.key, b.key) })
	t := &l.store.index
	for i := 0; i < len(l.chunk); {
		old, ok := t.root.get(l.chunk[i].key)
		was := ok && old.live()
		it := old
		j := i
		for ; j < len(l.chunk) && l.chunk[j].key == l.chunk[i].key; j++ {
			kv := l.chunk[j].kv
			if l.chunk[j].tomb {
				kv = wire.Tombstone(l.chunk[j].key)
			}
			// The chunk's own records have no header: only what ends up as the newest one moves into the arena.
			if it.kv == "" || j == i {
				it = it.successor(kv, l.chunk[j].rev)
			} else {
				it = it.after(l.chunk[j-1].version(), kv, l.chunk[j].rev)
			}
		}
		it.kv = l.store.records.copy(it.kv, l.chunk[j-1].rev.Sub)
		if ok {
			l.store.records.release(old.kv)
		}
		delta := 0
		if it.live() != was {
			delta = 1
			if was {
				delta = -1
			}
		}
		t.set(it, delta)
		i = j
	}
	clear(l.chunk)
	l.chunk = l.chunk[:0]
}
