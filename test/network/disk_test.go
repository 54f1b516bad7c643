//go:build linux

package network

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// disk is a file system of its own in a file.
type disk struct {
	t    testing.TB
	path string

	mu     sync.Mutex
	fd     int
	frozen bool
	guard  *exec.Cmd
}

const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
	// longestFreeze is after how many seconds a disk thaws in any case.
	longestFreeze = "30"
)

// newDisk makes and mounts one. It takes only as much of the real disk as is written to it.
func newDisk(t testing.TB, name string, bytes int64) *disk {
	d := &disk{t: t, path: filepath.Join(home(), name)}
	image := d.path + ".image"
	require.NoError(t, os.MkdirAll(d.path, 0o700))
	f, err := os.Create(image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(bytes))
	require.NoError(t, f.Close())
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mount", "-o", "loop", image, d.path},
	} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	d.fd, err = unix.Open(d.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		d.thaw()
		_ = unix.Close(d.fd)
		unmount(d.path)
		_ = os.Remove(image)
	})
	return d
}

// newMemory mounts a file system that needs no disk.
func newMemory(t testing.TB, name string) (path string) {
	path = filepath.Join(home(), name)
	require.NoError(t, os.MkdirAll(path, 0o700))
	require.NoError(t, unix.Mount("tmpfs", path, "tmpfs", 0, "mode=700"))
	t.Cleanup(func() { unmount(path) })
	return path
}

// unmount waits a moment for processes that were killed and are not quite gone.
func unmount(path string) {
	for range 50 {
		if unix.Unmount(path, 0) == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// freeze lets every write wait until thaw, from when it returns at the latest. If this process dies, or forgets, the
// disk thaws all the same.
func (d *disk) freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return
	}
	d.watch()
	if err := unix.IoctlSetInt(d.fd, fiFreeze, 0); err != nil {
		d.t.Errorf("freeze %s: %v", d.path, err)
	}
	d.frozen = true
}

func (d *disk) thaw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		return
	}
	_ = d.guard.Process.Kill()
	_ = d.guard.Wait()
	if err := unix.IoctlSetInt(d.fd, fiThaw, 0); err != nil {
		d.t.Errorf("thaw %s: %v", d.path, err)
	}
	d.frozen = false
}

// watch starts a process that thaws the disk when this one is gone, or after a time.
func (d *disk) watch() {
	d.guard = exec.Command("bash", "-c", `read -r -t `+longestFreeze+`; exec fsfreeze -u "$0"`, d.path)
	d.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that Ctrl-C does not end it
	_, err := d.guard.StdinPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, d.guard.Start())
}

// slow makes each write wait until the next of moments that are so far apart, until stop is called.
func (d *disk) slow(apart, open time.Duration) (stop func()) {
	d.freeze()
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(apart)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			d.mu.Lock()
			err := unix.IoctlSetInt(d.fd, fiThaw, 0)
			time.Sleep(open)
			if err == nil {
				err = unix.IoctlSetInt(d.fd, fiFreeze, 0)
			}
			d.mu.Unlock()
			if err != nil {
				d.t.Errorf("slow disk %s: %v", d.path, err)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		d.thaw()
	}
}

// fill leaves no room, and empty takes back what fill has put there.
func (d *disk) fill() {
	f, err := os.Create(d.ballast())
	require.NoError(d.t, err)
	defer f.Close()
	var at int64
	for step := int64(64 << 20); step >= 4096; {
		if unix.Fallocate(int(f.Fd()), 0, at, step) != nil {
			step /= 2
			continue
		}
		at += step
	}
}

func (d *disk) empty() { _ = os.Remove(d.ballast()) }

func (d *disk) ballast() string { return filepath.Join(d.path, "ballast") }
