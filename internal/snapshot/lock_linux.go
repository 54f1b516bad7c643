package snapshot

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// lockShared refuses a file that a server has locked for writing, the way that
// servers lock database files.
func lockShared(f vfs.File) error {
	fd := f.Fd()
	if fd == ^uintptr(0) {
		return nil
	}
	err := unix.Flock(int(fd), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	return nil // a file system without locks has no server on it
}
