package wal

import (
	"errors"
	"fmt"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// prepared is a segment file that has no name yet.
type prepared struct {
	file  vfs.File
	path  string
	size  int64
	index uint64 // it will have in its name
}

// preparer makes segment files ahead of time. A file is filled with zeros, so
// that a sync of the log later on has nothing but data to write: no size, no
// allocation. Log.mu guards it, but for the goroutine's channels.
type preparer struct {
	cutting  *prepared // taken by begin, for commit
	asked    bool      // the goroutine was asked for one
	requests chan string
	results  chan result
	quit     chan struct{}
	done     chan struct{}
}

type result struct {
	made *prepared
	err  error
}

const (
	fillChunk = 1 << 20
	// maxFillWithoutDisk bounds the filling on a file system without a disk,
	// where it gains nothing.
	maxFillWithoutDisk = 1 << 20
)

var errStopped = errors.New("stopped")

// makeSegment makes a file of zeros. A closed quit gives errStopped.
func makeSegment(fs vfs.FS, path string, size int64, quit <-chan struct{}) (f vfs.File, err error) {
	if f, err = fs.Create(path, vfs.Unspecified); err != nil {
		return nil, err
	}
	if f.Fd() == noDescriptor {
		size = min(size, maxFillWithoutDisk)
	} else if err := f.Preallocate(0, size); err != nil && !unsupported(err) {
		return nil, errors.Join(fmt.Errorf("allocate: %w", err), f.Close())
	}
	zeros := make([]byte, min(size, fillChunk))
	for at := int64(0); at < size; at += fillChunk {
		select {
		case <-quit:
			return nil, errors.Join(errStopped, f.Close())
		default:
		}
		if _, err := f.WriteAt(zeros[:min(fillChunk, size-at)], at); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// In small steps, so that syncs of the log need not wait for long.
		if err := f.SyncData(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// start starts the goroutine that prepares segments.
func (p *preparer) start(l *Log) {
	if !l.opts.Background {
		return
	}
	p.requests, p.results = make(chan string, 1), make(chan result, 1)
	p.quit, p.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(p.done)
		for {
			select {
			case path := <-p.requests:
				made, err := prepare(l.fs, path, l.opts.SegmentSize, p.quit)
				p.results <- result{made, err}
			case <-p.quit:
				return
			}
		}
	}()
}

func prepare(fs vfs.FS, path string, size int64, quit <-chan struct{}) (*prepared, error) {
	f, err := makeSegment(fs, path, size, quit)
	if err != nil {
		return nil, err
	}
	return &prepared{file: f, path: path, size: size}, nil
}

// want asks for the next segment once half of this one is used.
func (p *preparer) want(l *Log) {
	if p.requests != nil && !p.asked && l.off >= l.opts.SegmentSize/2 {
		p.asked = true
		p.requests <- l.tempPath()
	}
}

// tempPath is where the next segment is prepared.
func (l *Log) tempPath() string {
	next := l.segments[len(l.segments)-1].seq + 1
	return l.path(fmt.Sprintf("%d%s", next%2, tempSuffix))
}

// take returns the next segment, and waits for it if need be.
func (p *preparer) take(l *Log) (*prepared, error) {
	var r result
	if p.asked {
		r = <-p.results
		p.asked = false
	} else {
		r.made, r.err = prepare(l.fs, l.tempPath(), l.opts.SegmentSize, nil)
	}
	if r.err != nil {
		// A disk with no room for a whole segment may have some for its start.
		r.made, r.err = prepare(l.fs, l.tempPath(), 0, nil)
	}
	return r.made, r.err
}

// stop ends the goroutine and drops what was prepared.
func (p *preparer) stop(l *Log) {
	if p.requests == nil {
		return
	}
	close(p.quit)
	<-p.done
	select {
	case r := <-p.results:
		if r.err == nil {
			_ = r.made.file.Close()
			_ = l.fs.Remove(r.made.path) // Open would do it
		}
	default:
	}
}
