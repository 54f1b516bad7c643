package client

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// SortTarget and SortOrder say how a Get orders its results.
type (
	SortTarget int
	SortOrder  int
)

const (
	SortNone SortOrder = iota
	SortAscend
	SortDescend
)

const (
	SortByKey SortTarget = iota
	SortByVersion
	SortByCreateRevision
	SortByModRevision
	SortByValue
)

// SortOption is a set sort.
type SortOption struct {
	Target SortTarget
	Order  SortOrder
}

// OpOption adjusts an operation; each says to which kinds it applies. One that
// does not apply makes the constructor panic.
type OpOption func(*Op)

// zeroByte as a range end means "to the last key"; as a key, the first one.
var zeroByte = []byte{0}

// WithLease attaches the key of a Put to a lease.
func WithLease(id LeaseID) OpOption { return func(op *Op) { op.leaseID = id } }

// WithLimit bounds the results of a Get, 0 is no bound.
func WithLimit(n int64) OpOption { return func(op *Op) { op.limit = n } }

// WithRev sets the revision of a Get, or the first one of a Watch.
func WithRev(rev int64) OpOption { return func(op *Op) { op.rev = rev } }

// WithSort orders the results of a Get. Ascending keys are the natural order and
// are not asked for.
func WithSort(target SortTarget, order SortOrder) OpOption {
	return func(op *Op) {
		if target == SortByKey && order == SortAscend {
			order = SortNone
		}
		op.sort = &SortOption{target, order}
	}
}

// PrefixRangeEnd gives the end of the range of all keys that begin with prefix.
func PrefixRangeEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return zeroByte
}

// GetPrefixRangeEnd is PrefixRangeEnd for strings.
func GetPrefixRangeEnd(prefix string) string { return string(PrefixRangeEnd([]byte(prefix))) }

// WithPrefix widens a Get, Delete or Watch to every key that begins with the
// key; the empty key means all keys.
func WithPrefix() OpOption {
	return func(op *Op) {
		op.optsWithPfx = true
		if len(op.key) == 0 {
			op.key, op.end = zeroByte, zeroByte
			return
		}
		op.end = PrefixRangeEnd(op.key)
	}
}

// WithRange widens a Get, Delete or Watch to [key, end).
func WithRange(end string) OpOption { return func(op *Op) { op.end = []byte(end) } }

// WithFromKey widens a Get, Delete or Watch to all keys from key on.
func WithFromKey() OpOption {
	return func(op *Op) {
		op.optsWithFromKey = true
		if len(op.key) == 0 {
			op.key = zeroByte
		}
		op.end = zeroByte
	}
}

// WithSerializable lets the answering member read its own state (Get,
// MemberList): quicker, possibly stale, and works without a leader.
func WithSerializable() OpOption { return func(op *Op) { op.serializable = true } }

// WithKeysOnly leaves the values of a Get out; WithCountOnly everything but the
// number of keys.
func WithKeysOnly() OpOption  { return func(op *Op) { op.keysOnly = true } }
func WithCountOnly() OpOption { return func(op *Op) { op.countOnly = true } }

// The revision filters of a Get drop keys outside the given bounds.
func WithMinModRev(rev int64) OpOption    { return func(op *Op) { op.minModRev = rev } }
func WithMaxModRev(rev int64) OpOption    { return func(op *Op) { op.maxModRev = rev } }
func WithMinCreateRev(rev int64) OpOption { return func(op *Op) { op.minCreateRev = rev } }
func WithMaxCreateRev(rev int64) OpOption { return func(op *Op) { op.maxCreateRev = rev } }

// WithFirstCreate and its kin select one key under the prefix.
func WithFirstCreate() []OpOption { return top(SortByCreateRevision, SortAscend) }
func WithLastCreate() []OpOption  { return top(SortByCreateRevision, SortDescend) }
func WithFirstKey() []OpOption    { return top(SortByKey, SortAscend) }
func WithLastKey() []OpOption     { return top(SortByKey, SortDescend) }
func WithFirstRev() []OpOption    { return top(SortByModRevision, SortAscend) }
func WithLastRev() []OpOption     { return top(SortByModRevision, SortDescend) }

func top(target SortTarget, order SortOrder) []OpOption {
	return []OpOption{WithPrefix(), WithSort(target, order), WithLimit(1)}
}

// WithPrevKV asks for the previous pair (Put, Delete, Watch).
func WithPrevKV() OpOption { return func(op *Op) { op.prevKV = true } }

// WithIgnoreValue and WithIgnoreLease keep what a Put would replace.
func WithIgnoreValue() OpOption { return func(op *Op) { op.ignoreValue = true } }
func WithIgnoreLease() OpOption { return func(op *Op) { op.ignoreLease = true } }

// WithProgressNotify asks the server for periodic progress responses of a
// Watch; WithCreatedNotify delivers the creation response, once.
func WithProgressNotify() OpOption { return func(op *Op) { op.progressNotify = true } }
func WithCreatedNotify() OpOption  { return func(op *Op) { op.createdOnce = true } }

// WithFilterPut and WithFilterDelete drop events of a Watch on the server.
func WithFilterPut() OpOption    { return func(op *Op) { op.filterPut = true } }
func WithFilterDelete() OpOption { return func(op *Op) { op.filterDelete = true } }

// WithFragment lets the server split large Watch responses; the client puts
// them together again.
func WithFragment() OpOption { return func(op *Op) { op.fragment = true } }

// IsOptsWithPrefix and IsOptsWithFromKey look into a list of options.
func IsOptsWithPrefix(opts []OpOption) bool  { return newOp(opNone, "", opts).optsWithPfx }
func IsOptsWithFromKey(opts []OpOption) bool { return newOp(opNone, "", opts).optsWithFromKey }

// CompactOption adjusts Compact.
type CompactOption func(*pb.CompactionRequest)

// WithCompactPhysical makes Compact return only when old data is gone.
func WithCompactPhysical() CompactOption {
	return func(r *pb.CompactionRequest) { r.Physical = true }
}

// LeaseOption adjusts TimeToLive.
type LeaseOption func(*pb.LeaseTimeToLiveRequest)

// WithAttachedKeys makes TimeToLive list the keys of the lease.
func WithAttachedKeys() LeaseOption {
	return func(r *pb.LeaseTimeToLiveRequest) { r.Keys = true }
}
