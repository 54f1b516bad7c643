package pebble

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// TestRecordsAreWrittenOnce: records come under ascending keys, with changes of Meta in each batch. Merging must leave
// their tables alone.
func TestRecordsAreWrittenOnce(t *testing.T) {
	e, err := Open(vfs.OS(), t.TempDir(), Options{MemTableSize: 256 << 10})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	var key [17]byte
	value := make([]byte, 1000)
	const n = 20_000
	for i := uint64(0); i < n; {
		b := e.NewBatch()
		for range 20 {
			i++
			binary.BigEndian.PutUint64(key[:], i)
			binary.LittleEndian.PutUint64(value, i*0x9E3779B97F4A7C15)
			b.Set(engine.Key, key[:], value)
		}
		b.Set(engine.Meta, []byte("consistent_index"), key[:8])
		require.NoError(t, e.Commit(b))
		if i%200 == 0 {
			time.Sleep(time.Millisecond) // as fast as a log that syncs
		}
	}
	require.NoError(t, e.Flush())
	e.tidier.wg.Wait()
	m := e.db.Metrics()
	merged := uint64(0)
	for i := range m.Levels {
		merged += m.Levels[i].TableBytesCompacted
	}
	require.Less(t, merged, uint64(n*1000/5))
	require.Positive(t, m.Compact.MoveCount)
	seen := 0
	require.NoError(t, e.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { seen++; return true }))
	require.Equal(t, n, seen)
}
