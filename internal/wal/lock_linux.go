package wal

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/cairn-kv/cairn/internal/vfs"
)

const noDescriptor = ^uintptr(0)

// lockFile locks a segment itself, as etcd does, so that neither of the two
// opens a log that the other one writes. The lock goes with the file.
func lockFile(f vfs.File) error {
	fd := f.Fd()
	if fd == noDescriptor {
		return nil
	}
	err := unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	if unsupported(err) {
		return nil
	}
	return err
}

// unsupported reports whether the file system cannot do something optional.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}
