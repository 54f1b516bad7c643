package wal

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// begin prepares the buffer for a batch. In a segment that is full it puts the
// head of the next one in front, which is then written together with the batch:
// a cut costs one rename and one sync of the directory, nothing more.
func (l *Log) begin() error {
	l.enc.reset()
	if l.off < l.opts.SegmentSize {
		return nil
	}
	if l.dirty {
		if err := l.sync(l.file.SyncData); err != nil {
			return l.poison("sync", err)
		}
		l.dirty = false
	}
	next, err := l.prep.take(l)
	if err != nil {
		return l.poison("prepare the segment after", err)
	}
	next.index = l.last + 1
	l.prep.cutting = next
	l.enc.crcRecord()
	l.enc.metadata(l.meta)
	if !emptyState(l.state) {
		l.enc.state(l.state)
	}
	return nil
}

func emptyState(hs *raftpb.HardState) bool {
	return hs.GetTerm() == 0 && hs.GetVote() == 0 && hs.GetCommit() == 0
}

// commit writes the buffer in one call, and syncs it if asked.
func (l *Log) commit(sync bool) error {
	if next := l.prep.cutting; next != nil {
		l.prep.cutting = nil
		return l.cut(next)
	}
	if err := l.write(l.file, l.off); err != nil {
		return l.poison("write", err)
	}
	l.off += int64(len(l.enc.buf))
	l.written += int64(len(l.enc.buf))
	l.dirty = true
	l.prep.want(l)
	return l.syncLocked(sync)
}

// cut writes the buffer to the start of the next segment, and gives that its
// name only once its content is durable.
func (l *Log) cut(next *prepared) error {
	seq := l.segments[len(l.segments)-1].seq + 1
	seg := segment{name: segmentName(seq, next.index), seq: seq, index: next.index, size: next.size}
	err := l.write(next.file, 0)
	if err == nil {
		err = l.sync(next.file.Sync)
	}
	if err == nil {
		err = l.fs.Rename(next.path, l.path(seg.name))
	}
	if err == nil {
		err = l.sync(func() error { return vfs.SyncDir(l.fs, l.dir) })
	}
	if err == nil {
		err = lockFile(next.file)
	}
	if err != nil {
		_ = next.file.Close() // the log is at its end; err says why
		return l.poison("cut", err)
	}
	old := l.file
	l.segments[len(l.segments)-1].size = max(l.off, l.segments[len(l.segments)-1].size)
	l.file, l.off, l.dirty = next.file, int64(len(l.enc.buf)), false
	l.segments = append(l.segments, seg)
	l.written += int64(len(l.enc.buf))
	if err := old.Close(); err != nil {
		return l.poison("close the segment before", err)
	}
	return nil
}

func (l *Log) syncLocked(sync bool) error {
	if !sync || !l.dirty {
		return nil
	}
	if err := l.sync(l.file.SyncData); err != nil {
		return l.poison("sync", err)
	}
	l.dirty = false
	return nil
}

// write writes the buffer and tells how long it took.
func (l *Log) write(f vfs.File, at int64) error {
	if l.opts.OnWrite == nil {
		_, err := f.WriteAt(l.enc.buf, at)
		return err
	}
	begun := time.Now()
	n, err := f.WriteAt(l.enc.buf, at)
	l.opts.OnWrite(n, time.Since(begun))
	return err
}

// sync runs one sync and tells how long it took.
func (l *Log) sync(sync func() error) error {
	if l.opts.OnSync == nil {
		return sync()
	}
	begun := time.Now()
	err := sync()
	l.opts.OnSync(time.Since(begun))
	return err
}
