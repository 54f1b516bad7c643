package wal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// scanner reads the records of one segment in order.
type scanner struct {
	file vfs.File
	path string
	size int64
	off  int64  // of the next record
	crc  uint32 // running
	in   *bufio.Reader
	body []byte
}

const scanBuffer = 256 << 10

func openScanner(fs vfs.FS, path string, crc uint32) (*scanner, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wal: %s: %w", path, err), f.Close())
	}
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, info.Size()), scanBuffer)
	return &scanner{file: f, path: path, size: info.Size(), crc: crc, in: in}, nil
}

func (s *scanner) close() error { return s.file.Close() }

func (s *scanner) corrupt(format string, args ...any) error {
	return &CorruptError{File: s.path, Offset: s.off, Reason: fmt.Sprintf(format, args...)}
}

// next reads a record. It returns io.EOF at the end of what was written, and a
// *CorruptError for what is no record, with off and crc unmoved: only the last
// segment may end like that (see torn.go).
func (s *scanner) next(r *Record) error {
	left := s.size - s.off
	if left == 0 {
		return io.EOF
	}
	var head [lengthSize]byte
	if _, err := io.ReadFull(s.in, head[:min(left, lengthSize)]); err != nil {
		return s.fault(err)
	}
	length := binary.LittleEndian.Uint64(head[:])
	if length == 0 {
		return io.EOF
	}
	if left < lengthSize {
		return s.corrupt("%d bytes are left, less than a length field", left)
	}
	size, pad, err := parseLength(length)
	if err != nil {
		return s.corrupt("%v", err)
	}
	if size+pad > left-lengthSize {
		return s.corrupt("a record of %d bytes does not fit into the %d bytes left", size, left-lengthSize)
	}
	if int64(cap(s.body)) < size+pad {
		s.body = make([]byte, size+pad)
	}
	s.body = s.body[:size+pad]
	if _, err := io.ReadFull(s.in, s.body); err != nil {
		return s.fault(err)
	}
	*r = Record{File: s.path, Offset: s.off}
	crc, err := r.check(s.body[:size], s.crc)
	if err != nil {
		return s.corrupt("%v", err)
	}
	s.crc = crc
	s.off += lengthSize + size + pad
	return nil
}

// check parses a body and its checksum, and returns the running checksum
// behind it.
func (r *Record) check(body []byte, crc uint32) (uint32, error) {
	if err := r.parseBody(body); err != nil {
		return 0, err
	}
	if r.Type == TypeCRC {
		if crc != 0 && r.CRC != crc {
			return 0, fmt.Errorf("the segment goes on from checksum %08x, the one before ends with %08x", r.CRC, crc)
		}
		return r.CRC, nil
	}
	crc = crc32.Update(crc, castagnoli, r.Data)
	if r.CRC != crc {
		return 0, fmt.Errorf("checksum is %08x, the data gives %08x", r.CRC, crc)
	}
	return crc, nil
}

// fault is a failed read: the disk's fault, not the log's.
func (s *scanner) fault(err error) error {
	return fmt.Errorf("wal: read %s at offset %d: %w", s.path, s.off, err)
}

// scanSegments hands each record of the segments to visit. A damaged tail of
// the last segment ends the scan; it comes back as tail with a nil error, for
// the caller to judge. Any other damage is the error.
func scanSegments(fs vfs.FS, dir string, segs []segment, visit func(*Record) error) (end position, tail *CorruptError, err error) {
	var crc uint32
	for i, seg := range segs {
		s, err := openScanner(fs, fs.PathJoin(dir, seg.name), crc)
		if err != nil {
			return end, nil, err
		}
		tail, err = s.all(visit)
		end = position{segment: i, off: s.off, crc: s.crc}
		if closeErr := s.close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return end, nil, err
		}
		if tail != nil && i < len(segs)-1 {
			return end, nil, tail
		}
		crc = s.crc
	}
	return end, tail, nil
}

// position is where a scan ended.
type position struct {
	segment int
	off     int64
	crc     uint32
}

func (s *scanner) all(visit func(*Record) error) (*CorruptError, error) {
	var r Record
	for head := 0; ; head++ {
		err := s.next(&r)
		var bad *CorruptError
		switch {
		case err == io.EOF && head < 2:
			return nil, s.corrupt("the segment ends before its head does")
		case err == io.EOF:
			return nil, nil
		case errors.As(err, &bad):
			return bad, nil
		case err != nil:
			return nil, err
		}
		if head == 0 && r.Type != TypeCRC || head == 1 && r.Type != TypeMetadata {
			s.off = r.Offset
			return nil, s.corrupt("the segment does not begin with a checksum and metadata")
		}
		if err := visit(&r); err != nil {
			return nil, &CorruptError{File: r.File, Offset: r.Offset, Reason: err.Error()}
		}
	}
}
