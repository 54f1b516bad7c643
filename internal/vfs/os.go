package vfs

import (
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OS is the operating system's file system. What it creates is for the owner
// only: files get FileMode.
func OS() FS { return osFS{vfs.Default} }

type osFS struct{ vfs.FS }

var _ Truncater = osFS{}

func private(name string, f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, FileMode); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (o osFS) Create(name string, c WriteCategory) (File, error) {
	f, err := o.FS.Create(name, c)
	return private(name, f, err)
}

func (o osFS) OpenReadWrite(name string, c WriteCategory, opts ...vfs.OpenOption) (File, error) {
	_, statErr := os.Lstat(name)
	f, err := o.FS.OpenReadWrite(name, c, opts...)
	if err != nil || statErr == nil {
		return f, err
	}
	return private(name, f, nil)
}

func (o osFS) Lock(name string) (io.Closer, error) {
	l, err := o.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, FileMode); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// Truncate implements Truncater.
func (o osFS) Truncate(name string, size int64) error { return os.Truncate(name, size) }

// Unwrap implements FS.
func (o osFS) Unwrap() FS { return o.FS }
