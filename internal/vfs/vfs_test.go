package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// each runs a test on the operating system and in memory.
func each(t *testing.T, run func(t *testing.T, fs vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { run(t, vfs.OS(), t.TempDir()) })
	t.Run("memory", func(t *testing.T) {
		fs := vfs.NewMemory()
		require.NoError(t, fs.MkdirAll("/d", vfs.DirMode))
		run(t, fs, "/d")
	})
	t.Run("faults", func(t *testing.T) { run(t, vfs.NewFaults(vfs.OS(), 1), t.TempDir()) })
}

func TestFilesBehaveAlike(t *testing.T) {
	each(t, func(t *testing.T, fs vfs.FS, dir string) {
		name := fs.PathJoin(dir, "f")
		f, err := fs.Create(name, vfs.Unspecified)
		require.NoError(t, err)
		_, err = f.Write([]byte("hello "))
		require.NoError(t, err)
		_, err = f.Write([]byte("world"))
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("H"), 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("!"), 2000)
		require.NoError(t, err)
		require.NoError(t, f.SyncData())
		info, err := f.Stat()
		require.NoError(t, err)
		require.EqualValues(t, 2001, info.Size())
		require.NoError(t, f.Close())
		require.Error(t, f.Close())

		got, err := vfs.ReadFile(fs, name, 1<<20)
		require.NoError(t, err)
		require.Equal(t, "Hello world", string(got[:11]))
		require.Equal(t, make([]byte, 2000-11), got[11:2000])
		_, err = vfs.ReadFile(fs, name, 2000)
		require.ErrorContains(t, err, "2001")

		require.NoError(t, vfs.Truncate(fs, name, 5))
		got, err = vfs.ReadFile(fs, name, 1<<20)
		require.NoError(t, err)
		require.Equal(t, "Hello", string(got))

		r, err := fs.Open(name)
		require.NoError(t, err)
		part := make([]byte, 10)
		n, err := r.ReadAt(part, 3)
		require.Equal(t, 2, n)
		require.ErrorIs(t, err, io.EOF)
		all, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "Hello", string(all))
		require.NoError(t, r.Close())

		w, err := fs.OpenReadWrite(name, vfs.Unspecified)
		require.NoError(t, err)
		_, err = w.WriteAt([]byte("p!"), 3)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, fs.Link(name, fs.PathJoin(dir, "link")))
		require.Error(t, fs.Link(name, fs.PathJoin(dir, "link")))
		require.NoError(t, vfs.Copy(fs, name, fs.PathJoin(dir, "copy")))
		require.NoError(t, fs.Rename(name, fs.PathJoin(dir, "g")))
		_, err = fs.Stat(name)
		require.True(t, vfs.IsNotExist(err), "%v", err)
		for _, n := range []string{"g", "link", "copy"} {
			got, err = vfs.ReadFile(fs, fs.PathJoin(dir, n), 100)
			require.NoError(t, err)
			require.Equal(t, "Help!", string(got))
		}
		list, err := fs.List(dir)
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"g", "link", "copy"}, list)
		require.NoError(t, vfs.SyncDir(fs, dir))
	})
}

func TestDirectoriesBehaveAlike(t *testing.T) {
	each(t, func(t *testing.T, fs vfs.FS, dir string) {
		deep := fs.PathJoin(dir, "a", "b")
		require.NoError(t, fs.MkdirAll(deep, vfs.DirMode))
		require.NoError(t, fs.MkdirAll(deep, vfs.DirMode))
		require.NoError(t, vfs.WriteFile(fs, fs.PathJoin(deep, "f"), []byte("x")))
		require.Error(t, fs.Remove(fs.PathJoin(dir, "a")), "not empty")
		require.Error(t, fs.MkdirAll(fs.PathJoin(deep, "f", "g"), vfs.DirMode))
		_, err := fs.Create(fs.PathJoin(dir, "none", "f"), vfs.Unspecified)
		require.True(t, vfs.IsNotExist(err), "%v", err)
		_, err = fs.Open(fs.PathJoin(dir, "none"))
		require.True(t, vfs.IsNotExist(err), "%v", err)
		require.True(t, vfs.IsNotExist(fs.Remove(fs.PathJoin(dir, "none"))))
		require.NoError(t, fs.Rename(fs.PathJoin(dir, "a"), fs.PathJoin(dir, "c")))
		_, err = fs.Stat(fs.PathJoin(dir, "c", "b", "f"))
		require.NoError(t, err)
		require.NoError(t, fs.RemoveAll(fs.PathJoin(dir, "c")))
		require.NoError(t, fs.RemoveAll(fs.PathJoin(dir, "c")))
		list, err := fs.List(dir)
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

func TestLocksExclude(t *testing.T) {
	each(t, func(t *testing.T, fs vfs.FS, dir string) {
		name := fs.PathJoin(dir, "LOCK")
		l, err := fs.Lock(name)
		require.NoError(t, err)
		_, err = fs.Lock(name)
		require.Error(t, err)
		require.NoError(t, l.Close())
		l, err = fs.Lock(name)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	})
}

func TestOSFilesAreForTheOwnerOnly(t *testing.T) {
	fs, dir := vfs.OS(), t.TempDir()
	old := filepath.Join(dir, "old")
	require.NoError(t, os.WriteFile(old, nil, 0o644))
	for _, name := range []string{"created", "opened", "LOCK"} {
		path := filepath.Join(dir, name)
		var c io.Closer
		var err error
		switch name {
		case "created":
			c, err = fs.Create(path, vfs.Unspecified)
		case "opened":
			c, err = fs.OpenReadWrite(path, vfs.Unspecified)
		default:
			c, err = fs.Lock(path)
		}
		require.NoError(t, err)
		require.NoError(t, c.Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, vfs.FileMode, info.Mode().Perm(), name)
	}
	f, err := fs.OpenReadWrite(old, vfs.Unspecified)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	info, err := os.Stat(old)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm(), "a file that was there keeps its mode")
}

func TestFaultsFollowTheScript(t *testing.T) {
	broken := errors.New("broken")
	f := vfs.NewFaults(vfs.NewMemory(), 1)
	var slept time.Duration
	f.Sleep(func(d time.Duration) { slept += d })
	f.Add(vfs.Rule{Op: vfs.OpSync, Path: "wal", Skip: 1, Times: 2, Err: broken})
	f.Add(vfs.Rule{Op: vfs.OpSync, Delay: time.Second})
	f.Add(vfs.Rule{Op: vfs.OpWrite, Path: "torn", Err: broken, Partial: true})

	file, err := f.Create("/wal", vfs.Unspecified)
	require.NoError(t, err)
	require.NoError(t, file.Sync())
	require.ErrorIs(t, file.Sync(), broken)
	require.ErrorIs(t, file.SyncData(), broken)
	require.NoError(t, file.Sync())
	require.Equal(t, 2*time.Second, slept)
	require.Equal(t, 4, f.Count(vfs.OpSync))

	torn, err := f.Create("/torn", vfs.Unspecified)
	require.NoError(t, err)
	n, err := torn.WriteAt(bytes.Repeat([]byte("x"), 1000), 0)
	require.ErrorIs(t, err, broken)
	info, err := torn.Stat()
	require.NoError(t, err)
	require.EqualValues(t, n, info.Size())
	require.Less(t, n, 1000)

	f.Clear()
	f.Limit(10)
	n, err = file.Write([]byte("123456"))
	require.NoError(t, err)
	require.Equal(t, 6, n)
	n, err = file.Write([]byte("123456"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 4, n)
	f.Limit(-1)
	_, err = file.Write([]byte("more"))
	require.NoError(t, err)
}

func TestEveryOperationCanFail(t *testing.T) {
	broken := errors.New("broken")
	inner := vfs.NewMemory()
	require.NoError(t, vfs.WriteFile(inner, "/f", []byte("x")))
	ops := map[vfs.Op]func(fs *vfs.Faults) error{
		vfs.OpCreate: func(fs *vfs.Faults) error { _, err := fs.Create("/x", vfs.Unspecified); return err },
		vfs.OpOpen:   func(fs *vfs.Faults) error { _, err := fs.Open("/f"); return err },
		vfs.OpRead:   func(fs *vfs.Faults) error { _, err := vfs.ReadFile(fs, "/f", 9); return err },
		vfs.OpWrite:  func(fs *vfs.Faults) error { return vfs.WriteFile(fs, "/f", []byte("y")) },
		vfs.OpSync:   func(fs *vfs.Faults) error { return vfs.WriteFile(fs, "/f", []byte("y")) },
		vfs.OpSyncDir: func(fs *vfs.Faults) error {
			return vfs.SyncDir(fs, "/")
		},
		vfs.OpRename:   func(fs *vfs.Faults) error { return fs.Rename("/f", "/g") },
		vfs.OpRemove:   func(fs *vfs.Faults) error { return fs.Remove("/f") },
		vfs.OpMkdir:    func(fs *vfs.Faults) error { return fs.MkdirAll("/dir", vfs.DirMode) },
		vfs.OpList:     func(fs *vfs.Faults) error { _, err := fs.List("/"); return err },
		vfs.OpTruncate: func(fs *vfs.Faults) error { return vfs.Truncate(fs, "/f", 0) },
		vfs.OpLock:     func(fs *vfs.Faults) error { _, err := fs.Lock("/l"); return err },
	}
	for op, run := range ops {
		fs := vfs.NewFaults(inner, 1)
		fs.Add(vfs.Rule{Op: op, Err: broken})
		require.ErrorIs(t, run(fs), broken, op.String())
	}
}
