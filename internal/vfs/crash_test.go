package vfs_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/vfs"
)

func read(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	data, err := vfs.ReadFile(fs, name, 1<<20)
	require.NoError(t, err)
	return string(data)
}

func TestCrashKeepsExactlyWhatWasSynced(t *testing.T) {
	fs := vfs.NewMemory()
	require.NoError(t, vfs.WriteFile(fs, "/a", []byte("synced")))
	require.NoError(t, vfs.SyncDir(fs, "/"))
	f, err := fs.OpenReadWrite("/a", vfs.Unspecified)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("SYNCED and more"), 0)
	require.NoError(t, err)
	require.NoError(t, vfs.WriteFile(fs, "/b", []byte("no name")))
	after := fs.Crash(1, vfs.Loss{})
	require.Equal(t, "synced", read(t, after, "/a"))
	_, err = after.Stat("/b")
	require.True(t, vfs.IsNotExist(err))
	require.Equal(t, "SYNCED and more", read(t, fs, "/a"), "the file system itself goes on")
	require.NoError(t, f.Sync())
	require.Equal(t, "SYNCED and more", read(t, fs.Crash(1, vfs.Loss{}), "/a"))
	require.NoError(t, fs.Truncate("/a", 3))
	require.Equal(t, "SYNCED and more", read(t, fs.Crash(1, vfs.Loss{}), "/a"))
	require.NoError(t, f.Sync())
	require.Equal(t, "SYN", read(t, fs.Crash(1, vfs.Loss{}), "/a"))
}

func TestCrashKeepsContentUnderAnUnsyncedName(t *testing.T) {
	fs := vfs.NewMemory()
	require.NoError(t, vfs.WriteFile(fs, "/tmp", []byte("content")))
	require.NoError(t, vfs.SyncDir(fs, "/"))
	require.NoError(t, fs.Rename("/tmp", "/final"))
	old, renamed := 0, 0
	for seed := range uint64(50) {
		after := fs.Crash(seed, vfs.Loss{KeepPercent: 50})
		list, err := after.List("/")
		require.NoError(t, err)
		require.NotEmpty(t, list, "a rename never loses both names")
		for _, name := range list {
			require.Equal(t, "content", read(t, after, "/"+name))
			if name == "tmp" {
				old++
			} else {
				renamed++
			}
		}
	}
	require.Positive(t, old)
	require.Positive(t, renamed)
}

func TestCrashLosesSectorsAndTearsThem(t *testing.T) {
	const sector = 512
	fs := vfs.NewMemory()
	require.NoError(t, vfs.WriteFile(fs, "/f", bytes.Repeat([]byte("o"), 4*sector+100)))
	require.NoError(t, vfs.SyncDir(fs, "/"))
	f, err := fs.OpenReadWrite("/f", vfs.Unspecified)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte("n"), 8*sector-50), sector)
	require.NoError(t, err)
	kinds := map[string]int{}
	for seed := range uint64(200) {
		got := read(t, fs.Crash(seed, vfs.Loss{KeepPercent: 60, TornPercent: 10}), "/f")
		again := read(t, fs.Crash(seed, vfs.Loss{KeepPercent: 60, TornPercent: 10}), "/f")
		require.Equal(t, got, again, "the same seed gives the same crash")
		require.Equal(t, string(bytes.Repeat([]byte("o"), sector)), got[:sector], "a sector that was not written")
		require.GreaterOrEqual(t, len(got), 4*sector+100)
		for i := sector; i < len(got); i += sector {
			part := got[i:min(i+sector, len(got))]
			news := bytes.Count([]byte(part), []byte("n"))
			switch {
			case news == len(part):
				kinds["new"]++
			case news == 0:
				kinds["old"]++
			default:
				require.Equal(t, string(bytes.Repeat([]byte("n"), news)), part[:news], "new bytes come first")
				kinds["torn"]++
			}
		}
	}
	for _, k := range []string{"new", "old", "torn"} {
		require.Positive(t, kinds[k], fmt.Sprint(kinds))
	}
}
