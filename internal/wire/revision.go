package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	errMalformedKV  = errors.New("wire: malformed key-value record")
	errMalformedRev = errors.New("wire: malformed revision key")
)

// Rev names one change: the Main revision of its transaction, and its place Sub inside it.
type Rev struct{ Main, Sub int64 }

// Compare orders revisions.
func (r Rev) Compare(o Rev) int {
	if c := cmp.Compare(r.Main, o.Main); c != 0 {
		return c
	}
	return cmp.Compare(r.Sub, o.Sub)
}

func (r Rev) String() string { return fmt.Sprintf("%d.%d", r.Main, r.Sub) }

// Widths of a stored revision key (operations.md section 5.1).
const (
	RevKeyLen       = 17
	TombstoneKeyLen = 18
	revSeparator    = '_'
	tombstoneMark   = 't'
)

// AppendRevKey appends the 17-byte key of a revision, or the 18-byte key of a tombstone.
func AppendRevKey(b []byte, r Rev, tombstone bool) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.Main))
	b = append(b, revSeparator)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Sub))
	if tombstone {
		b = append(b, tombstoneMark)
	}
	return b
}

// ParseRevKey is the inverse of AppendRevKey.
func ParseRevKey(b []byte) (r Rev, tombstone bool, err error) {
	if (len(b) != RevKeyLen && len(b) != TombstoneKeyLen) || b[8] != revSeparator {
		return Rev{}, false, errMalformedRev
	}
	if len(b) == TombstoneKeyLen {
		if b[17] != tombstoneMark {
			return Rev{}, false, errMalformedRev
		}
		tombstone = true
	}
	r = Rev{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[9:]))}
	return r, tombstone, nil
}

// Range is a half-open interval of keys with etcd's addressing rules already resolved (v3-grpc.md section 6).
// Hi == "" means "no upper bound".
type Range struct{ Lo, Hi string }

// One is the range that holds exactly key.
func One(key string) Range { return Range{key, key + "\x00"} }

// ParseRange resolves (key, range_end). A range_end at or before key gives an empty range.
func ParseRange(key, end []byte) Range {
	switch {
	case len(end) == 0:
		return One(string(key))
	case len(end) == 1 && end[0] == 0:
		return Range{Lo: string(key)}
	default:
		return Range{string(key), string(end)}
	}
}

// Empty reports whether no key can be in the range.
func (r Range) Empty() bool { return r.Hi != "" && r.Hi <= r.Lo }

// Contains reports whether key is in the range.
func (r Range) Contains(key string) bool { return key >= r.Lo && (r.Hi == "" || key < r.Hi) }

// Overlaps reports whether a key can be in both ranges.
func (r Range) Overlaps(o Range) bool {
	return !r.Empty() && !o.Empty() && (r.Hi == "" || o.Lo < r.Hi) && (o.Hi == "" || r.Lo < o.Hi)
}

// Intersect is the range of the keys that are in both.
func (r Range) Intersect(o Range) Range {
	r.Lo = max(r.Lo, o.Lo)
	if r.Hi == "" || o.Hi != "" && o.Hi < r.Hi {
		r.Hi = o.Hi
	}
	return r
}

// Single returns the range's key if the range holds exactly one possible key.
func (r Range) Single() (string, bool) {
	n := len(r.Lo)
	if len(r.Hi) == n+1 && r.Hi[n] == 0 && r.Hi[:n] == r.Lo {
		return r.Lo, true
	}
	return "", false
}

// Change is one key's step at one revision. All watchers of the key share it.
type Change struct {
	Rev  Rev
	KV   KV // the new record; a tombstone for a deletion
	Prev KV // the record before, "" if there was none
}

// Deleted reports whether the change is a deletion.
func (c *Change) Deleted() bool { return c.KV.IsTombstone() }
