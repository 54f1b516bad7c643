package wal

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// Report is what Verify finds in a log.
type Report struct {
	Metadata  Metadata
	HardState *raftpb.HardState // the last one; empty if there is none
	Marks     []Mark            // all that are there, in the order written
	Segments  []string          // paths, in order
	Records   int
	// First and Last are the lowest and the last index of the entries that are
	// there; both are zero if there are none.
	First, Last uint64
	// Torn is set when the log ends in a torn write, which Open would cut off.
	Torn *CorruptError
}

// Read hands each record of the log in dir to visit, in the order written. It
// takes no lock and changes nothing. A torn write at the end is ignored; other
// damage is a *CorruptError, an error of visit comes back as it is.
func Read(fs vfs.FS, dir string, visit func(*Record) error) error {
	_, err := read(fs, dir, visit)
	return err
}

func read(fs vfs.FS, dir string, visit func(*Record) error) (*CorruptError, error) {
	segs, err := listSegments(fs, dir)
	if err != nil {
		return nil, err
	}
	if len(segs) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, dir)
	}
	var own error
	end, tail, err := scanSegments(fs, dir, segs, func(r *Record) error {
		own = visit(r)
		return own
	})
	if own != nil {
		return nil, own
	}
	if err != nil || tail == nil {
		return nil, err
	}
	rest, err := readRest(fs, tail.File, end.off)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if !tornTail(rest, end.off, end.crc) {
		return nil, tail
	}
	return tail, nil
}

// Verify reads the log in dir and checks that a start from it would work. It
// takes no lock and changes nothing.
func Verify(fs vfs.FS, dir string) (*Report, error) {
	rep := &Report{HardState: new(raftpb.HardState)}
	torn, err := read(fs, dir, func(r *Record) error {
		if err := rep.add(r); err != nil {
			return &CorruptError{File: r.File, Offset: r.Offset, Reason: err.Error()}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	rep.Torn = torn
	segs, err := listSegments(fs, dir)
	if err != nil {
		return nil, err
	}
	for _, s := range segs {
		rep.Segments = append(rep.Segments, fs.PathJoin(dir, s.name))
	}
	start := newestMark(rep.Marks, rep.HardState.GetCommit())
	if start < 0 {
		return nil, noMark(fs.PathJoin(dir, segs[0].name), rep.HardState)
	}
	entries, err := readEntries(fs, dir, segs, rep.Marks[start])
	if err != nil {
		return nil, err
	}
	if err := checkCommit(rep.Segments[len(segs)-1], rep.Marks[start], entries, rep.HardState); err != nil {
		return nil, err
	}
	return rep, nil
}

func (rep *Report) add(r *Record) (err error) {
	rep.Records++
	switch r.Type {
	case TypeMetadata:
		rep.Metadata, err = r.Metadata()
	case TypeEntry:
		var e *raftpb.Entry
		if e, err = r.Entry(); err != nil {
			return err
		}
		if rep.First == 0 || e.GetIndex() < rep.First {
			rep.First = e.GetIndex()
		}
		rep.Last = e.GetIndex()
	case TypeState:
		rep.HardState, err = r.State()
	case TypeMark:
		var m Mark
		m, err = r.Mark()
		rep.Marks = append(rep.Marks, m)
	}
	return err
}

func noMark(path string, hs *raftpb.HardState) error {
	return &CorruptError{File: path, Reason: fmt.Sprintf("no mark is at or below the commit index %d", hs.GetCommit())}
}
