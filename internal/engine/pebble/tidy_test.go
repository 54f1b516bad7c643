package pebble_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/vfs"
)

func fill(t *testing.T, e engine.Engine, n int, set func(b engine.Batch, key []byte)) {
	t.Helper()
	var key [8]byte
	for i := 0; i < n; {
		b := e.NewBatch()
		for range 100 {
			binary.BigEndian.PutUint64(key[:], uint64(i))
			set(b, key[:])
			i++
		}
		b.Set(engine.Meta, []byte("consistent_index"), key[:])
		require.NoError(t, e.Commit(b))
	}
}

func TestTidyGivesDeletedRoomBack(t *testing.T) {
	e, err := pebble.Open(vfs.OS(), t.TempDir(), small)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	value := make([]byte, 500)
	const n = 20_000
	fill(t, e, n, func(b engine.Batch, key []byte) {
		for i := range value { // not to be packed
			value[i] = byte(uint64(i)*2654435761>>7) ^ key[7] ^ key[6]*31
		}
		b.Set(engine.Key, key, value)
	})
	require.NoError(t, e.Flush())
	fill(t, e, n, func(b engine.Batch, key []byte) {
		if key[7]%16 != 0 {
			b.Delete(engine.Key, key)
		}
	})
	require.NoError(t, e.Flush())
	before := e.Size().Total
	e.Tidy()
	e.Tidy() // while the first is running
	require.Eventually(t, func() bool { return e.Size().Total < before/2 }, 20*time.Second, 5*time.Millisecond,
		"%d bytes before, still", before)
	require.Equal(t, n/16, count(t, e))
	e.Tidy()
	e.Tidy()
}

func TestCloseEndsATidy(t *testing.T) {
	for i := range 10 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			e, err := pebble.Open(vfs.OS(), t.TempDir(), small)
			require.NoError(t, err)
			fill(t, e, 2000, func(b engine.Batch, key []byte) { b.Set(engine.Key, key, make([]byte, 300)) })
			e.Tidy()
			time.Sleep(time.Duration(i) * time.Millisecond / 2)
			require.NoError(t, e.Close())
			e.Tidy() // of a closed engine does nothing
		})
	}
}
