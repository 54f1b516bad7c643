package wal

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// A power loss may leave a write half done. What it leaves of the unsynced end
// of a file is missing, or zero from some byte on, or lacks whole sectors.
// Anything else is damage to data that was safe, and must not be cut off: the
// node has promised what is in there.

const sectorSize = 512

// tornTail decides whether the bytes from bad on can be a torn write. rest is
// the file from the bad record to its end, off its place in the file, crc the
// running checksum in front of it.
func tornTail(rest []byte, off int64, crc uint32) bool {
	written := len(rest)
	for written > 0 && rest[written-1] == 0 {
		written--
	}
	if resume := resumesAt(rest, written); resume > 0 {
		// Good records follow. Only a sector that never came explains that.
		return zeroSector(rest[:resume], off)
	}
	if len(rest) < lengthSize {
		return true
	}
	size, pad, err := parseLength(binary.LittleEndian.Uint64(rest))
	if whole := wholeBody(rest, crc); whole > 0 && whole != size {
		return false // just the length field is damaged
	}
	if err != nil {
		// The eight bytes of a length field never straddle sectors, but they
		// may be cut by the end of what was written.
		return written < lengthSize
	}
	end := lengthSize + size
	if end+pad > int64(len(rest)) || int64(written) < end {
		return true
	}
	return zeroSector(rest[:end], off)
}

// resumesAt finds where, behind the damage, records follow each other without
// a gap up to the end of what was written. It returns 0 if nowhere.
func resumesAt(rest []byte, written int) int {
	// From the end, so that each place is looked at once.
	leads := make([]bool, written/8+1) // from at*8 to the end, without a gap
	first := 0
	for at := (written - 1) / 8 * 8; at >= lengthSize; at -= 8 {
		body, next, ok := frameAt(rest, at)
		if !ok || next < written && !leads[next/8] || new(Record).parseBody(body) != nil {
			continue
		}
		leads[at/8] = true
		first = at
	}
	return first
}

// frameAt returns the body of the frame at a place, and where the next begins.
func frameAt(rest []byte, at int) (body []byte, next int, ok bool) {
	if len(rest)-at < lengthSize {
		return nil, 0, false
	}
	size, pad, err := parseLength(binary.LittleEndian.Uint64(rest[at:]))
	if err != nil || size == 0 || size+pad > int64(len(rest)-at-lengthSize) {
		return nil, 0, false
	}
	start := at + lengthSize
	return rest[start : start+int(size)], start + int(size+pad), true
}

// wholeBody returns the size of the record behind the length field, whatever
// that says, if it is there to its end and its checksum is right; 0 if not.
func wholeBody(rest []byte, crc uint32) int64 {
	body := rest[lengthSize:]
	n := bodySize(body)
	if n == 0 {
		return 0
	}
	if _, err := new(Record).check(body[:n], crc); err != nil {
		return 0
	}
	return int64(n)
}

// bodySize tells how long the record at the start of b is, by its fields.
func bodySize(b []byte) int {
	at := 0
	for _, tag := range []byte{0x08, 0x10} {
		if at >= len(b) || b[at] != tag {
			return 0
		}
		_, n := binary.Uvarint(b[at+1:])
		if n <= 0 {
			return 0
		}
		at += 1 + n
	}
	if at >= len(b) || b[at] != 0x1a {
		return at
	}
	size, n := binary.Uvarint(b[at+1:])
	if n <= 0 || size > uint64(len(b)-at-1-n) {
		return 0
	}
	return at + 1 + n + int(size)
}

// zeroSector reports whether b, which begins at off in its file, holds nothing
// but zeros in the part of it that one sector has, other than its own first
// and a short last one.
func zeroSector(b []byte, off int64) bool {
	at := int((off+sectorSize-1)/sectorSize*sectorSize - off)
	for ; at < len(b); at += sectorSize {
		part := b[at:min(at+sectorSize, len(b))]
		if len(part) >= 8 && allZero(part) {
			return true
		}
	}
	return false
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// readRest reads a file from off to its end.
func readRest(fs vfs.FS, path string, off int64) ([]byte, error) {
	var rest []byte
	err := eachChunk(fs, path, off, func(chunk []byte) bool {
		rest = append(rest, chunk...)
		return true
	})
	return rest, err
}

// zeroRest reports whether a file holds only zeros from off to its end.
func zeroRest(fs vfs.FS, path string, off int64) (bool, error) {
	zero := true
	err := eachChunk(fs, path, off, func(chunk []byte) bool {
		zero = allZero(chunk)
		return zero
	})
	return zero, err
}

func eachChunk(fs vfs.FS, path string, off int64, visit func([]byte) bool) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, scanBuffer)
	for {
		n, err := f.ReadAt(chunk, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n > 0 && !visit(chunk[:n]) || err != nil {
			return nil
		}
		off += int64(n)
	}
}
