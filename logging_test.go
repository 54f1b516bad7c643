package cairn

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

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
