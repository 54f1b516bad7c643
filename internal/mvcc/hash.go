package mvcc

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV is etcd's hash of the records at rev, over a view of the engine taken together with v (v3-grpc.md section
// 16.6). compactRev is the compaction the stream is computed with: v.CompactRev(), or the one before it for the hash
// that a compaction leaves behind.
func (v View) HashKV(records engine.View, rev, compactRev int64) (uint32, error) {
	if rev == 0 {
		rev = v.rev
	}
	h := crc32.Update(0, castagnoli, []byte(engine.Key.Bucket()))
	keep := v.keepsAny(rev)
	if rev < 0 {
		return h, nil // nothing lived before the first revision
	}
	hi := binary.BigEndian.AppendUint64(nil, uint64(rev+1))
	var bad error
	err := records.Scan(engine.Key, nil, hi, func(k, val []byte) bool {
		r, tomb, err := wire.ParseRevKey(k)
		if err != nil {
			bad = err
			return false
		}
		if r.Main <= compactRev && keep && !v.keeps(wire.KV(wire.BytesString(val)).Key(), r, rev) {
			return true
		}
		if tomb && r.Main == compactRev {
			return true
		}
		h = crc32.Update(crc32.Update(h, castagnoli, k), castagnoli, val)
		return true
	})
	if err == nil {
		err = bad
	}
	return h, err
}

// keeps reports whether r is the live record of key at rev.
func (v View) keeps(key string, r wire.Rev, rev int64) bool {
	it, ok := v.root.get(key)
	if !ok {
		return false
	}
	ver, ok := it.at(rev)
	return ok && !ver.tombstone && ver.rev() == r
}

// keepsAny reports whether any key lived at rev.
func (v View) keepsAny(rev int64) bool {
	found := false
	v.root.ascend(wire.Range{}, false, func(it *item) bool {
		ver, ok := it.at(rev)
		found = ok && !ver.tombstone
		return !found
	})
	return found
}
