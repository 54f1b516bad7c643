package wire

import "google.golang.org/protobuf/encoding/protowire"

// The four requests of the key-value service, decoded by hand: they are what nearly every log entry and every read
// holds. Byte slices share the memory of the request they were parsed from. Unknown fields are skipped and a scalar that
// comes twice counts with its last value, as protobuf prescribes.

// PutRequest is etcdserverpb.PutRequest.
type PutRequest struct {
	Key, Value                       []byte
	Lease                            int64
	PrevKV, IgnoreValue, IgnoreLease bool
}

// SortOrder is RangeRequest.sort_order.
type SortOrder int32

// SortTarget is RangeRequest.sort_target.
type SortTarget int32

// Sort orders and targets.
const (
	SortNone    SortOrder = 0
	SortAscend  SortOrder = 1
	SortDescend SortOrder = 2

	SortByKey     SortTarget = 0
	SortByVersion SortTarget = 1
	SortByCreate  SortTarget = 2
	SortByMod     SortTarget = 3
	SortByValue   SortTarget = 4
)

// RangeRequest is etcdserverpb.RangeRequest.
type RangeRequest struct {
	Key, End                             []byte
	Limit, Revision                      int64
	Order                                SortOrder
	Target                               SortTarget
	Serializable, KeysOnly, CountOnly    bool
	MinMod, MaxMod, MinCreate, MaxCreate int64
}

// Filtered reports whether a revision filter is set.
func (r *RangeRequest) Filtered() bool {
	return r.MinMod != 0 || r.MaxMod != 0 || r.MinCreate != 0 || r.MaxCreate != 0
}

// DeleteRequest is etcdserverpb.DeleteRangeRequest.
type DeleteRequest struct {
	Key, End []byte
	PrevKV   bool
}

// CompareTarget is Compare.target, CompareResult is Compare.result.
type (
	CompareTarget int32
	CompareResult int32
)

// Compare targets and results.
const (
	CompareVersion CompareTarget = 0
	CompareCreate  CompareTarget = 1
	CompareMod     CompareTarget = 2
	CompareValue   CompareTarget = 3
	CompareLease   CompareTarget = 4

	Equal    CompareResult = 0
	Greater  CompareResult = 1
	Less     CompareResult = 2
	NotEqual CompareResult = 3
)

// Compare is etcdserverpb.Compare. Number and Value hold the operand if the oneof member that belongs to the target was
// set, and are zero otherwise.
type Compare struct {
	Result   CompareResult
	Target   CompareTarget
	Key, End []byte
	Number   int64
	Value    []byte
}

// Op is etcdserverpb.RequestOp: one of the members is set, or none.
type Op struct {
	Range  *RangeRequest
	Put    *PutRequest
	Delete *DeleteRequest
	Txn    *TxnRequest
}

// TxnRequest is etcdserverpb.TxnRequest.
type TxnRequest struct {
	Compare          []Compare
	Success, Failure []Op
}

// maxTxnDepth bounds the nesting a decoder follows; the limit on operations is far below it.
const maxTxnDepth = 10000

// ParsePut decodes a PutRequest.
func ParsePut(b []byte) (p PutRequest, ok bool) {
	r := fieldReader{b: b}
	for r.next() {
		if r.typ == protowire.BytesType {
			switch r.num {
			case 1:
				p.Key = r.data
			case 2:
				p.Value = r.data
			}
			continue
		}
		if r.typ != protowire.VarintType {
			continue
		}
		switch r.num {
		case 3:
			p.Lease = int64(r.v)
		case 4:
			p.PrevKV = r.v != 0
		case 5:
			p.IgnoreValue = r.v != 0
		case 6:
			p.IgnoreLease = r.v != 0
		}
	}
	return p, !r.bad
}

// ParseRangeRequest decodes a RangeRequest.
func ParseRangeRequest(b []byte) (q RangeRequest, ok bool) {
	r := fieldReader{b: b}
	for r.next() {
		if r.typ == protowire.BytesType {
			switch r.num {
			case 1:
				q.Key = r.data
			case 2:
				q.End = r.data
			}
			continue
		}
		if r.typ != protowire.VarintType {
			continue
		}
		switch r.num {
		case 3:
			q.Limit = int64(r.v)
		case 4:
			q.Revision = int64(r.v)
		case 5:
			q.Order = SortOrder(r.v)
		case 6:
			q.Target = SortTarget(r.v)
		case 7:
			q.Serializable = r.v != 0
		case 8:
			q.KeysOnly = r.v != 0
		case 9:
			q.CountOnly = r.v != 0
		case 10:
			q.MinMod = int64(r.v)
		case 11:
			q.MaxMod = int64(r.v)
		case 12:
			q.MinCreate = int64(r.v)
		case 13:
			q.MaxCreate = int64(r.v)
		}
	}
	return q, !r.bad
}

// ParseDelete decodes a DeleteRangeRequest.
func ParseDelete(b []byte) (d DeleteRequest, ok bool) {
	r := fieldReader{b: b}
	for r.next() {
		switch {
		case r.num == 1 && r.typ == protowire.BytesType:
			d.Key = r.data
		case r.num == 2 && r.typ == protowire.BytesType:
			d.End = r.data
		case r.num == 3 && r.typ == protowire.VarintType:
			d.PrevKV = r.v != 0
		}
	}
	return d, !r.bad
}

// ParseTxn decodes a TxnRequest.
func ParseTxn(b []byte) (*TxnRequest, bool) { return parseTxn(b, maxTxnDepth) }

func parseTxn(b []byte, depth int) (*TxnRequest, bool) {
	if depth == 0 {
		return nil, false
	}
	t := &TxnRequest{}
	n := countTxn(b)
	if n.compares > 0 {
		t.Compare = make([]Compare, 0, n.compares)
	}
	if n.success > 0 {
		t.Success = make([]Op, 0, n.success)
	}
	if n.failure > 0 {
		t.Failure = make([]Op, 0, n.failure)
	}
	puts := make([]PutRequest, n.puts)
	r := fieldReader{b: b}
	for r.next() {
		if r.typ != protowire.BytesType {
			continue
		}
		switch r.num {
		case 1:
			c, ok := parseCompare(r.data)
			if !ok {
				return nil, false
			}
			t.Compare = append(t.Compare, c)
		case 2, 3:
			op, ok := parseOp(r.data, &puts, depth-1)
			if !ok {
				return nil, false
			}
			if r.num == 2 {
				t.Success = append(t.Success, op)
			} else {
				t.Failure = append(t.Failure, op)
			}
		}
	}
	return t, !r.bad
}

func parseCompare(b []byte) (c Compare, ok bool) {
	var member protowire.Number
	var number int64
	var value []byte
	r := fieldReader{b: b}
	for r.next() {
		if r.typ == protowire.BytesType {
			switch r.num {
			case 3:
				c.Key = r.data
			case 7:
				member, value = 7, r.data
			case 64:
				c.End = r.data
			}
			continue
		}
		if r.typ != protowire.VarintType {
			continue
		}
		switch r.num {
		case 1:
			c.Result = CompareResult(r.v)
		case 2:
			c.Target = CompareTarget(r.v)
		case 4, 5, 6, 8:
			member, number = r.num, int64(r.v)
		}
	}
	// The operand counts only if it was given in the member that belongs to the target.
	switch {
	case c.Target == CompareVersion && member == 4, c.Target == CompareCreate && member == 5,
		c.Target == CompareMod && member == 6, c.Target == CompareLease && member == 8:
		c.Number = number
	case c.Target == CompareValue && member == 7:
		c.Value = value
	}
	return c, !r.bad
}

// txnCounts are how many elements a txn has, the nested ones' aside: room for them is made at once.
type txnCounts struct{ compares, success, failure, puts int }

func countTxn(b []byte) (n txnCounts) {
	r := fieldReader{b: b}
	for r.next() {
		if r.typ != protowire.BytesType {
			continue
		}
		switch r.num {
		case 1:
			n.compares++
			continue
		case 2:
			n.success++
		case 3:
			n.failure++
		}
		if len(r.data) > 0 && r.data[0] == 2<<3|byte(protowire.BytesType) {
			n.puts++
		}
	}
	return n
}

// parseOp decodes an operation. A put takes its place from puts as long as there is one.
func parseOp(b []byte, puts *[]PutRequest, depth int) (op Op, ok bool) {
	r := fieldReader{b: b}
	for r.next() {
		if r.typ != protowire.BytesType {
			continue
		}
		ok := true
		switch r.num {
		case 1:
			var q RangeRequest
			q, ok = ParseRangeRequest(r.data)
			op = Op{Range: &q}
		case 2:
			if len(*puts) == 0 {
				*puts = make([]PutRequest, 1)
			}
			p := &(*puts)[0]
			*puts = (*puts)[1:]
			*p, ok = ParsePut(r.data)
			op = Op{Put: p}
		case 3:
			var d DeleteRequest
			d, ok = ParseDelete(r.data)
			op = Op{Delete: &d}
		case 4:
			var t *TxnRequest
			t, ok = parseTxn(r.data, depth)
			op = Op{Txn: t}
		}
		if !ok {
			return op, false
		}
	}
	return op, !r.bad
}

// EachPut calls f for the puts of the txn, in both branches and however deep.
func (t *TxnRequest) EachPut(f func(*PutRequest)) {
	t.any(func(op *Op) bool {
		if op.Put != nil {
			f(op.Put)
		}
		return false
	})
}

// Puts reports whether the txn holds a put, in either branch and however deep.
func (t *TxnRequest) Puts() bool { return t.any(func(op *Op) bool { return op.Put != nil }) }

// ReadsHistory reports whether any range of the txn asks for a revision.
func (t *TxnRequest) ReadsHistory() bool {
	return t.any(func(op *Op) bool { return op.Range != nil && op.Range.Revision > 0 })
}

// ReadOnly reports whether both branches hold plain ranges only. A nested txn counts as a write, whatever it does.
func (t *TxnRequest) ReadOnly() bool {
	for _, branch := range [][]Op{t.Success, t.Failure} {
		for i := range branch {
			if branch[i].Range == nil {
				return false
			}
		}
	}
	return true
}

// any reports whether f holds for any operation.
func (t *TxnRequest) any(f func(*Op) bool) bool {
	for _, branch := range [][]Op{t.Success, t.Failure} {
		for i := range branch {
			if f(&branch[i]) || (branch[i].Txn != nil && branch[i].Txn.any(f)) {
				return true
			}
		}
	}
	return false
}

// ParseLeaseID decodes a LeaseKeepAliveRequest.
func ParseLeaseID(b []byte) (id int64, ok bool) {
	r := fieldReader{b: b}
	for r.next() {
		if r.num == 1 && r.typ == protowire.VarintType {
			id = int64(r.v)
		}
	}
	return id, !r.bad
}
