package pebble_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
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

// settled is the size once what pebble does on its own is done.
func settled(e engine.Engine) int64 {
	last, since := e.Size().Total, time.Now()
	for time.Since(since) < 300*time.Millisecond {
		time.Sleep(10 * time.Millisecond)
		if now := e.Size().Total; now != last {
			last, since = now, time.Now()
		}
	}
	return last
}

func TestTidyGivesRoomBack(t *testing.T) {
	e, err := pebble.Open(vfs.OS(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close()) }()
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 20_000
	for range 2 {
		fill(t, e, n, func(b engine.Batch, key []byte) {
			value := make([]byte, 500)
			for i := 0; i < len(value); i += 4 { // not to be packed
				binary.LittleEndian.PutUint32(value[i:], rnd.Uint32())
			}
			b.Set(engine.Key, key, value)
		})
		require.NoError(t, e.Flush())
	}
	before := settled(e)
	e.Tidy()
	e.Tidy() // while the first is running
	require.Eventually(t, func() bool { return e.Size().Total < before*9/10 }, 20*time.Second, 5*time.Millisecond,
		"%d bytes before", before)
	require.Equal(t, n, count(t, e))
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
