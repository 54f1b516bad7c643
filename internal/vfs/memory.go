package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Memory is a file system in memory that can lose power. Any goroutine may use
// it. Locks are by path and hold between users of the same Memory.
type Memory struct{ *vfs.MemFS }

var (
	_ FS        = (*Memory)(nil)
	_ Truncater = (*Memory)(nil)
)

// NewMemory returns an empty file system.
func NewMemory() *Memory { return &Memory{vfs.NewCrashableMem()} }

// Unwrap implements FS.
func (m *Memory) Unwrap() FS { return m.MemFS }

// Truncate implements Truncater. Files open at the time keep the old content.
func (m *Memory) Truncate(name string, size int64) error {
	data, err := ReadFile(m, name, 1<<40)
	if err != nil {
		return err
	}
	if size < 0 || size > int64(len(data)) {
		return fmt.Errorf("vfs: cannot truncate %s from %d to %d bytes", name, len(data), size)
	}
	// Replacing the file is not durable by itself, as with a real truncate: but
	// the name must not be lost either, so that its directory is synced.
	tmp := name + ".truncated"
	if err := WriteFile(m, tmp, data[:size]); err != nil {
		return err
	}
	if err := m.Rename(tmp, name); err != nil {
		return err
	}
	return SyncDir(m, m.PathDir(name))
}

// Loss says what a power loss leaves of the data that was not synced. The
// zero Loss leaves nothing of it.
type Loss struct {
	// KeepPercent is how likely each sector of 512 bytes, and each directory
	// entry, is to be there although it was not synced.
	KeepPercent int
	// TornPercent is how likely a sector that was being written is to hold new
	// bytes up to some point and old bytes behind it.
	TornPercent int
}

const sector = 512

// Crash returns the file system as it may be found after a power loss at this
// moment: everything synced, and by chance some of the rest. The same content
// and seed give the same result. m itself goes on unchanged, which is of use
// to end the processes that still run on it.
func (m *Memory) Crash(seed uint64, loss Loss) (*Memory, error) {
	c := crash{
		rng:    rand.New(rand.NewPCG(seed, 0x63726173)),
		loss:   loss,
		synced: &Memory{m.CrashClone(vfs.CrashCloneCfg{})},
		out:    NewMemory(),
	}
	// A clone that keeps everything has also files whose removal was not
	// synced; m itself says which those are.
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))}
	c.all = &Memory{m.CrashClone(all)}
	if err := c.dir(m, "/"); err != nil {
		return nil, err
	}
	return c.out, nil
}

// crash merges what was synced with what was there, in an order that depends
// on names only.
type crash struct {
	rng         *rand.Rand
	loss        Loss
	synced, all *Memory
	out         *Memory
}

func (c *crash) chance(percent int) bool {
	return percent > 0 && c.rng.IntN(100) < percent
}

func (c *crash) dir(live *Memory, dir string) error {
	before, err := names(c.synced, dir)
	if err != nil {
		return err
	}
	now, err := names(live, dir)
	if err != nil {
		return err
	}
	// Either the directory was written as it is now, or its old entries are
	// there and some of the new ones. (An entry is never lost to a rename.)
	keep := now
	if !c.chance(c.loss.KeepPercent) {
		keep = before
		for _, n := range now {
			if !slices.Contains(before, n) && c.chance(c.loss.KeepPercent) {
				keep = append(keep, n)
			}
		}
	}
	slices.Sort(keep)
	if err := c.out.MkdirAll(dir, DirMode); err != nil {
		return err
	}
	for _, n := range keep {
		path := c.out.PathJoin(dir, n)
		info, err := c.all.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			err = c.dir(live, path)
		} else {
			err = c.file(path)
		}
		if err != nil {
			return err
		}
	}
	return SyncDir(c.out, dir)
}

func (c *crash) file(path string) error {
	old, err := content(c.synced, path)
	if err != nil {
		return err
	}
	now, err := content(c.all, path)
	if err != nil {
		return err
	}
	result := slices.Clone(old)
	for i := 0; i < len(now); i += sector {
		end := min(i+sector, len(now))
		if end <= len(old) && bytes.Equal(old[i:end], now[i:end]) {
			continue
		}
		if c.chance(c.loss.TornPercent) {
			end = i + c.rng.IntN(end-i+1)
		} else if !c.chance(c.loss.KeepPercent) {
			continue
		}
		if grow := end - len(result); grow > 0 {
			result = append(result, make([]byte, grow)...)
		}
		copy(result[i:end], now[i:end])
	}
	return WriteFile(c.out, path, result)
}

// names lists a directory in order; one that is missing is empty.
func names(fs FS, dir string) ([]string, error) {
	list, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	slices.Sort(list)
	return list, nil
}

// content reads a file; one that is missing is empty.
func content(fs FS, path string) ([]byte, error) {
	data, err := ReadFile(fs, path, 1<<40)
	if IsNotExist(err) {
		return nil, nil
	}
	return data, err
}
