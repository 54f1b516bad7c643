package cairn

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogOutputs(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	c := DefaultConfig()
	c.LogOutputs = a + ", " + b
	c.LogLevel = "warn"
	c.note(slog.LevelWarn, "from the options", "key", "value")
	for range 2 { // a file is added to
		log, _, files, err := c.openLog()
		require.NoError(t, err)
		require.Len(t, files, 2)
		log.Info("too low")
		closeAll(files)
	}
	for _, file := range []string{a, b} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Regexp(t, `^({"ts":"[^"]+","level":"warn","msg":"from the options","key":"value"}\n){2}$`, string(text))
	}
}

func TestALogThatCannotBeOpenedStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.DataDir = filepath.Join(dir, "data")
	c.LogOutputs = "stderr," + filepath.Join(dir, "none", "x.log")
	_, err := Start(context.Background(), c)
	require.ErrorContains(t, err, "--log-outputs: ")
	require.ErrorContains(t, err, "no such file or directory")
	require.NoDirExists(t, c.DataDir)
}

// The file is exchanged when it is full, former ones are kept as many as wanted, and another output beside it has all of it.
func TestLogRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	c, err := check([]string{"--log-outputs", "stderr," + path, "--enable-log-rotation", "--log-rotation-config-json", `{"maxsize":1,"maxbackups":2}`}, nil)
	require.NoError(t, err)
	c.LogOutputs = path // so that the test prints nothing
	log, _, files, err := c.openLog()
	require.NoError(t, err)
	for range 5 * 1024 {
		log.Info(strings.Repeat("x", 1024))
	}
	closeAll(files)
	var names []os.DirEntry
	require.Eventually(t, func() bool { // former files are removed in the background
		names, err = os.ReadDir(dir)
		return err == nil && len(names) == 3
	}, 10*time.Second, time.Millisecond)
	for _, n := range names {
		fi, err := n.Info()
		require.NoError(t, err)
		require.LessOrEqual(t, fi.Size(), int64(1<<20))
		require.Zero(t, fi.Mode().Perm()&0o077)
	}
	c.LogOutputs = dir
	_, _, _, err = c.openLog()
	require.ErrorContains(t, err, "is a directory")
}
