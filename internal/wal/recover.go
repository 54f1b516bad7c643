package wal

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// summary is what a first pass over a log finds out; the entries themselves
// wait for a second pass, when it is known where they start.
type summary struct {
	meta  Metadata
	state *raftpb.HardState
	marks []Mark
	end   position
	path  string        // of the last segment
	tail  *CorruptError // damage at the end of it
}

func survey(fs vfs.FS, dir string, segs []segment) (*summary, error) {
	s := &summary{state: new(raftpb.HardState)}
	known := false
	end, tail, err := scanSegments(fs, dir, segs, func(r *Record) error {
		switch r.Type {
		case TypeMetadata:
			meta, err := r.Metadata()
			if err != nil {
				return err
			}
			if known && meta != s.meta {
				return fmt.Errorf("the segment is of node %x in cluster %x, the one before of %x in %x",
					meta.NodeID, meta.ClusterID, s.meta.NodeID, s.meta.ClusterID)
			}
			s.meta, known = meta, true
		case TypeEntry:
			_, _, err := r.entryIndex()
			return err
		case TypeState:
			state, err := r.State()
			if err != nil {
				return err
			}
			s.state = state
		case TypeMark:
			mark, err := r.Mark()
			if err != nil {
				return err
			}
			s.marks = append(s.marks, mark)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.end, s.tail = end, tail
	if len(segs) > 0 {
		s.path = fs.PathJoin(dir, segs[len(segs)-1].name)
	}
	return s, nil
}

// readEntries reads the entries behind the start. An entry replaces those read
// before from its index on: they were never committed.
func readEntries(fs vfs.FS, dir string, segs []segment, start Mark) ([]*raftpb.Entry, error) {
	var (
		entries []*raftpb.Entry
		atStart uint64 // term of the entry at the start's index, 0 if not seen
		behind  bool   // the segments begin behind the start's index
		first   = true
		marked  bool // the start's mark was read
	)
	_, _, err := scanSegments(fs, dir, segs[startSegment(segs, start.Index):], func(r *Record) error {
		switch r.Type {
		case TypeEntry:
			index, term, err := r.entryIndex()
			if err != nil {
				return err
			}
			if first {
				first, behind = false, index > start.Index
			}
			if index == start.Index {
				atStart = term
			}
			if index <= start.Index {
				return nil
			}
			at := index - start.Index - 1
			if at > uint64(len(entries)) {
				return fmt.Errorf("entry %d follows entry %d", index, start.Index+uint64(len(entries)))
			}
			e, err := r.Entry()
			if err != nil {
				return err
			}
			clear(entries[at:])
			entries = append(entries[:at], e)
		case TypeMark:
			m, err := r.Mark()
			if err != nil {
				return err
			}
			// A start that came from another member replaced the log: entries
			// that were there before it do not lead on from it. Later marks of
			// the same place are this member's own.
			if m.Index == start.Index && m.Term == start.Term && !marked {
				marked = true
				if !behind && atStart != start.Term {
					clear(entries)
					entries = entries[:0]
				}
			}
		}
		return nil
	})
	return entries, err
}

// checkCommit makes sure that everything committed is there.
func checkCommit(path string, start Mark, entries []*raftpb.Entry, hs *raftpb.HardState) error {
	if last, commit := start.Index+uint64(len(entries)), hs.GetCommit(); last < commit {
		return &CorruptError{File: path, Reason: fmt.Sprintf("the last entry is %d, but %d was committed", last, commit)}
	}
	return nil
}

// repair cuts a torn write off the last segment, after making a copy of it.
// The result is durable.
func repair(fs vfs.FS, s *summary) (*Repair, error) {
	fail := func(err error) (*Repair, error) {
		return nil, fmt.Errorf("wal: repair %s: %w", s.path, err)
	}
	rest, err := readRest(fs, s.path, s.end.off)
	if err != nil {
		return fail(err)
	}
	if !tornTail(rest, s.end.off, s.end.crc) {
		return nil, s.tail
	}
	copyName := s.path + brokenSuffix
	if err := vfs.Copy(fs, s.path, copyName); err != nil {
		return fail(err)
	}
	if err := vfs.Truncate(fs, s.path, s.end.off); err != nil {
		return fail(err)
	}
	if err := vfs.SyncDir(fs, fs.PathDir(s.path)); err != nil {
		return fail(err)
	}
	return &Repair{File: s.path, Offset: s.end.off, Copy: copyName, Reason: s.tail.Reason}, nil
}
