// Package vfs is the one door to the file system: the operating system's
// (OS), one in memory that can crash (Memory), and one that fails on demand
// (Faults).
//
// It must never know what is in a file. The types are pebble's, so that the
// log and the storage engine run on the same file system in every test.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a namespace of files. Durability follows POSIX: a file's content is
// durable after its Sync or SyncData, its name after Sync of its directory.
type FS = vfs.FS

// File is an open file. Writes and syncs of one file are called one at a time.
type File = vfs.File

// FileInfo describes a file.
type FileInfo = vfs.FileInfo

// WriteCategory labels what a file is written for, in statistics.
type WriteCategory = vfs.DiskWriteCategory

// Unspecified is the WriteCategory of files that need no statistics.
const Unspecified = vfs.WriteCategoryUnspecified

// Modes of what is created: nobody but the owner may read the data.
const (
	DirMode  os.FileMode = 0o700
	FileMode os.FileMode = 0o600
)

// Truncater is a file system that can shorten a file in place.
type Truncater interface {
	Truncate(name string, size int64) error
}

// SyncDir makes the entries of a directory durable.
func SyncDir(fs FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// IsNotExist reports whether err says that a file or directory is missing.
func IsNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }

// ReadFile returns the content of a file of at most max bytes.
func ReadFile(fs FS, name string, max int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > max {
		return nil, fmt.Errorf("vfs: %s has %d bytes, more than the %d expected", name, info.Size(), max)
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil && !(err == io.EOF && len(data) == 0) {
		return nil, err
	}
	return data, nil
}

// WriteFile makes a durable file with the given content; the directory is for
// the caller to sync.
func WriteFile(fs FS, name string, data []byte) error {
	f, err := fs.Create(name, Unspecified)
	if err != nil {
		return err
	}
	// Write may change its argument; the caller's bytes stay his.
	_, err = f.Write(append([]byte(nil), data...))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Truncate shortens a file to size bytes, in place where the file system can,
// and otherwise by way of a copy that replaces it. The new size is durable
// when it returns.
func Truncate(fs FS, name string, size int64) error {
	if t, ok := fs.(Truncater); ok {
		if err := t.Truncate(name, size); err != nil {
			return err
		}
		f, err := fs.OpenReadWrite(name, Unspecified)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	}
	data, err := ReadFile(fs, name, 1<<40)
	if err != nil {
		return err
	}
	if size > int64(len(data)) {
		return fmt.Errorf("vfs: cannot truncate %s from %d to %d bytes", name, len(data), size)
	}
	tmp := name + ".truncated"
	if err := WriteFile(fs, tmp, data[:size]); err != nil {
		return err
	}
	if err := fs.Rename(tmp, name); err != nil {
		return err
	}
	return SyncDir(fs, fs.PathDir(name))
}

// Copy copies a file within a file system; the copy's content is durable, its
// name is for the caller to sync.
func Copy(fs FS, oldname, newname string) error { return vfs.Copy(fs, oldname, newname) }
