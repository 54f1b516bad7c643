package pebble_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/enginetest"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// small makes tables of a few kilobytes, so that a test sees many of them.
var small = pebble.Options{CacheSize: 1 << 20, MemTableSize: 64 << 10}

type harness struct{ fs *vfs.Memory }

func (h *harness) Open(t *testing.T) engine.Engine {
	e, err := pebble.Open(h.fs, "/data/db", small)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func (h *harness) Crash(t *testing.T, e engine.Engine, seed uint64) engine.Engine {
	after := h.fs.Crash(seed, vfs.Loss{KeepPercent: int(seed%3) * 30, TornPercent: 20})
	require.NoError(t, e.Close())
	h.fs = after
	return h.Open(t)
}

func newHarness(t *testing.T) enginetest.Harness {
	h := &harness{vfs.NewMemory()}
	require.NoError(t, h.fs.MkdirAll("/data", vfs.DirMode))
	require.NoError(t, vfs.SyncDir(h.fs, "/"))
	require.NoError(t, h.fs.MkdirAll("/data/db", vfs.DirMode))
	require.NoError(t, vfs.SyncDir(h.fs, "/data"))
	return h
}

func TestConformance(t *testing.T) { enginetest.Run(t, newHarness) }

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	e, err := pebble.Open(vfs.OS(), dir, small)
	require.NoError(t, err)
	_, err = pebble.Open(vfs.OS(), dir, small)
	require.ErrorIs(t, err, pebble.ErrLocked)
	require.ErrorContains(t, err, dir)
	require.NoError(t, e.Close())
	e, err = pebble.Open(vfs.OS(), dir, small)
	require.NoError(t, err)
	require.NoError(t, e.Close())
}

func TestSecondProcessIsRefused(t *testing.T) {
	if dir := os.Getenv("CAIRN_TEST_OPEN"); dir != "" { // the second process
		_, err := pebble.Open(vfs.OS(), dir, small)
		require.ErrorIs(t, err, pebble.ErrLocked)
		fmt.Println("refused")
		return
	}
	dir := t.TempDir()
	e, err := pebble.Open(vfs.OS(), dir, small)
	require.NoError(t, err)
	defer e.Close()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSecondProcessIsRefused$", "-test.v")
	cmd.Env = append(os.Environ(), "CAIRN_TEST_OPEN="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "refused")
}

func TestLargeBatch(t *testing.T) {
	e, err := pebble.Open(vfs.OS(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	defer e.Close()
	b := e.NewBatch()
	const n = 200_000
	value := make([]byte, 100)
	for i := range n {
		b.Set(engine.Key, fmt.Appendf(nil, "%08d", i), value)
	}
	require.NoError(t, e.Commit(b))
	require.NoError(t, e.Flush())
	count := 0
	require.NoError(t, e.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { count++; return true }))
	require.Equal(t, n, count)
	require.Greater(t, e.Size().Total, int64(n*100))
}
