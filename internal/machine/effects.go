package machine

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// KindConfChange marks the result of a membership change, which is no command.
const KindConfChange wire.Kind = -1

// Effects are what Apply calls have brought about, for the host to hand on. Reset empties it for reuse.
type Effects struct {
	Results  []Result
	Changes  []wire.Change // in revision order
	Events   []*tree.Event // of the v2 tree, in index order
	Conf     []*raftpb.ConfChange
	Leases   []LeaseEvent
	Sessions Sessions
	NewTerm  uint64 // a leader's first entry of this term was among the entries; 0 if none was
}

// Reset makes e ready for the next Apply. Slices that were handed on are let go.
func (e *Effects) Reset() {
	clear(e.Results)
	*e = Effects{Results: e.Results[:0], Leases: e.Leases[:0]}
}

// Result is the outcome of one command.
type Result struct {
	ID   uint64 // of the request
	Kind wire.Kind
	Err  error
	Rev  int64  // the store's revision after the command
	Term uint64 // of the entry

	Prev       wire.KV     // put: the record before
	Deleted    int64       // delete range
	PrevKVs    []wire.KV   // delete range: the records before, if asked for
	Txn        *TxnResult  // txn
	Lease      lease.Lease // lease grant
	Alarms     []Alarm     // alarm
	CompactRev int64       // compaction: where storage has to get to
	Event      *tree.Event // v2: what was done

	Token        string // authenticate: a token of the kind that members keep
	AuthRevision uint64 // of what changes users or roles, and authenticate: the revision after it
}

// TxnResult is the outcome of a txn.
type TxnResult struct {
	Succeeded bool
	Ops       []OpResult
}

// OpResult is the outcome of one operation of a txn. Rev is what its header shows.
type OpResult struct {
	Rev     int64
	Range   *mvcc.Result
	Put     bool
	Prev    wire.KV
	Delete  bool
	Deleted int64
	PrevKVs []wire.KV
	Txn     *TxnResult
}

// LeaseEvent tells the node, which watches deadlines, what became of a lease.
type LeaseEvent struct {
	Lease lease.Lease
	What  LeaseChange
}

// LeaseChange is what became of a lease.
type LeaseChange uint8

// The changes of a lease.
const (
	LeaseGranted      LeaseChange = iota
	LeaseRenewed                  // it has its whole time again
	LeaseCheckpointed             // the log says now how much of it is left
	LeaseRevoked
)

func (c LeaseChange) String() string {
	return [...]string{"granted", "renewed", "checkpointed", "revoked"}[c]
}

// KVHash is the hash of the keyspace at a revision, over what a compaction has left of it.
type KVHash struct {
	Hash            uint32
	Rev, CompactRev int64
}
