package snapshot

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/cairn-kv/cairn/internal/vfs"
)

// Status is the summary of a database file.
type Status struct {
	// Hash is the CRC-32C of all bucket names, keys and values in order.
	Hash uint32
	// Revision is the main part of the last revision in the file.
	Revision int64
	// Keys is the number of user keys that are alive at the end.
	Keys int
	// Pairs is the number of pairs of all buckets; older tools show it as the
	// number of keys.
	Pairs int
	// Size is the size of the database, in bytes.
	Size int64
	// Version is the storage version, empty before 3.6.
	Version string
}

// ReadStatus reads a whole database file and sums it up. Unless skipSum is
// set, a checksum that is there must be right.
func ReadStatus(fs vfs.FS, path string, skipSum bool) (Status, error) {
	f, err := OpenFile(fs, path)
	if err != nil {
		return Status{}, err
	}
	defer f.Close()
	if f.sum && !skipSum {
		if err := f.CheckSum(); err != nil {
			return Status{}, err
		}
	}
	return f.Status()
}

const revisionSize = 17 // main, '_', sub; a tombstone has a 't' behind

// Status reads all pairs and sums them up.
func (f *File) Status() (Status, error) {
	s := Status{Size: f.Size()}
	table := crc32.MakeTable(crc32.Castagnoli)
	alive := make(map[string]struct{})
	all := func([]byte) bool { return true }
	err := f.each(all, func(bucket, key, value []byte) error {
		s.Hash = crc32.Update(crc32.Update(s.Hash, table, key), table, value)
		s.Pairs++
		switch string(bucket) {
		case "key":
			if len(key) < revisionSize {
				return nil
			}
			s.Revision = int64(binary.BigEndian.Uint64(key))
			user, ok := userKey(value)
			switch {
			case !ok:
			case len(key) > revisionSize:
				delete(alive, string(user))
			default:
				alive[string(user)] = struct{}{}
			}
		case "meta":
			if string(key) == "storageVersion" {
				s.Version = string(value)
			}
		}
		return nil
	}, func(bucket []byte) { s.Hash = crc32.Update(s.Hash, table, bucket) })
	if err != nil {
		return Status{}, err
	}
	s.Keys = len(alive)
	return s, nil
}

// userKey is the first field of a record; a record may be empty.
func userKey(record []byte) ([]byte, bool) {
	const tag = 1<<3 | 2
	if len(record) == 0 || record[0] != tag {
		return nil, false
	}
	size, n := binary.Uvarint(record[1:])
	if n <= 0 || size > uint64(len(record)-1-n) {
		return nil, false
	}
	return record[1+n : 1+n+int(size)], true
}
