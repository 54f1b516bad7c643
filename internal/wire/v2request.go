package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// KindV2 is a request of the v2 API, as etcd up to 3.4 puts it into its log.
const KindV2 Kind = 2

// The methods of v2 requests in the log.
const (
	V2Post   = "POST"
	V2Put    = "PUT"
	V2Delete = "DELETE"
	V2Sync   = "SYNC" // ends what Time says is over
)

// V2Request is a change of the tree in etcd's Request encoding (operations.md section 7.2).
type V2Request struct {
	Method, Path, Val string
	Dir, Recursive    bool
	PrevValue         string
	PrevIndex         uint64
	PrevExist         *bool
	Expiration        int64 // in nanoseconds of unix time; 0 for never
	Refresh           bool
	// Time is until when SYNC ends nodes; of other requests when they were made, which etcd leaves out. In nanoseconds of
	// unix time.
	Time int64
}

// Append appends the encoding of r.
func (r *V2Request) Append(b []byte) []byte {
	b = AppendString(b, 2, r.Method)
	b = AppendString(b, 3, r.Path)
	b = AppendString(b, 4, r.Val)
	b = appendBool(b, 5, r.Dir)
	b = AppendString(b, 6, r.PrevValue)
	b = AppendUint(b, 7, r.PrevIndex)
	if r.PrevExist != nil {
		b = protowire.AppendTag(b, 8, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeBool(*r.PrevExist))
	}
	b = AppendUint(b, 9, uint64(r.Expiration))
	b = appendBool(b, 12, r.Recursive)
	b = AppendUint(b, 15, uint64(r.Time))
	return appendBool(b, 17, r.Refresh)
}

func appendBool(b []byte, num protowire.Number, v bool) []byte {
	if v {
		return AppendUint(b, num, 1)
	}
	return b
}

var errMalformedV2 = errors.New("wire: malformed v2 request")

// ParseV2Request is the inverse of Append. Fields that change nothing are passed over.
func ParseV2Request(b []byte) (V2Request, error) {
	var q V2Request
	r := fieldReader{b: b}
	for r.next() {
		switch r.typ {
		case protowire.BytesType:
			switch r.num {
			case 2:
				q.Method = string(r.data)
			case 3:
				q.Path = string(r.data)
			case 4:
				q.Val = string(r.data)
			case 6:
				q.PrevValue = string(r.data)
			}
		case protowire.VarintType:
			switch r.num {
			case 5:
				q.Dir = r.v != 0
			case 7:
				q.PrevIndex = r.v
			case 8:
				q.PrevExist = new(r.v != 0)
			case 9:
				q.Expiration = int64(r.v)
			case 12:
				q.Recursive = r.v != 0
			case 15:
				q.Time = int64(r.v)
			case 17:
				q.Refresh = r.v != 0
			}
		}
	}
	if r.bad {
		return q, errMalformedV2
	}
	return q, nil
}
