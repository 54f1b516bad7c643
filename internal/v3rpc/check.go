package v3rpc

import "github.com/cairn-kv/cairn/internal/wire"

// Checks of a request's shape, before anything is replicated.

func checkRange(q *wire.RangeRequest) error {
	if len(q.Key) == 0 {
		return wire.ErrEmptyKey
	}
	if q.Order < wire.SortNone || q.Order > wire.SortDescend || q.Target < wire.SortByKey || q.Target > wire.SortByValue {
		return wire.ErrInvalidSortOption
	}
	return nil
}

func checkPut(p *wire.PutRequest) error {
	if len(p.Key) == 0 {
		return wire.ErrEmptyKey
	}
	if p.IgnoreValue && len(p.Value) != 0 {
		return wire.ErrValueProvided
	}
	if p.IgnoreLease && p.Lease != 0 {
		return wire.ErrLeaseProvided
	}
	return nil
}

// checkTxn checks a txn as a whole (v3-grpc.md sections 11.2 and 11.3). Nested txns share the outer one's budget.
func checkTxn(t *wire.TxnRequest, maxOps int) error {
	if err := checkOps(t, maxOps); err != nil {
		return err
	}
	for _, branch := range [][]wire.Op{t.Success, t.Failure} {
		if _, _, err := overlap(branch); err != nil {
			return err
		}
	}
	return nil
}

func checkOps(t *wire.TxnRequest, maxOps int) error {
	n := max(len(t.Compare), len(t.Success), len(t.Failure))
	if n > maxOps {
		return wire.ErrTooManyOps
	}
	for i := range t.Compare {
		if len(t.Compare[i].Key) == 0 {
			return wire.ErrEmptyKey
		}
	}
	for _, branch := range [][]wire.Op{t.Success, t.Failure} {
		for i := range branch {
			op := &branch[i]
			var err error
			switch {
			case op.Range != nil:
				err = checkRange(op.Range)
			case op.Put != nil:
				err = checkPut(op.Put)
			case op.Delete != nil:
				if len(op.Delete.Key) == 0 {
					err = wire.ErrEmptyKey
				}
			case op.Txn != nil:
				err = checkOps(op.Txn, maxOps-n)
			default:
				err = wire.ErrKeyNotFound
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// txnCost is what the more expensive branch adds to the database.
func txnCost(t *wire.TxnRequest) int {
	sum := func(ops []wire.Op) (n int) {
		for i := range ops {
			switch op := &ops[i]; {
			case op.Put != nil:
				n += putCost + len(op.Put.Key) + len(op.Put.Value)
			case op.Txn != nil:
				n += txnCost(op.Txn)
			}
		}
		return n
	}
	return max(sum(t.Success), sum(t.Failure))
}
