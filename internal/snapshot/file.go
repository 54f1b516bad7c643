package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// Errors that callers can tell apart. Each comes with the file's name.
var (
	// ErrNoSum says that a file has no checksum behind its pages.
	ErrNoSum = errors.New("snapshot missing hash but --skip-hash-check=false")
	// ErrInUse says that a running server has the file open.
	ErrInUse = errors.New("database file is in use by another process")
	// ErrNotDatabase says that a file is no database file at all.
	ErrNotDatabase = errors.New("not a database file")
	// ErrDamaged says that the pages of a database file make no sense.
	ErrDamaged = errors.New("database file is damaged")
)

// SumError says that the checksum of a file is not that of its pages.
type SumError struct{ Want, Got [SumSize]byte }

// Error implements error.
func (e *SumError) Error() string {
	return fmt.Sprintf("expected sha256 %v, got %v", e.Want, e.Got)
}

// File is an open database file. One goroutine uses it at a time.
type File struct {
	path   string
	f      vfs.File
	length int64 // of the pages, without the checksum
	sum    bool
	meta   meta
}

// OpenFile opens a database file for reading, with or without a checksum
// behind it. A file that a running server writes to gives ErrInUse.
func OpenFile(fs vfs.FS, path string) (*File, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	file := &File{path: path, f: f}
	if err := file.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %s: %w", path, err), f.Close())
	}
	return file, nil
}

func (f *File) open() error {
	if err := lockShared(f.f); err != nil {
		return fmt.Errorf("%w (%v)", ErrInUse, err)
	}
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	f.length = info.Size()
	if f.length%512 == SumSize {
		f.length -= SumSize
		f.sum = true
	}
	return f.readMeta()
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// HasSum reports whether a checksum follows the pages.
func (f *File) HasSum() bool { return f.sum }

// Size is the size of the database: its pages up to the last one ever used,
// in bytes.
func (f *File) Size() int64 { return int64(f.meta.high) * int64(f.meta.pageSize) }

// Length is the length of the file without its checksum, in bytes.
func (f *File) Length() int64 { return f.length }

// CheckSum reads the whole file and compares its checksum. The error is
// ErrNoSum or a *SumError if it is missing or wrong.
func (f *File) CheckSum() error {
	if !f.sum {
		return fmt.Errorf("snapshot: %s: %w", f.path, ErrNoSum)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f.f, 0, f.length)); err != nil {
		return fmt.Errorf("snapshot: %s: %w", f.path, err)
	}
	var e SumError
	h.Sum(e.Got[:0])
	if _, err := f.f.ReadAt(e.Want[:], f.length); err != nil {
		return fmt.Errorf("snapshot: %s: %w", f.path, err)
	}
	if !bytes.Equal(e.Want[:], e.Got[:]) {
		return fmt.Errorf("snapshot: %s: %w", f.path, &e)
	}
	return nil
}

// maxPageSize bounds the page sizes of the platforms that databases come from.
const maxPageSize = 64 << 10

// readMeta takes the newer one of the two metas that is whole.
func (f *File) readMeta() error {
	if f.length < 2*512 {
		return fmt.Errorf("%w: it has %d bytes", ErrNotDatabase, f.length)
	}
	first, err := f.metaAt(0)
	if err != nil && !errors.Is(err, ErrNotDatabase) && !errors.Is(err, ErrDamaged) {
		return err
	}
	found := err == nil
	if found {
		f.meta = first
	}
	// The second meta is one page behind; without the first nobody knows how
	// far that is.
	for size := int64(512); size <= maxPageSize; size *= 2 {
		if found && size != int64(first.pageSize) {
			continue
		}
		m, metaErr := f.metaAt(size)
		if metaErr == nil && int64(m.pageSize) == size && (!found || m.txid > f.meta.txid) {
			f.meta = m
			return nil
		}
	}
	if !found {
		return err
	}
	return nil
}

func (f *File) metaAt(at int64) (meta, error) {
	var m meta
	b := make([]byte, pageHeaderSize+metaSize)
	if _, err := f.f.ReadAt(b, at); err != nil {
		if errors.Is(err, io.EOF) {
			return m, fmt.Errorf("%w: it ends within its first page", ErrNotDatabase)
		}
		return m, err
	}
	flags, b := binary.LittleEndian.Uint16(b[8:]), b[pageHeaderSize:]
	if binary.LittleEndian.Uint32(b) != metaMagic || flags&flagMeta == 0 {
		return m, fmt.Errorf("%w: its first page does not say so", ErrNotDatabase)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != metaVersion {
		return m, fmt.Errorf("%w: its format has version %d, not %d", ErrNotDatabase, v, metaVersion)
	}
	if metaSum(b) != binary.LittleEndian.Uint64(b[56:]) {
		return m, fmt.Errorf("%w: the checksum of its first page is wrong", ErrDamaged)
	}
	m = meta{
		pageSize: binary.LittleEndian.Uint32(b[8:]),
		root:     binary.LittleEndian.Uint64(b[16:]),
		freelist: binary.LittleEndian.Uint64(b[32:]),
		high:     binary.LittleEndian.Uint64(b[40:]),
		txid:     binary.LittleEndian.Uint64(b[48:]),
	}
	if m.pageSize < 512 || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0 {
		return m, fmt.Errorf("%w: its page size is %d", ErrDamaged, m.pageSize)
	}
	if m.high > uint64(f.length)/uint64(m.pageSize) {
		return m, fmt.Errorf("%w: it has %d bytes, less than the %d pages of %d bytes that it names", ErrDamaged, f.length, m.high, m.pageSize)
	}
	return m, nil
}
