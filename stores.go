package cairn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/gentle"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/vfs"
)

const (
	firstStore  = "db"
	storePrefix = "db-"
	currentFile = "current" // names the database in use; without it, that is firstStore
	tmpSuffix   = ".tmp"
	imageFile   = "received.tmp"
	maxName     = 64
)

// stores are the databases in a member's directory: the one in use, and one made of a snapshot that is to replace it.
// A database that is closed and not in use is removed.
type stores struct {
	fs  vfs.FS
	dir string
	cfg machine.Config
	// openFiles bounds those of a database; 0 stands for the engine's default.
	openFiles int
}

func storeName(index uint64) string { return fmt.Sprintf("%s%016x", storePrefix, index) }

func (s *stores) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stores) exists(name string) bool {
	_, err := s.fs.Stat(s.path(name))
	return err == nil
}

// current is the name of the database in use.
func (s *stores) current() (string, error) {
	b, err := vfs.ReadFile(s.fs, s.path(currentFile), maxName)
	if vfs.IsNotExist(err) {
		return firstStore, nil
	}
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(b))
	if name != firstStore && !strings.HasPrefix(name, storePrefix) || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("cairn: %s names %q, which is no database", s.path(currentFile), name)
	}
	return name, nil
}

// Use makes the database of an index the one that the next start opens.
func (s *stores) Use(index uint64) error { return s.use(storeName(index)) }

func (s *stores) use(name string) error {
	tmp := s.path(currentFile + tmpSuffix)
	if err := vfs.WriteFile(s.fs, tmp, []byte(name+"\n")); err != nil {
		return err
	}
	if err := s.fs.Rename(tmp, s.path(currentFile)); err != nil {
		return err
	}
	return vfs.SyncDir(s.fs, s.dir)
}

// open opens the database in use. If the log starts where a received snapshot ends, that snapshot's database is the one:
// its installation was cut short.
func (s *stores) open(start uint64) (*machine.Machine, error) {
	name, err := s.current()
	if err != nil {
		return nil, err
	}
	if next := storeName(start); start > 0 && next != name && s.exists(next) {
		if err := s.use(next); err != nil {
			return nil, err
		}
		name = next
	}
	if err := s.sweep(name); err != nil {
		return nil, err
	}
	return s.openMachine(name)
}

// sweep removes what earlier runs have left behind.
func (s *stores) sweep(inUse string) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		left := n == firstStore || strings.HasPrefix(n, storePrefix) || n == imageFile
		if left && n != inUse {
			if err := s.fs.RemoveAll(s.path(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stores) openMachine(name string) (*machine.Machine, error) {
	eng, err := pebble.Open(s.fs, s.path(name), pebble.Options{OpenFiles: s.openFiles})
	if err != nil {
		return nil, err
	}
	m, err := machine.Open(s.cfg, gentle.Wrap(&store{eng, s, name}))
	if err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	return m, nil
}

// Receive makes a database of the file that r holds and opens it. It is durable, but not in use.
func (s *stores) Receive(ctx context.Context, index uint64, r io.Reader) (*machine.Machine, error) {
	name := storeName(index)
	if s.exists(name) {
		return nil, fmt.Errorf("cairn: a snapshot at index %d is here already", index)
	}
	image := s.path(imageFile)
	err := s.save(image, r)
	if err == nil {
		err = s.load(ctx, image, name)
	}
	if removed := s.fs.Remove(image); err == nil {
		err = removed
	}
	if err != nil {
		return nil, err
	}
	return s.openMachine(name)
}

// save keeps the bytes of a database file until they are read in. They need not be durable.
func (s *stores) save(name string, r io.Reader) error {
	f, err := s.fs.Create(name, vfs.Unspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// load makes a database of a file. It is there as a whole or not at all.
func (s *stores) load(ctx context.Context, image, name string) error {
	f, err := snapshot.OpenFile(s.fs, image)
	if err != nil {
		return err
	}
	defer f.Close()
	tmp := name + tmpSuffix
	if err := s.fs.RemoveAll(s.path(tmp)); err != nil {
		return err
	}
	eng, err := pebble.Open(s.fs, s.path(tmp), pebble.Options{OpenFiles: s.openFiles})
	if err != nil {
		return err
	}
	err = errors.Join(f.Load(ctx, gentle.Wrap(eng), nil), eng.Close())
	if err != nil {
		return errors.Join(err, s.fs.RemoveAll(s.path(tmp)))
	}
	if err := s.fs.Rename(s.path(tmp), s.path(name)); err != nil {
		return err
	}
	return vfs.SyncDir(s.fs, s.dir)
}

// store is an open database. Once it is closed and another one is in use, it is removed.
type store struct {
	*pebble.Engine
	stores *stores
	name   string
}

var _ engine.Engine = (*store)(nil)

// Close implements engine.Engine.
func (s *store) Close() error {
	err := s.Engine.Close()
	if now, e := s.stores.current(); e == nil && now != s.name {
		err = errors.Join(err, s.stores.fs.RemoveAll(s.stores.path(s.name)))
	}
	return err
}
