package client

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

type opKind int

const (
	opNone opKind = iota
	opRange
	opPut
	opDelete
	opTxn
	opWatch
)

// Op is one operation, for Do and for transactions. It is made by OpGet, OpPut,
// OpDelete, OpTxn or OpWatch and is a plain value.
type Op struct {
	kind opKind
	key  []byte
	end  []byte

	// range
	limit                        int64
	sort                         *SortOption
	serializable                 bool
	keysOnly, countOnly          bool
	minModRev, maxModRev         int64
	minCreateRev, maxCreateRev   int64
	rev                          int64 // range and watch
	prevKV                       bool  // watch, put, delete
	fragment                     bool  // the rest of this group: watch
	progressNotify, createdOnce  bool
	filterPut, filterDelete      bool
	val                          []byte // put
	leaseID                      LeaseID
	ignoreValue, ignoreLease     bool
	cmps                         []Cmp // txn
	thenOps, elseOps             []Op
	optsWithFromKey, optsWithPfx bool
}

func newOp(kind opKind, key string, opts []OpOption) Op {
	op := Op{kind: kind, key: []byte(key)}
	for _, o := range opts {
		o(&op)
	}
	return op
}

// NewOp returns an empty operation.
func NewOp() *Op { return &Op{} }

// OpGet reads a key or a range. It panics when the options contradict each
// other, as every constructor here does: that is a mistake in the program.
func OpGet(key string, opts ...OpOption) Op {
	if IsOptsWithPrefix(opts) && IsOptsWithFromKey(opts) {
		panic("`WithPrefix` and `WithFromKey` cannot be set at the same time, choose one")
	}
	return newOp(opRange, key, opts)
}

// OpPut writes one key.
func OpPut(key, val string, opts ...OpOption) Op {
	op := newOp(opPut, key, opts)
	op.val = []byte(val)
	op.forbid("put", map[string]bool{
		"range": op.end != nil, "limit": op.limit != 0, "revision": op.rev != 0,
	})
	return op
}

// OpDelete deletes a key or a range.
func OpDelete(key string, opts ...OpOption) Op {
	if IsOptsWithPrefix(opts) && IsOptsWithFromKey(opts) {
		panic("`WithPrefix` and `WithFromKey` cannot be set at the same time, choose one")
	}
	op := newOp(opDelete, key, opts)
	op.forbid("delete", map[string]bool{
		"lease": op.leaseID != 0, "limit": op.limit != 0, "revision": op.rev != 0,
	})
	return op
}

// OpWatch describes a watch.
func OpWatch(key string, opts ...OpOption) Op {
	op := newOp(opWatch, key, opts)
	created, fp, fd := op.createdOnce, op.filterPut, op.filterDelete
	op.createdOnce, op.filterPut, op.filterDelete = false, false, false
	op.forbid("watch", map[string]bool{"lease": op.leaseID != 0, "limit": op.limit != 0})
	op.createdOnce, op.filterPut, op.filterDelete = created, fp, fd
	return op
}

// OpTxn is a transaction inside a transaction, or one for Do.
func OpTxn(cmps []Cmp, thenOps []Op, elseOps []Op) Op {
	return Op{kind: opTxn, cmps: cmps, thenOps: thenOps, elseOps: elseOps}
}

// forbid panics over an option that has no meaning for the kind of operation:
// those given, and those that only ranges and watches know.
func (op Op) forbid(kind string, extra map[string]bool) {
	for name, set := range extra {
		if set {
			panic("unexpected " + name + " in " + kind)
		}
	}
	switch {
	case op.sort != nil:
		panic("unexpected sort in " + kind)
	case op.serializable:
		panic("unexpected serializable in " + kind)
	case op.countOnly:
		panic("unexpected countOnly in " + kind)
	case op.minModRev != 0, op.maxModRev != 0:
		panic("unexpected mod revision filter in " + kind)
	case op.minCreateRev != 0, op.maxCreateRev != 0:
		panic("unexpected create revision filter in " + kind)
	case op.filterDelete, op.filterPut:
		panic("unexpected filter in " + kind)
	case op.createdOnce:
		panic("unexpected createdNotify in " + kind)
	}
}

// The accessors say what an operation holds.
func (op Op) IsTxn() bool                { return op.kind == opTxn }
func (op Op) IsPut() bool                { return op.kind == opPut }
func (op Op) IsGet() bool                { return op.kind == opRange }
func (op Op) IsDelete() bool             { return op.kind == opDelete }
func (op Op) Txn() ([]Cmp, []Op, []Op)   { return op.cmps, op.thenOps, op.elseOps }
func (op Op) KeyBytes() []byte           { return op.key }
func (op Op) RangeBytes() []byte         { return op.end }
func (op Op) ValueBytes() []byte         { return op.val }
func (op Op) Rev() int64                 { return op.rev }
func (op Op) Limit() int64               { return op.limit }
func (op Op) IsSerializable() bool       { return op.serializable }
func (op Op) IsKeysOnly() bool           { return op.keysOnly }
func (op Op) IsCountOnly() bool          { return op.countOnly }
func (op Op) IsSortSet() bool            { return op.sort != nil }
func (op Op) IsOptsWithFromKey() bool    { return op.optsWithFromKey }
func (op Op) IsOptsWithPrefix() bool     { return op.optsWithPfx }
func (op Op) IsPrevKV() bool             { return op.prevKV }
func (op Op) IsFragment() bool           { return op.fragment }
func (op Op) IsProgressNotify() bool     { return op.progressNotify }
func (op Op) IsCreatedNotify() bool      { return op.createdOnce }
func (op Op) IsFilterPut() bool          { return op.filterPut }
func (op Op) IsFilterDelete() bool       { return op.filterDelete }
func (op Op) MinModRev() int64           { return op.minModRev }
func (op Op) MaxModRev() int64           { return op.maxModRev }
func (op Op) MinCreateRev() int64        { return op.minCreateRev }
func (op Op) MaxCreateRev() int64        { return op.maxCreateRev }
func (op *Op) WithKeyBytes(key []byte)   { op.key = key }
func (op *Op) WithRangeBytes(end []byte) { op.end = end }
func (op *Op) WithValueBytes(v []byte)   { op.val = v }

// IsSortOptionValid says whether a set sort names a known target and order.
func (op Op) IsSortOptionValid() bool {
	if op.sort == nil {
		return true
	}
	_, okOrder := pb.RangeRequest_SortOrder_name[int32(op.sort.Order)]
	_, okTarget := pb.RangeRequest_SortTarget_name[int32(op.sort.Target)]
	return okOrder && okTarget
}

func (op Op) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{
		Key: op.key, RangeEnd: op.end, Limit: op.limit, Revision: op.rev,
		Serializable: op.serializable, KeysOnly: op.keysOnly, CountOnly: op.countOnly,
		MinModRevision: op.minModRev, MaxModRevision: op.maxModRev,
		MinCreateRevision: op.minCreateRev, MaxCreateRevision: op.maxCreateRev,
	}
	if op.sort != nil {
		r.SortOrder = pb.RangeRequest_SortOrder(op.sort.Order)
		r.SortTarget = pb.RangeRequest_SortTarget(op.sort.Target)
	}
	return r
}

func (op Op) putRequest() *pb.PutRequest {
	return &pb.PutRequest{
		Key: op.key, Value: op.val, Lease: int64(op.leaseID), PrevKv: op.prevKV,
		IgnoreValue: op.ignoreValue, IgnoreLease: op.ignoreLease,
	}
}

func (op Op) deleteRequest() *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: op.key, RangeEnd: op.end, PrevKv: op.prevKV}
}

func (op Op) txnRequest() *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for _, c := range op.cmps {
		r.Compare = append(r.Compare, c.pb)
	}
	for _, o := range op.thenOps {
		r.Success = append(r.Success, o.requestOp())
	}
	for _, o := range op.elseOps {
		r.Failure = append(r.Failure, o.requestOp())
	}
	return r
}

// requestOp wraps the operation for a transaction.
func (op Op) requestOp() *pb.RequestOp {
	switch op.kind {
	case opRange:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: op.rangeRequest()}}
	case opPut:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: op.putRequest()}}
	case opDelete:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: op.deleteRequest()}}
	case opTxn:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: op.txnRequest()}}
	default:
		panic("expected get, put, delete or txn inside a transaction")
	}
}
