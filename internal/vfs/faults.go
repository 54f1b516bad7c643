package vfs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Op is a kind of operation that a Rule may hit.
type Op uint8

// The operations. OpSync covers Sync, SyncData and SyncTo of files, OpSyncDir
// the same of directories.
const (
	OpCreate Op = iota + 1
	OpOpen
	OpRead
	OpWrite
	OpSync
	OpSyncDir
	OpRename
	OpRemove
	OpMkdir
	OpList
	OpAllocate
	OpTruncate
	OpLock
)

var opNames = [...]string{
	OpCreate: "create", OpOpen: "open", OpRead: "read", OpWrite: "write", OpSync: "sync", OpSyncDir: "sync directory",
	OpRename: "rename", OpRemove: "remove", OpMkdir: "mkdir", OpList: "list", OpAllocate: "allocate",
	OpTruncate: "truncate", OpLock: "lock",
}

// String names the operation.
func (o Op) String() string {
	if o == 0 || int(o) >= len(opNames) {
		return fmt.Sprintf("op %d", uint8(o))
	}
	return opNames[o]
}

// Rule says when an operation fails or is slow. The first rule that fits an
// operation decides about it.
type Rule struct {
	Op Op
	// Path fits every path that contains it; empty fits all.
	Path string
	// Skip lets that many fitting operations pass first.
	Skip int
	// Times is how many fitting operations are hit; 0 is all of them.
	Times int
	// Percent is how likely one is hit; 0 is always.
	Percent int
	// Err is what the operation returns; nil lets it go on after Delay.
	Err error
	// Partial lets a failing write put some of its first bytes down.
	Partial bool
	// Delay is spent before, with the function given to Sleep.
	Delay time.Duration

	hits int
}

// Faults is a file system that fails by a script: the same rules, seed and
// sequence of operations give the same failures. Any goroutine may use it.
type Faults struct {
	FS

	mu    sync.Mutex
	rng   *rand.Rand
	rules []*Rule
	left  int64 // bytes until the disk is full, negative for no limit
	sleep func(time.Duration)
	seen  [len(opNames)]int
}

var _ Truncater = (*Faults)(nil)

// NewFaults wraps a file system; until a rule is added nothing fails.
func NewFaults(fs FS, seed uint64) *Faults {
	return &Faults{FS: fs, rng: rand.New(rand.NewPCG(seed, 0x6661756c74)), left: -1, sleep: time.Sleep}
}

// Add adds a rule behind those that are there.
func (f *Faults) Add(r Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &r)
}

// Clear removes all rules and the limit.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.left = nil, -1
}

// Limit makes writes fail with ENOSPC once that many more bytes were written,
// old ones overwritten included. A negative number is no limit.
func (f *Faults) Limit(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = bytes
}

// Sleep sets what a Delay is spent with, in place of time.Sleep.
func (f *Faults) Sleep(sleep func(time.Duration)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sleep = sleep
}

// Count is how many operations of a kind were begun.
func (f *Faults) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[op]
}

// decide finds the rule that hits an operation; nil lets it pass.
func (f *Faults) decide(op Op, path string) (*Rule, func(time.Duration)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[op]++
	for _, r := range f.rules {
		if r.Op != op || !strings.Contains(path, r.Path) {
			continue
		}
		r.hits++
		if r.hits <= r.Skip || r.Times > 0 && r.hits > r.Skip+r.Times {
			continue
		}
		if r.Percent > 0 && f.rng.IntN(100) >= r.Percent {
			continue
		}
		return r, f.sleep
	}
	return nil, nil
}

func (f *Faults) check(op Op, path string) error {
	r, sleep := f.decide(op, path)
	if r == nil {
		return nil
	}
	if r.Delay > 0 {
		sleep(r.Delay)
	}
	if r.Err == nil {
		return nil
	}
	return &os.PathError{Op: op.String(), Path: path, Err: r.Err}
}

// write decides how many of n bytes are written, and what comes back then.
func (f *Faults) write(path string, n int) (int, error) {
	r, sleep := f.decide(OpWrite, path)
	if r != nil && r.Delay > 0 {
		sleep(r.Delay)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	allowed, err := n, error(nil)
	if r != nil && r.Err != nil {
		allowed, err = 0, r.Err
		if r.Partial && n > 0 {
			allowed = f.rng.IntN(n)
		}
	}
	if f.left >= 0 && int64(allowed) > f.left {
		allowed, err = int(f.left), syscall.ENOSPC
	}
	if f.left >= 0 {
		f.left -= int64(allowed)
	}
	if err != nil {
		err = &os.PathError{Op: "write", Path: path, Err: err}
	}
	return allowed, err
}

func (f *Faults) wrap(path string, dir bool, file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, path: path, dir: dir}, nil
}

// Create implements FS.
func (f *Faults) Create(name string, c WriteCategory) (File, error) {
	if err := f.check(OpCreate, name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return f.wrap(name, false, file, err)
}

// Open implements FS.
func (f *Faults) Open(name string, opts ...vfs.OpenOption) (File, error) {
	if err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.FS.Open(name, opts...)
	return f.wrap(name, false, file, err)
}

// OpenReadWrite implements FS.
func (f *Faults) OpenReadWrite(name string, c WriteCategory, opts ...vfs.OpenOption) (File, error) {
	if err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.wrap(name, false, file, err)
}

// OpenDir implements FS.
func (f *Faults) OpenDir(name string) (File, error) {
	if err := f.check(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenDir(name)
	return f.wrap(name, true, file, err)
}

// Link implements FS.
func (f *Faults) Link(oldname, newname string) error {
	if err := f.check(OpCreate, newname); err != nil {
		return err
	}
	return f.FS.Link(oldname, newname)
}

// Remove implements FS.
func (f *Faults) Remove(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// RemoveAll implements FS.
func (f *Faults) RemoveAll(name string) error {
	if err := f.check(OpRemove, name); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

// Rename implements FS.
func (f *Faults) Rename(oldname, newname string) error {
	if err := f.check(OpRename, newname); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

// ReuseForWrite implements FS.
func (f *Faults) ReuseForWrite(oldname, newname string, c WriteCategory) (File, error) {
	if err := f.check(OpRename, newname); err != nil {
		return nil, err
	}
	file, err := f.FS.ReuseForWrite(oldname, newname, c)
	return f.wrap(newname, false, file, err)
}

// MkdirAll implements FS.
func (f *Faults) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.check(OpMkdir, dir); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

// Lock implements FS.
func (f *Faults) Lock(name string) (io.Closer, error) {
	if err := f.check(OpLock, name); err != nil {
		return nil, err
	}
	return f.FS.Lock(name)
}

// List implements FS.
func (f *Faults) List(dir string) ([]string, error) {
	if err := f.check(OpList, dir); err != nil {
		return nil, err
	}
	return f.FS.List(dir)
}

// Truncate implements Truncater.
func (f *Faults) Truncate(name string, size int64) error {
	if err := f.check(OpTruncate, name); err != nil {
		return err
	}
	return Truncate(f.FS, name, size)
}

// Unwrap implements FS.
func (f *Faults) Unwrap() FS { return f.FS }
