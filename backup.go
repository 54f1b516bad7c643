package cairn

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
)

// BackupConfig says what to copy, and where to.
type BackupConfig struct {
	DataDir string
	WALDir  string // "" if the log is in the data directory
	To      string // becomes a data directory
	ToWAL   string // "" if the log is to be in there
}

const (
	backupTries = 10
	backupPause = 100 * time.Millisecond
)

// Backup copies the files of a member, which may run meanwhile. The copy holds all that was on the member's disk, v2 and v3,
// and has an identity of its own, so that it can never join the old cluster: --force-new-cluster starts a cluster of it.
//
// The files of a member that runs are read while they change: tables of the database go when others replace them, and the
// log is released behind a flush. What was opened stays readable, and what was not there any more is a reason to begin anew.
func Backup(c BackupConfig) error {
	b := &backup{BackupConfig: c, fs: vfs.OS(), from: filepath.Join(c.DataDir, "member"), to: filepath.Join(c.To, "member")}
	if err := refuseForeign(b.from); err != nil {
		return err
	}
	if b.WALDir == "" {
		b.WALDir = filepath.Join(b.from, "wal")
	}
	if b.ToWAL == "" {
		b.ToWAL = filepath.Join(b.to, "wal")
	}
	for _, dir := range []string{b.to, b.ToWAL} {
		if names, err := b.fs.List(dir); err == nil && len(names) > 0 {
			return fmt.Errorf("cairn: %s is not empty", dir)
		}
	}
	if !wal.Exists(b.fs, b.WALDir) {
		return fmt.Errorf("cairn: there is no member's log in %s", b.WALDir)
	}
	if err := makeDir(b.fs, c.To); err != nil {
		return err
	}
	var err error
	for range backupTries {
		before := b.look()
		if err = b.copy(); err == nil {
			return nil
		}
		if b.look() == before {
			break // nobody is at work: it will not get better
		}
		time.Sleep(backupPause)
	}
	return errors.Join(err, b.fs.RemoveAll(b.tmp()))
}

// look is how the files are: while it stays the same, they do.
func (b *backup) look() string {
	st := &stores{fs: b.fs, dir: b.from}
	name, err := st.current()
	look := fmt.Sprint(name, err)
	for _, dir := range []string{b.WALDir, st.path(name)} {
		names, err := b.fs.List(dir)
		look += fmt.Sprint(names, err)
		for _, n := range names {
			if fi, err := b.fs.Stat(filepath.Join(dir, n)); err == nil {
				look += fmt.Sprint(fi.Size(), fi.ModTime())
			}
		}
	}
	return look
}

type backup struct {
	BackupConfig
	fs       vfs.FS
	from, to string // members' directories
}

// tmp is where the copy is until it is whole.
func (b *backup) tmp() string { return b.to + tmpSuffix }

func (b *backup) copy() error {
	if err := b.fs.RemoveAll(b.tmp()); err != nil {
		return err
	}
	source := filepath.Join(b.tmp(), "log") // the log as it was
	if err := b.fs.MkdirAll(source, vfs.DirMode); err != nil {
		return err
	}
	// The log first, because it may be released up to what the database has, and once more behind it, because the database
	// may have what was not in the log before.
	segments := &held{fs: b.fs, dir: b.WALDir}
	defer segments.close()
	if err := segments.open(isSegment); err != nil {
		return err
	}
	view, err := b.database()
	if err != nil {
		return err
	}
	if err := segments.open(isSegment); err != nil {
		return err
	}
	if err := segments.copyTo(source); err != nil {
		return err
	}
	log, rec, err := wal.Open(b.fs, source, wal.Options{})
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	if err := b.fs.RemoveAll(source); err != nil {
		return err
	}
	if last := rec.Start.Index + uint64(len(rec.Entries)); view.Applied < rec.Start.Index || view.Applied > last {
		return fmt.Errorf("cairn: the database in %s is at index %d, the log in %s has the entries behind %d up to %d: they do not fit together",
			b.from, view.Applied, b.WALDir, rec.Start.Index, last)
	}
	return b.finish(view, rec)
}

// finish writes the log, and makes the copy a data directory.
func (b *backup) finish(view *machine.View, rec *wal.Recovered) error {
	inside := b.ToWAL == filepath.Join(b.to, "wal")
	dir := b.ToWAL
	if inside {
		dir = filepath.Join(b.tmp(), "wal")
	} else if err := makeDir(b.fs, filepath.Dir(dir)); err != nil {
		return err
	}
	if err := b.writeLog(dir, view, rec); err != nil {
		return err
	}
	if err := vfs.SyncDir(b.fs, b.tmp()); err != nil {
		return err
	}
	if _, err := b.fs.Stat(b.to); err == nil {
		if err := b.fs.Remove(b.to); err != nil { // it is empty
			return err
		}
	}
	if err := b.fs.Rename(b.tmp(), b.to); err != nil {
		return err
	}
	return vfs.SyncDir(b.fs, b.To)
}

// writeLog makes a log that begins where the database ends.
func (b *backup) writeLog(dir string, view *machine.View, rec *wal.Recovered) error {
	if err := b.fs.RemoveAll(dir); err != nil { // of an earlier try
		return err
	}
	node, cluster, err := identity()
	if err != nil {
		return err
	}
	log, err := wal.Create(b.fs, dir, wal.Metadata{NodeID: node, ClusterID: cluster}, wal.Options{})
	if err != nil {
		return err
	}
	commit := max(view.Applied, rec.HardState.GetCommit())
	state := &raftpb.HardState{Term: new(max(view.Term, rec.HardState.GetTerm())), Vote: new(uint64(0)), Commit: &commit}
	err = log.Mark(wal.Mark{Index: view.Applied, Term: view.Term, ConfState: view.Cluster.ConfState()})
	if err == nil {
		err = log.Append(state, rec.Entries[view.Applied-rec.Start.Index:], true)
	}
	return errors.Join(err, log.Close())
}

// identity is a node and a cluster that nobody has met.
func identity() (node, cluster uint64, err error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint64(b[:]) | 1, binary.LittleEndian.Uint64(b[8:]) | 1, nil
}

// database copies the database in use, and opens the copy to see that nothing is missing.
func (b *backup) database() (*machine.View, error) {
	st := &stores{fs: b.fs, dir: b.from}
	name, err := st.current()
	if err != nil {
		return nil, err
	}
	to := filepath.Join(b.tmp(), firstStore)
	if err := b.fs.MkdirAll(to, vfs.DirMode); err != nil {
		return nil, err
	}
	// What names the tables before the tables: those that are made later are of no use to the copy.
	lists := &held{fs: b.fs, dir: st.path(name)}
	defer lists.close()
	if err := lists.open(func(name string) bool { return !isTable(name) && name != "LOCK" }); err != nil {
		return nil, err
	}
	if err := lists.copyTo(to); err != nil {
		return nil, err
	}
	tables := &held{fs: b.fs, dir: st.path(name)}
	defer tables.close()
	if err := tables.open(isTable); err != nil {
		return nil, err
	}
	if err := tables.copyTo(to); err != nil {
		return nil, err
	}
	eng, err := pebble.Open(b.fs, to, pebble.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	m, err := machine.Open(machine.Config{}, eng)
	if err != nil {
		return nil, errors.Join(err, eng.Close())
	}
	return m.View(), eng.Close()
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}
func isSegment(name string) bool { return strings.HasSuffix(name, ".wal") }

// held is files of a directory that stay readable when their names are gone.
type held struct {
	fs    vfs.FS
	dir   string
	files []heldFile
}

type heldFile struct {
	name string
	vfs.File
}

// open opens what is there and not open yet.
func (h *held) open(want func(name string) bool) error {
	names, err := h.fs.List(h.dir)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, f := range h.files {
		have[f.name] = true
	}
	for _, n := range names {
		if have[n] || !want(n) {
			continue
		}
		f, err := h.fs.Open(filepath.Join(h.dir, n))
		if vfs.IsNotExist(err) {
			continue // whether it was needed shows later
		}
		if err != nil {
			return err
		}
		h.files = append(h.files, heldFile{n, f})
	}
	return nil
}

// copyTo copies the files, durably.
func (h *held) copyTo(dir string) error {
	for _, f := range h.files {
		to, err := h.fs.Create(filepath.Join(dir, f.name), vfs.Unspecified)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, f)
		if err == nil {
			err = to.Sync()
		}
		if err = errors.Join(err, to.Close()); err != nil {
			return err
		}
	}
	return vfs.SyncDir(h.fs, dir)
}

func (h *held) close() {
	for _, f := range h.files {
		_ = f.Close()
	}
}
