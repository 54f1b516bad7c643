//go:build !linux

package wal

import (
	"errors"
	"syscall"

	"github.com/cairn-kv/cairn/internal/vfs"
)

const noDescriptor = ^uintptr(0)

// lockFile relies on the lock of the directory alone.
func lockFile(vfs.File) error { return nil }

// unsupported reports whether the file system cannot do something optional.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}
