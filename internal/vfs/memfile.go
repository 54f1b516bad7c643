package vfs

import (
	"io"
	"maps"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sector is the unit that a disk writes whole, or tears.
const sector = 512

// node is a file's content or a directory's entries, with what a power loss
// would leave of them. It is guarded by Memory.mu.
type node struct {
	dir      bool
	modified int64

	children       map[string]*node
	syncedChildren map[string]*node

	data       []byte
	syncedSize int
	// before holds, for each sector written since the last sync, what it held
	// at that sync: as many bytes as the file then had there.
	before map[int][]byte
}

func newDir() *node { return &node{dir: true, children: make(map[string]*node)} }

// touch remembers the synced content of the sectors in [from, to).
func (n *node) touch(from, to int) {
	if n.before == nil {
		n.before = make(map[int][]byte)
	}
	for s := from / sector; s*sector < to; s++ {
		if _, known := n.before[s]; known {
			continue
		}
		lo, hi := s*sector, min((s+1)*sector, n.syncedSize, len(n.data))
		var old []byte
		if lo < hi {
			old = append(old, n.data[lo:hi]...)
		}
		n.before[s] = old
	}
}

func (n *node) write(p []byte, at int) {
	end := at + len(p)
	n.touch(min(at, len(n.data)), end)
	if end > len(n.data) {
		n.grow(end)
	}
	copy(n.data[at:], p)
}

func (n *node) grow(size int) {
	if size <= cap(n.data) {
		old := len(n.data)
		n.data = n.data[:size]
		clear(n.data[old:])
		return
	}
	bigger := make([]byte, size, max(size, 2*cap(n.data)))
	copy(bigger, n.data)
	n.data = bigger
}

func (n *node) resize(size int) {
	n.touch(min(size, len(n.data)), max(size, len(n.data)))
	if size <= len(n.data) {
		n.data = n.data[:size]
	} else {
		n.grow(size)
	}
}

func (n *node) sync() {
	if n.dir {
		n.syncedChildren = maps.Clone(n.children)
		return
	}
	n.syncedSize = len(n.data)
	clear(n.before)
}

func (n *node) info(name string) FileInfo {
	return memInfo{name: name, size: int64(len(n.data)), dir: n.dir, modified: n.modified}
}

// memFile is an open file of a Memory.
type memFile struct {
	fs       *Memory
	n        *node // nil once closed
	name     string
	pos      int
	writable bool
}

// use begins an operation on an open file.
func (f *memFile) use(op string) (*node, func(), error) {
	end := f.fs.begin()
	if f.n == nil {
		end()
		return nil, nil, &os.PathError{Op: op, Path: f.name, Err: os.ErrClosed}
	}
	return f.n, end, nil
}

func (f *memFile) Close() error {
	_, end, err := f.use("close")
	if err != nil {
		return err
	}
	defer end()
	f.n = nil
	return nil
}

func (f *memFile) Read(p []byte) (int, error) {
	n, end, err := f.use("read")
	if err != nil {
		return 0, err
	}
	defer end()
	if n.dir {
		return 0, &os.PathError{Op: "read", Path: f.name, Err: syscall.EISDIR}
	}
	if f.pos >= len(n.data) && len(p) > 0 {
		return 0, io.EOF
	}
	c := copy(p, n.data[min(f.pos, len(n.data)):])
	f.pos += c
	return c, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	n, end, err := f.use("read")
	if err != nil {
		return 0, err
	}
	defer end()
	if n.dir || off < 0 {
		return 0, &os.PathError{Op: "read", Path: f.name, Err: os.ErrInvalid}
	}
	if off >= int64(len(n.data)) {
		return 0, io.EOF
	}
	c := copy(p, n.data[off:])
	if c < len(p) {
		return c, io.EOF
	}
	return c, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	c, err := f.writeAt(p, int64(f.pos))
	f.pos += c
	return c, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) { return f.writeAt(p, off) }

func (f *memFile) writeAt(p []byte, off int64) (int, error) {
	n, end, err := f.use("write")
	if err != nil {
		return 0, err
	}
	defer end()
	if !f.writable || n.dir || off < 0 {
		return 0, &os.PathError{Op: "write", Path: f.name, Err: os.ErrPermission}
	}
	n.write(p, int(off))
	n.modified = f.fs.ops
	return len(p), nil
}

func (f *memFile) Sync() error {
	n, end, err := f.use("sync")
	if err != nil {
		return err
	}
	defer end()
	n.sync()
	return nil
}

func (f *memFile) SyncData() error { return f.Sync() }

// SyncTo promises nothing, so that nobody relies on it.
func (f *memFile) SyncTo(int64) (fullSync bool, err error) { return false, nil }

func (f *memFile) Stat() (FileInfo, error) {
	n, end, err := f.use("stat")
	if err != nil {
		return nil, err
	}
	defer end()
	return n.info(f.name), nil
}

func (f *memFile) Prefetch(int64, int64) error    { return nil }
func (f *memFile) Preallocate(int64, int64) error { return nil }
func (f *memFile) Fd() uintptr                    { return vfs.InvalidFd }

// memInfo implements FileInfo.
type memInfo struct {
	name     string
	size     int64
	dir      bool
	modified int64
}

func (i memInfo) Name() string           { return i.name }
func (i memInfo) Size() int64            { return i.size }
func (i memInfo) IsDir() bool            { return i.dir }
func (i memInfo) ModTime() time.Time     { return time.Unix(0, i.modified).UTC() }
func (i memInfo) Sys() any               { return nil }
func (i memInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i memInfo) Mode() os.FileMode {
	if i.dir {
		return os.ModeDir | DirMode
	}
	return FileMode
}
