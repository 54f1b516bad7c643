package wire

import (
	"math/bits"
	"unsafe"
)

// KV is one record in the only encoding it ever has: the canonical protobuf bytes of mvccpb.KeyValue (fields ascending,
// zero fields omitted). The same bytes are the stored value, an element of RangeResponse.kvs and of Event.kv. It is a
// string because it is never written after it is made; the key inside it is also the index's key.
//
// A tombstone is a record that holds only its key.
type KV string

// Field tags of mvccpb.KeyValue.
const (
	tagKey     = 1<<3 | 2
	tagCreate  = 2 << 3
	tagMod     = 3 << 3
	tagVersion = 4 << 3
	tagValue   = 5<<3 | 2
	tagLease   = 6 << 3
)

// Fields are the parts of a record. Key and Value share the record's memory.
type Fields struct {
	Key, Value                                    string
	CreateRevision, ModRevision, Version, LeaseID int64
}

// MakeKV encodes a record into memory of its own.
func MakeKV(f Fields) KV {
	b := AppendKV(make([]byte, 0, SizeKV(&f)), &f)
	return KV(unsafe.String(unsafe.SliceData(b), len(b)))
}

// SizeKV is the number of bytes AppendKV adds.
func SizeKV(f *Fields) int {
	n := sizeBytes(len(f.Key)) + sizeBytes(len(f.Value))
	return n + sizeInt(f.CreateRevision) + sizeInt(f.ModRevision) + sizeInt(f.Version) + sizeInt(f.LeaseID)
}

// AppendKV appends the encoding of a record.
func AppendKV(b []byte, f *Fields) []byte {
	if len(f.Key) > 0 {
		b = append(b, tagKey)
		b = appendVarint(b, uint64(len(f.Key)))
		b = append(b, f.Key...)
	}
	b = appendInt(b, tagCreate, f.CreateRevision)
	b = appendInt(b, tagMod, f.ModRevision)
	b = appendInt(b, tagVersion, f.Version)
	if len(f.Value) > 0 {
		b = append(b, tagValue)
		b = appendVarint(b, uint64(len(f.Value)))
		b = append(b, f.Value...)
	}
	return appendInt(b, tagLease, f.LeaseID)
}

// Tombstone makes the record that stands for the deletion of key.
func Tombstone(key string) KV { return MakeKV(Fields{Key: key}) }

// Key returns the record's key, in the record's own memory.
func (kv KV) Key() string {
	if len(kv) < 2 || kv[0] != tagKey {
		return ""
	}
	if n := int(kv[1]); n < 0x80 {
		return string(kv[2 : 2+n])
	}
	n, w := consumeVarint(string(kv[1:]))
	return string(kv[1+w : 1+w+int(n)])
}

// IsTombstone reports whether the record only holds a key. A live record always has a create revision behind its key.
func (kv KV) IsTombstone() bool {
	k := kv.Key()
	return len(kv) == sizeBytes(len(k))
}

// ModRevision returns the record's mod revision, 0 for a tombstone.
func (kv KV) ModRevision() int64 {
	p := kv.afterKey()
	if len(p) > 0 && p[0] == tagCreate {
		_, w := consumeVarint(p[1:])
		p = p[1+w:]
	}
	if len(p) > 0 && p[0] == tagMod {
		v, _ := consumeVarint(p[1:])
		return int64(v)
	}
	return 0
}

func (kv KV) afterKey() string {
	return string(kv[sizeBytes(len(kv.Key())):])
}

// Fields takes the record apart without copying. The record must be one that MakeKV made or ParseKV accepted.
func (kv KV) Fields() Fields {
	f, _ := parseKV(string(kv))
	return f
}

// ParseKV checks bytes that come from a disk or a peer and returns them as a record. Unknown fields are refused: such a
// record could not be passed on as it is.
func ParseKV(b []byte) (KV, error) {
	kv := KV(b)
	return kv, kv.Check()
}

// Check tells whether the record is well formed: it has a key, and is encoded as AppendKV does it. Much relies on that: where a
// record's parts are is found out from their sizes, and one without a byte has no place in memory.
func (kv KV) Check() error {
	if f, ok := parseKV(string(kv)); !ok || f.Key == "" || SizeKV(&f) != len(kv) {
		return errMalformedKV
	}
	return nil
}

func parseKV(s string) (f Fields, ok bool) {
	last := byte(0)
	for len(s) > 0 {
		tag := s[0]
		if tag <= last {
			return f, false
		}
		last = tag
		v, w := consumeVarint(s[1:])
		if w == 0 {
			return f, false
		}
		s = s[1+w:]
		switch tag {
		case tagKey, tagValue:
			if v > uint64(len(s)) {
				return f, false
			}
			if tag == tagKey {
				f.Key = s[:v]
			} else {
				f.Value = s[:v]
			}
			s = s[v:]
		case tagCreate:
			f.CreateRevision = int64(v)
		case tagMod:
			f.ModRevision = int64(v)
		case tagVersion:
			f.Version = int64(v)
		case tagLease:
			f.LeaseID = int64(v)
		default:
			return f, false
		}
	}
	return f, true
}

// Bytes returns the record as a slice that must not be written.
func (kv KV) Bytes() []byte { return unsafe.Slice(unsafe.StringData(string(kv)), len(kv)) }

// StringBytes returns s as a slice that must not be written.
func StringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// BytesString returns b as a string; b must not be written afterwards.
func BytesString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// AppendStripped appends the record without its value and lease: the answer to a keys_only range, which is produced
// from the index alone (v3-grpc.md section 7).
func (kv KV) AppendStripped(b []byte) []byte {
	f := kv.Fields()
	f.Value, f.LeaseID = "", 0
	return AppendKV(b, &f)
}

// StrippedSize is the number of bytes AppendStripped adds.
func (kv KV) StrippedSize() int {
	f := kv.Fields()
	f.Value, f.LeaseID = "", 0
	return SizeKV(&f)
}

func appendInt(b []byte, tag byte, v int64) []byte {
	if v == 0 {
		return b
	}
	return appendVarint(append(b, tag), uint64(v))
}

func sizeInt(v int64) int {
	if v == 0 {
		return 0
	}
	return 1 + sizeVarint(uint64(v))
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + sizeVarint(uint64(n)) + n
}

func sizeVarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func appendVarint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// consumeVarint returns the value and its width; width 0 means that s holds no complete varint.
func consumeVarint(s string) (uint64, int) {
	var v uint64
	for i := 0; i < len(s) && i < 10; i++ {
		c := s[i]
		if i == 9 && c > 1 {
			return 0, 0
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// LeaseID returns the lease the record is attached to, 0 if none. The lease is the record's last field.
func (kv KV) LeaseID() int64 {
	p := kv.afterKey()
	for len(p) > 0 {
		v, w := consumeVarint(p[1:])
		tag := p[0]
		p = p[1+w:]
		switch tag {
		case tagValue:
			p = p[v:]
		case tagLease:
			return int64(v)
		}
	}
	return 0
}
