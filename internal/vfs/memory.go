package vfs

import (
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Memory is a file system in memory that remembers what was synced, so that a
// power loss can be played (Crash). Any goroutine may use it. It reads no
// clock: times in it count operations. Locks are by path, and hold between
// users of the same Memory.
type Memory struct {
	mu    sync.Mutex
	root  *node
	locks map[string]struct{}
	ops   int64 // the operations so far, the file system's time
}

var (
	_ FS        = (*Memory)(nil)
	_ Truncater = (*Memory)(nil)
)

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	return &Memory{root: newDir(), locks: make(map[string]struct{})}
}

// clean brings a path into the form "/a/b".
func clean(name string) string { return path.Clean("/" + name) }

func missing(op, name string) error {
	return &os.PathError{Op: op, Path: name, Err: os.ErrNotExist}
}

// find walks to name, and returns nil when something on the way is missing.
func (m *Memory) find(name string) *node {
	n := m.root
	for _, part := range strings.Split(clean(name)[1:], "/") {
		if part == "" {
			continue
		}
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// parent returns the directory that holds name, and the last part of name.
func (m *Memory) parent(op, name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", &os.PathError{Op: op, Path: name, Err: os.ErrInvalid}
	}
	n := m.find(dir)
	if n == nil {
		return nil, "", missing(op, name)
	}
	if !n.dir {
		return nil, "", &os.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return n, base, nil
}

// begin locks the file system for one operation.
func (m *Memory) begin() func() {
	m.mu.Lock()
	m.ops++
	return m.mu.Unlock
}

// Create implements FS.
func (m *Memory) Create(name string, _ WriteCategory) (File, error) {
	defer m.begin()()
	return m.create(name)
}

func (m *Memory) create(name string) (File, error) {
	dir, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	if old := dir.children[base]; old != nil && old.dir {
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.EISDIR}
	}
	n := &node{modified: m.ops}
	dir.children[base] = n
	return &memFile{fs: m, n: n, name: base, writable: true}, nil
}

// Open implements FS.
func (m *Memory) Open(name string, _ ...vfs.OpenOption) (File, error) {
	defer m.begin()()
	n := m.find(name)
	if n == nil {
		return nil, missing("open", name)
	}
	return &memFile{fs: m, n: n, name: path.Base(clean(name))}, nil
}

// OpenReadWrite implements FS.
func (m *Memory) OpenReadWrite(name string, _ WriteCategory, _ ...vfs.OpenOption) (File, error) {
	defer m.begin()()
	n := m.find(name)
	if n == nil {
		return m.create(name)
	}
	return &memFile{fs: m, n: n, name: path.Base(clean(name)), writable: true}, nil
}

// OpenDir implements FS.
func (m *Memory) OpenDir(name string) (File, error) { return m.Open(name) }

// Link implements FS.
func (m *Memory) Link(oldname, newname string) error {
	defer m.begin()()
	n := m.find(oldname)
	if n == nil || n.dir {
		return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: os.ErrNotExist}
	}
	dir, base, err := m.parent("link", newname)
	if err != nil {
		return err
	}
	if dir.children[base] != nil {
		return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: os.ErrExist}
	}
	dir.children[base] = n
	return nil
}

// Remove implements FS.
func (m *Memory) Remove(name string) error {
	defer m.begin()()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.children[base]
	if n == nil {
		return missing("remove", name)
	}
	if len(n.children) > 0 {
		return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	delete(dir.children, base)
	return nil
}

// RemoveAll implements FS.
func (m *Memory) RemoveAll(name string) error {
	defer m.begin()()
	if dir, base, err := m.parent("remove", name); err == nil {
		delete(dir.children, base)
	}
	return nil
}

// Rename implements FS.
func (m *Memory) Rename(oldname, newname string) error {
	defer m.begin()()
	from, oldBase, err := m.parent("rename", oldname)
	if err != nil {
		return err
	}
	n := from.children[oldBase]
	if n == nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: os.ErrNotExist}
	}
	to, newBase, err := m.parent("rename", newname)
	if err != nil {
		return err
	}
	if old := to.children[newBase]; old != nil && old.dir && len(old.children) > 0 {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.ENOTEMPTY}
	}
	delete(from.children, oldBase)
	to.children[newBase] = n
	return nil
}

// ReuseForWrite implements FS.
func (m *Memory) ReuseForWrite(oldname, newname string, c WriteCategory) (File, error) {
	if err := m.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return m.OpenReadWrite(newname, c)
}

// MkdirAll implements FS.
func (m *Memory) MkdirAll(name string, _ os.FileMode) error {
	defer m.begin()()
	n := m.root
	for _, part := range strings.Split(clean(name)[1:], "/") {
		if part == "" {
			continue
		}
		next := n.children[part]
		switch {
		case next == nil:
			next = newDir()
			n.children[part] = next
		case !next.dir:
			return &os.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		n = next
	}
	return nil
}

// Lock implements FS.
func (m *Memory) Lock(name string) (io.Closer, error) {
	defer m.begin()()
	key := clean(name)
	if _, held := m.locks[key]; held {
		return nil, &os.PathError{Op: "lock", Path: name, Err: syscall.EAGAIN}
	}
	f, err := m.create(name)
	if err != nil {
		return nil, err
	}
	m.locks[key] = struct{}{}
	return &memLock{fs: m, key: key, f: f}, nil
}

type memLock struct {
	fs  *Memory
	key string
	f   File
}

// Close gives the lock back; a second Close does nothing.
func (l *memLock) Close() error {
	defer l.fs.begin()()
	if l.f != nil {
		delete(l.fs.locks, l.key)
		l.f = nil
	}
	return nil
}

// List implements FS. The names are in order.
func (m *Memory) List(name string) ([]string, error) {
	defer m.begin()()
	n := m.find(name)
	if n == nil {
		return nil, missing("list", name)
	}
	if !n.dir {
		return nil, &os.PathError{Op: "list", Path: name, Err: syscall.ENOTDIR}
	}
	list := make([]string, 0, len(n.children))
	for child := range n.children {
		list = append(list, child)
	}
	slices.Sort(list)
	return list, nil
}

// Stat implements FS.
func (m *Memory) Stat(name string) (FileInfo, error) {
	defer m.begin()()
	n := m.find(name)
	if n == nil {
		return nil, missing("stat", name)
	}
	return n.info(path.Base(clean(name))), nil
}

// Truncate implements Truncater.
func (m *Memory) Truncate(name string, size int64) error {
	defer m.begin()()
	n := m.find(name)
	if n == nil {
		return missing("truncate", name)
	}
	if n.dir || size < 0 {
		return &os.PathError{Op: "truncate", Path: name, Err: os.ErrInvalid}
	}
	n.resize(int(size))
	n.modified = m.ops
	return nil
}

// PathBase implements FS.
func (*Memory) PathBase(name string) string { return path.Base(name) }

// PathJoin implements FS.
func (*Memory) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements FS.
func (*Memory) PathDir(name string) string { return path.Dir(name) }

// GetDiskUsage implements FS.
func (*Memory) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// Unwrap implements FS.
func (*Memory) Unwrap() FS { return nil }
