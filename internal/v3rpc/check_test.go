package v3rpc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairn-kv/cairn/internal/wire"
)

func doPut(k string) wire.Op { return wire.Op{Put: &wire.PutRequest{Key: []byte(k)}} }
func doDel(k, end string) wire.Op {
	return wire.Op{Delete: &wire.DeleteRequest{Key: []byte(k), End: []byte(end)}}
}
func doGet(k string) wire.Op { return wire.Op{Range: &wire.RangeRequest{Key: []byte(k)}} }
func doTxn(then, orElse []wire.Op) wire.Op {
	return wire.Op{Txn: &wire.TxnRequest{Success: then, Failure: orElse}}
}
func ops(o ...wire.Op) []wire.Op { return o }
func repeat(n int, op func(int) wire.Op) (out []wire.Op) {
	for i := range n {
		out = append(out, op(i))
	}
	return out
}

// TestCheckTxn holds the rules of v3-grpc.md sections 11.2 and 11.3.
func TestCheckTxn(t *testing.T) {
	key := func(i int) wire.Op { return doPut(fmt.Sprint(i)) }
	compares := func(n int) (c []wire.Compare) {
		for range n {
			c = append(c, wire.Compare{Key: []byte("k")})
		}
		return c
	}
	for name, c := range map[string]struct {
		txn  wire.TxnRequest
		want error
	}{
		"empty":                                   {wire.TxnRequest{}, nil},
		"put twice":                               {wire.TxnRequest{Success: ops(doPut("k"), doPut("k"))}, wire.ErrDuplicateKey},
		"put twice in failure":                    {wire.TxnRequest{Failure: ops(doPut("k"), doPut("k"))}, wire.ErrDuplicateKey},
		"put in both branches":                    {wire.TxnRequest{Success: ops(doPut("k")), Failure: ops(doPut("k"))}, nil},
		"put, then delete of it":                  {wire.TxnRequest{Success: ops(doPut("k"), doDel("k", ""))}, wire.ErrDuplicateKey},
		"delete, then put":                        {wire.TxnRequest{Success: ops(doDel("k", ""), doPut("k"))}, wire.ErrDuplicateKey},
		"put in a deleted range":                  {wire.TxnRequest{Success: ops(doPut("k"), doDel("a", "z"))}, wire.ErrDuplicateKey},
		"put at a range's first key":              {wire.TxnRequest{Success: ops(doDel("k", "z"), doPut("k"))}, wire.ErrDuplicateKey},
		"put at a range's end":                    {wire.TxnRequest{Success: ops(doDel("a", "k"), doPut("k"))}, nil},
		"put before a range":                      {wire.TxnRequest{Success: ops(doDel("b", "k"), doPut("a"))}, nil},
		"put in the second of two ranges":         {wire.TxnRequest{Success: ops(doDel("p", "z"), doDel("a", "c"), doPut("q"))}, wire.ErrDuplicateKey},
		"put between two ranges":                  {wire.TxnRequest{Success: ops(doDel("p", "z"), doDel("a", "c"), doPut("d"))}, nil},
		"put in a range within a range":           {wire.TxnRequest{Success: ops(doDel("a", "z"), doDel("b", "c"), doPut("y"))}, wire.ErrDuplicateKey},
		"a backward range holds nothing":          {wire.TxnRequest{Success: ops(doDel("z", "a"), doPut("k"))}, nil},
		"deletes overlap":                         {wire.TxnRequest{Success: ops(doDel("a", "m"), doDel("b", "z"), doDel("c", ""))}, nil},
		"gets overlap everything":                 {wire.TxnRequest{Success: ops(doGet("k"), doPut("k"), doGet("k"))}, nil},
		"an open delete does not see a put":       {wire.TxnRequest{Success: ops(doDel("a", "\x00"), doPut("k"))}, nil},
		"a child deletes, a later one puts":       {wire.TxnRequest{Success: ops(doTxn(ops(doDel("k", "")), nil), doTxn(ops(doPut("k")), nil))}, wire.ErrDuplicateKey},
		"a child deletes a range, a later puts":   {wire.TxnRequest{Success: ops(doTxn(nil, ops(doDel("a", "z"))), doTxn(nil, ops(doPut("k"))))}, wire.ErrDuplicateKey},
		"a child puts, a later one deletes":       {wire.TxnRequest{Success: ops(doTxn(ops(doPut("k")), nil), doTxn(ops(doDel("k", "")), nil))}, nil},
		"a child puts in both branches":           {wire.TxnRequest{Success: ops(doTxn(ops(doPut("k")), ops(doPut("k"))))}, nil},
		"a child puts what the parent puts":       {wire.TxnRequest{Success: ops(doPut("k"), doTxn(ops(doPut("k")), nil))}, wire.ErrDuplicateKey},
		"a child's else puts what the parent put": {wire.TxnRequest{Success: ops(doTxn(nil, ops(doPut("k"))), doPut("k"))}, wire.ErrDuplicateKey},
		"two children put the same":               {wire.TxnRequest{Success: ops(doTxn(ops(doPut("k")), nil), doTxn(nil, ops(doPut("k"))))}, wire.ErrDuplicateKey},
		"a child puts what the parent deletes":    {wire.TxnRequest{Success: ops(doTxn(ops(doPut("k")), nil), doDel("a", "z"))}, wire.ErrDuplicateKey},
		"a grandchild puts what the parent puts":  {wire.TxnRequest{Success: ops(doPut("k"), doTxn(ops(doTxn(nil, ops(doPut("k")))), nil))}, wire.ErrDuplicateKey},

		"128 operations":              {wire.TxnRequest{Success: repeat(128, key), Failure: repeat(128, key), Compare: compares(128)}, nil},
		"129 in success":              {wire.TxnRequest{Success: repeat(129, key)}, wire.ErrTooManyOps},
		"129 in failure":              {wire.TxnRequest{Failure: repeat(129, key)}, wire.ErrTooManyOps},
		"129 compares":                {wire.TxnRequest{Compare: compares(129)}, wire.ErrTooManyOps},
		"128 with the nested":         {wire.TxnRequest{Success: ops(doTxn(repeat(127, key), nil))}, nil},
		"129 with the nested":         {wire.TxnRequest{Success: ops(doTxn(repeat(128, key), nil))}, wire.ErrTooManyOps},
		"each child has a budget":     {wire.TxnRequest{Success: ops(doTxn(repeat(126, key), nil), doTxn(nil, nil))}, nil},
		"too many before empty key":   {wire.TxnRequest{Success: append(repeat(128, key), doPut(""))}, wire.ErrTooManyOps},
		"empty compare":               {wire.TxnRequest{Compare: []wire.Compare{{}}}, wire.ErrEmptyKey},
		"empty put":                   {wire.TxnRequest{Success: ops(doPut(""))}, wire.ErrEmptyKey},
		"empty get":                   {wire.TxnRequest{Failure: ops(doGet(""))}, wire.ErrEmptyKey},
		"empty delete":                {wire.TxnRequest{Success: ops(doDel("", ""))}, wire.ErrEmptyKey},
		"empty put in a nested one":   {wire.TxnRequest{Success: ops(doTxn(ops(doPut("")), nil))}, wire.ErrEmptyKey},
		"an operation that is none":   {wire.TxnRequest{Success: ops(wire.Op{})}, wire.ErrKeyNotFound},
		"a value that is to be left":  {wire.TxnRequest{Success: ops(wire.Op{Put: &wire.PutRequest{Key: []byte("k"), Value: []byte("v"), IgnoreValue: true}})}, wire.ErrValueProvided},
		"a lease that is to be left":  {wire.TxnRequest{Success: ops(wire.Op{Put: &wire.PutRequest{Key: []byte("k"), Lease: 1, IgnoreLease: true}})}, wire.ErrLeaseProvided},
		"an order that is none":       {wire.TxnRequest{Success: ops(wire.Op{Range: &wire.RangeRequest{Key: []byte("k"), Order: 3}})}, wire.ErrInvalidSortOption},
		"a sort target that is none":  {wire.TxnRequest{Success: ops(wire.Op{Range: &wire.RangeRequest{Key: []byte("k"), Target: -1}})}, wire.ErrInvalidSortOption},
		"sorting by value, downwards": {wire.TxnRequest{Success: ops(wire.Op{Range: &wire.RangeRequest{Key: []byte("k"), Order: wire.SortDescend, Target: wire.SortByValue}})}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := checkTxn(&c.txn, 128); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestHostileTxnIsCheckedQuickly checks the largest txns that fit into a request: 100,000 operations.
func TestHostileTxnIsCheckedQuickly(t *testing.T) {
	const n = 100_000
	spans := func(i int) wire.Op { return doDel(fmt.Sprintf("%06d", 2*i), fmt.Sprintf("%06d", 2*i+1)) }
	wide := &wire.TxnRequest{Success: append(repeat(n/2, spans), repeat(n/2, func(i int) wire.Op { return doPut(fmt.Sprintf("%06d", 2*i+1)) })...)}
	// Two children on each of many levels: 2 to the power of 16 leaves.
	var tree func(depth, at int) wire.Op
	tree = func(depth, at int) wire.Op {
		if depth == 0 {
			return doTxn(ops(spans(at)), ops(doPut(fmt.Sprintf("%06d", 2*at+1))))
		}
		return doTxn(ops(tree(depth-1, 2*at), tree(depth-1, 2*at+1)), nil)
	}
	deep := ops(doPut("x"))
	for i := range 100 {
		deep = append(repeat(n/200, func(j int) wire.Op { return spans(i*n/200 + j) }), doTxn(deep, nil))
	}
	for name, txn := range map[string]*wire.TxnRequest{"wide": wide, "tree": {Success: ops(tree(16, 0))}, "deep": {Success: deep}} {
		began := time.Now()
		if err := checkTxn(txn, 1<<30); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: checking took %v", name, took)
		}
	}
}

func TestTxnCostIsThatOfTheDearerBranch(t *testing.T) {
	put := func(n int) wire.Op {
		return wire.Op{Put: &wire.PutRequest{Key: []byte("k"), Value: []byte(strings.Repeat("v", n))}}
	}
	got := txnCost(&wire.TxnRequest{Success: ops(put(10), doGet("k")), Failure: ops(doTxn(ops(put(100)), ops(put(5))), put(1))})
	if want := 2*putCost + 1 + 100 + 1 + 1; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}
