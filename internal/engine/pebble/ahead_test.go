package pebble_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// TestLongScans: a scan that is read ahead gives the same as a view's, which is not, wherever it is left.
func TestLongScans(t *testing.T) {
	e, err := pebble.Open(vfs.OS(), t.TempDir(), small)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	const n = 12_000
	fill(t, e, n, func(b engine.Batch, key []byte) {
		b.Set(engine.Key, key, make([]byte, binary.BigEndian.Uint64(key)%300)) // some are empty
	})
	collect := func(scan func(engine.Space, []byte, []byte, func(k, v []byte) bool) error, most int) (out []string) {
		require.NoError(t, scan(engine.Key, nil, nil, func(k, v []byte) bool {
			out = append(out, fmt.Sprintf("%x %d", k, len(v)))
			return len(out) < most
		}))
		return out
	}
	v := e.View()
	defer v.Release()
	all := collect(v.Scan, n+1)
	require.Len(t, all, n)
	before := runtime.NumGoroutine()
	for _, most := range []int{n + 1, n, n - 1, 4095, 4096, 4097, 4098, 9000, 1} {
		require.Equal(t, all[:min(most, n)], collect(e.Scan, most), most)
	}
	require.LessOrEqual(t, runtime.NumGoroutine(), before+1, "no goroutine is left")
	require.Panics(t, func() {
		_ = e.Scan(engine.Key, nil, nil, func(k, _ []byte) bool {
			if binary.BigEndian.Uint64(k) == 8000 {
				panic("enough")
			}
			return true
		})
	})
}
