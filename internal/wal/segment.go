package wal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// segment is one file of the log.
type segment struct {
	name  string
	seq   uint64 // 0, 1, 2, ...
	index uint64 // of the entry that comes first in it, or would
	size  int64  // in bytes, with what is allocated and not yet written
}

const (
	segmentSuffix = ".wal"
	tempSuffix    = ".tmp"
	brokenSuffix  = ".broken"
	lockName      = "LOCK"
)

func segmentName(seq, index uint64) string {
	return fmt.Sprintf("%016x-%016x%s", seq, index, segmentSuffix)
}

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (seq, index uint64, ok bool) {
	base, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(base) != 33 || base[16] != '-' {
		return 0, 0, false
	}
	seq, err1 := strconv.ParseUint(base[:16], 16, 64)
	index, err2 := strconv.ParseUint(base[17:], 16, 64)
	if err1 != nil || err2 != nil || segmentName(seq, index) != name {
		return 0, 0, false
	}
	return seq, index, true
}

// listSegments returns the segments of a directory in order, without those
// before a gap: they are left of a Release that was cut short.
func listSegments(fs vfs.FS, dir string) ([]segment, error) {
	names, err := fs.List(dir)
	if vfs.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	var segs []segment
	for _, name := range names {
		seq, index, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return nil, fmt.Errorf("wal: %w", err)
		}
		segs = append(segs, segment{name, seq, index, info.Size()})
	}
	slices.SortFunc(segs, func(a, b segment) int { return strings.Compare(a.name, b.name) })
	for i := len(segs) - 1; i > 0; i-- {
		if segs[i].seq == segs[i-1].seq {
			return nil, &CorruptError{File: fs.PathJoin(dir, segs[i].name), Reason: "has the same sequence number as " + segs[i-1].name}
		}
		if segs[i].seq != segs[i-1].seq+1 {
			return segs[i:], nil
		}
	}
	return segs, nil
}

// startSegment is the position of the segment where reading begins for a
// start from index: the last one whose first index is not above it.
func startSegment(segs []segment, index uint64) int {
	at := 0
	for i, s := range segs {
		if s.index <= index {
			at = i
		}
	}
	return at
}

// newestMark is the position of the mark that a start uses: the highest one
// that is committed. It is -1 if there is none.
func newestMark(marks []Mark, commit uint64) int {
	at := -1
	for i, m := range marks {
		if m.Index <= commit && (at < 0 || m.Index >= marks[at].Index) {
			at = i
		}
	}
	return at
}

// CorruptError says where a log is damaged in a way that no power loss
// explains.
type CorruptError struct {
	File   string
	Offset int64 // of the record, in bytes from the start of the file
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: %s is corrupt at offset %d: %s", e.File, e.Offset, e.Reason)
}
