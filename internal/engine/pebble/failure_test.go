package pebble_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/vfs"
)

func newFaults(t *testing.T) *vfs.Faults {
	t.Helper()
	fs := vfs.NewMemory()
	require.NoError(t, fs.MkdirAll("/db", vfs.DirMode))
	require.NoError(t, vfs.SyncDir(fs, "/"))
	return vfs.NewFaults(fs, 1)
}

func put(e engine.Engine, key string) error {
	b := e.NewBatch()
	b.Set(engine.Key, []byte(key), make([]byte, 1000))
	return e.Commit(b)
}

func count(t *testing.T, e engine.Engine) int {
	t.Helper()
	n := 0
	require.NoError(t, e.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { n++; return true }))
	return n
}

func TestFullDiskFailsTheFlushAndCanBeSurvived(t *testing.T) {
	fs := newFaults(t)
	e, err := pebble.Open(fs, "/db", small)
	require.NoError(t, err)
	require.NoError(t, put(e, "a"))
	require.NoError(t, e.Flush())
	require.NoError(t, put(e, "b"))
	fs.Add(vfs.Rule{Op: vfs.OpWrite, Path: ".sst", Err: syscall.ENOSPC})
	require.ErrorIs(t, e.Flush(), syscall.ENOSPC)
	// Commits end too, before memory does.
	for i := 0; err == nil; i++ {
		require.Less(t, i, 10_000)
		err = put(e, fmt.Sprintf("%d", i))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Positive(t, count(t, e), "what is there can be read")
	had := count(t, e)
	fs.Clear()
	require.Eventually(t, func() bool { return e.Flush() == nil }, testPatience, testTick)
	require.NoError(t, put(e, "z"))
	require.Equal(t, had+1, count(t, e))
	require.NoError(t, e.Flush())
	require.NoError(t, e.Close())
	e, err = pebble.Open(fs, "/db", small)
	require.NoError(t, err)
	require.Equal(t, had+1, count(t, e))
	require.NoError(t, e.Close())
}

func TestFailureToListTablesIsFinal(t *testing.T) {
	broken := errors.New("broken")
	fs := newFaults(t)
	e, err := pebble.Open(fs, "/db", small)
	require.NoError(t, err)
	require.NoError(t, put(e, "a"))
	require.NoError(t, e.Flush())
	require.NoError(t, put(e, "b"))
	fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "MANIFEST", Err: broken, Times: 1})
	require.ErrorContains(t, e.Flush(), "broken")
	require.ErrorContains(t, e.Flush(), "broken", "although the disk is well again")
	require.ErrorContains(t, put(e, "c"), "broken")
	require.Equal(t, 2, count(t, e), "what is there can be read")
	require.Error(t, e.Close())
	require.NoError(t, e.Close())
	e, err = pebble.Open(fs, "/db", small)
	require.NoError(t, err, "the directory was let go")
	require.GreaterOrEqual(t, count(t, e), 1)
	require.NoError(t, e.Close())
}

func TestOpenFailsWithTheReason(t *testing.T) {
	broken := errors.New("broken")
	for _, op := range []vfs.Op{vfs.OpMkdir, vfs.OpLock, vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir, vfs.OpList} {
		fs := newFaults(t)
		fs.Add(vfs.Rule{Op: op, Err: broken})
		_, err := pebble.Open(fs, "/db", small)
		require.ErrorContains(t, err, "broken", op.String())
		require.ErrorContains(t, err, "/db", op.String())
		fs.Clear()
		e, err := pebble.Open(fs, "/db", small)
		require.NoError(t, err, op.String())
		require.NoError(t, e.Close())
	}
}

func TestDamagedTableGivesErrors(t *testing.T) {
	mem := vfs.NewMemory()
	require.NoError(t, mem.MkdirAll("/db", vfs.DirMode))
	e, err := pebble.Open(mem, "/db", small)
	require.NoError(t, err)
	for i := range 100 {
		require.NoError(t, put(e, fmt.Sprintf("%03d", i)))
	}
	require.NoError(t, e.Flush())
	require.NoError(t, e.Close())
	names, err := mem.List("/db")
	require.NoError(t, err)
	for _, name := range names {
		if mem.PathBase(name)[max(0, len(name)-4):] == ".sst" {
			f, err := mem.OpenReadWrite("/db/"+name, vfs.Unspecified)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("damage"), 2000)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	e, err = pebble.Open(mem, "/db", small)
	if err != nil {
		return
	}
	err = e.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { return true })
	require.Error(t, err)
	require.NoError(t, e.Close())
}

// Pebble tries a failed table again after a pause of its own.
const (
	testPatience = 10 * time.Second
	testTick     = 5 * time.Millisecond
)
