package wal

import (
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// Recovered is what a log held when it was opened.
type Recovered struct {
	Metadata  Metadata
	HardState *raftpb.HardState // empty if there was none
	// Start is the newest mark at or below the commit index.
	Start Mark
	// Entries follow Start.Index without a gap.
	Entries []*raftpb.Entry
	// Repaired is set when a torn write was cut off.
	Repaired *Repair
}

// Repair describes a torn write that Open cut off.
type Repair struct {
	File   string // the segment
	Offset int64  // its new end, in bytes
	Copy   string // the segment as it was
	Reason string
}

// Create makes a log in dir, of which the parent must exist. It is there whole
// or not at all.
func Create(fs vfs.FS, dir string, meta Metadata, o Options) (*Log, error) {
	o = o.withDefaults()
	if Exists(fs, dir) {
		return nil, fmt.Errorf("%w: %s", ErrExists, dir)
	}
	if err := create(fs, dir, meta, o); err != nil {
		return nil, fmt.Errorf("wal: create %s: %w", dir, err)
	}
	l, _, err := Open(fs, dir, o)
	return l, err
}

func create(fs vfs.FS, dir string, meta Metadata, o Options) error {
	if fi, err := fs.Stat(dir); err == nil && !fi.IsDir() {
		return errors.New("not a directory") // an empty one would be replaced below
	}
	tmp := strings.TrimRight(dir, "/") + tempSuffix
	if err := fs.RemoveAll(tmp); err != nil {
		return err
	}
	if err := fs.MkdirAll(tmp, vfs.DirMode); err != nil {
		return err
	}
	var enc encoder
	enc.crcRecord()
	enc.metadata(meta)
	enc.mark(Mark{}, nil)
	f, err := makeSegment(fs, fs.PathJoin(tmp, segmentName(0, 0)), o.SegmentSize, nil)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(enc.buf, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := vfs.SyncDir(fs, tmp); err != nil {
		return err
	}
	// An empty directory may be there already; nothing else may.
	if _, err := fs.Stat(dir); err == nil {
		if err := fs.Remove(dir); err != nil {
			return err
		}
	}
	if err := fs.Rename(tmp, dir); err != nil {
		return err
	}
	return vfs.SyncDir(fs, fs.PathDir(dir))
}

// Open opens the log in dir for appending and returns what it held. A torn
// write at its end is cut off, after a copy was made; other damage gives a
// *CorruptError. A log that another process has open gives ErrLocked.
func Open(fs vfs.FS, dir string, o Options) (*Log, *Recovered, error) {
	o = o.withDefaults()
	if !Exists(fs, dir) {
		if _, err := listSegments(fs, dir); err != nil {
			return nil, nil, err
		}
		return nil, nil, fmt.Errorf("%w: %s", ErrNotFound, dir)
	}
	lock, err := fs.Lock(fs.PathJoin(dir, lockName))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s (%v)", ErrLocked, dir, err)
	}
	l := &Log{fs: fs, dir: dir, opts: o, lock: lock}
	rec, err := l.open()
	if err != nil {
		if l.file != nil {
			err = errors.Join(err, l.file.Close())
		}
		return nil, nil, errors.Join(err, lock.Close())
	}
	return l, rec, nil
}

func (l *Log) open() (*Recovered, error) {
	segs, err := listSegments(l.fs, l.dir)
	if err != nil {
		return nil, err
	}
	s, err := survey(l.fs, l.dir, segs)
	if err != nil {
		return nil, err
	}
	var repaired *Repair
	if s.tail != nil {
		if repaired, err = repair(l.fs, s); err != nil {
			return nil, err
		}
		if segs, err = listSegments(l.fs, l.dir); err != nil {
			return nil, err
		}
		if s, err = survey(l.fs, l.dir, segs); err != nil {
			return nil, err
		}
		if s.tail != nil {
			return nil, s.tail
		}
	}
	start := newestMark(s.marks, s.state.GetCommit())
	if start < 0 {
		return nil, noMark(l.path(segs[0].name), s.state)
	}
	rec := &Recovered{Metadata: s.meta, HardState: s.state, Start: s.marks[start], Repaired: repaired}
	if rec.Entries, err = readEntries(l.fs, l.dir, segs, rec.Start); err != nil {
		return nil, err
	}
	if err := checkCommit(s.path, rec.Start, rec.Entries, s.state); err != nil {
		return nil, err
	}
	l.meta, l.state, l.marks, l.segments, l.off = s.meta, s.state, s.marks, segs, s.end.off
	l.enc.crc = s.end.crc
	l.last = rec.Start.Index + uint64(len(rec.Entries))
	if err := l.openTail(); err != nil {
		return nil, err
	}
	l.prep.start(l)
	return rec, nil
}

// openTail opens the last segment for writing and makes sure that nothing is
// left behind the last record, and that what was read is durable: a process
// that ended before it had synced has left bytes that a power loss would take,
// and nobody writes them again.
func (l *Log) openTail() error {
	path := l.path(l.segments[len(l.segments)-1].name)
	fail := func(err error) error { return fmt.Errorf("wal: open %s: %w", path, err) }
	zero, err := zeroRest(l.fs, path, l.off)
	if err != nil {
		return fail(err)
	}
	if !zero {
		if err := vfs.Truncate(l.fs, path, l.off); err != nil {
			return fail(err)
		}
		l.segments[len(l.segments)-1].size = l.off
	}
	if l.file, err = l.fs.OpenReadWrite(path, vfs.Unspecified); err != nil {
		return fail(err)
	}
	if err := lockFile(l.file); err != nil {
		return fmt.Errorf("%w: %s (%v)", ErrLocked, path, err)
	}
	if err := l.file.Sync(); err != nil {
		return fail(err)
	}
	if err := vfs.SyncDir(l.fs, l.dir); err != nil {
		return fail(err)
	}
	return removeTemp(l.fs, l.dir)
}

// removeTemp deletes segments that were prepared and never used.
func removeTemp(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, tempSuffix) {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil && !vfs.IsNotExist(err) {
				return fmt.Errorf("wal: %w", err)
			}
		}
	}
	return nil
}
