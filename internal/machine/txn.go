package machine

import (
	"cmp"

	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

// A txn goes in three steps, so that it has its whole effect or none: which branches run is decided on the state before
// (nested ones included), then every operation on that path is checked against the same state, and only then are they
// executed, each seeing the ones before it (v3-grpc.md sections 11.4 to 11.6).

// path is which branch of a txn runs, and of the nested txns on it, in order.
type path struct {
	succeeded bool
	nested    []path
}

func (p *path) branch(t *wire.TxnRequest) []wire.Op {
	if p.succeeded {
		return t.Success
	}
	return t.Failure
}

func choose(v mvcc.View, t *wire.TxnRequest) path {
	p := path{succeeded: true}
	for i := range t.Compare {
		if !holds(v, &t.Compare[i]) {
			p.succeeded = false
			break
		}
	}
	for _, op := range p.branch(t) {
		if op.Txn != nil {
			p.nested = append(p.nested, choose(v, op.Txn))
		}
	}
	return p
}

// holds evaluates one compare over all keys of its range; an empty range compares like a missing key.
func holds(v mvcc.View, c *wire.Compare) bool {
	r := wire.ParseRange(c.Key, c.End)
	if key, ok := r.Single(); ok {
		return holdsFor(v.Get(key), c)
	}
	found, all := false, true
	if !r.Empty() {
		v.Each(r, func(kv wire.KV) bool {
			found = true
			all = holdsFor(kv, c)
			return all
		})
	}
	if !found {
		return holdsFor("", c)
	}
	return all
}

func holdsFor(kv wire.KV, c *wire.Compare) bool {
	f := kv.Fields()
	var have int64
	result := 0
	switch c.Target {
	case wire.CompareValue:
		if kv == "" {
			return false // not even "not equal" to a value that is not there
		}
		result = cmp.Compare(f.Value, wire.BytesString(c.Value))
	case wire.CompareVersion:
		have = f.Version
	case wire.CompareCreate:
		have = f.CreateRevision
	case wire.CompareMod:
		have = f.ModRevision
	case wire.CompareLease:
		have = f.LeaseID
	}
	if c.Target >= wire.CompareVersion && c.Target <= wire.CompareLease && c.Target != wire.CompareValue {
		result = cmp.Compare(have, c.Number)
	}
	switch c.Result {
	case wire.Equal:
		return result == 0
	case wire.NotEqual:
		return result != 0
	case wire.Greater:
		return result > 0
	case wire.Less:
		return result < 0
	}
	return true
}

// txn runs a txn that may write.
func (m *Machine) txn(t *wire.TxnRequest) (*TxnResult, error) {
	before := m.kv.Peek()
	p := choose(before, t)
	if err := checkPath(before, t, &p, m); err != nil {
		return nil, err
	}
	if err := roomForTxn(before, m.limits.View(), t, &p); err != nil {
		return nil, err
	}
	return m.execute(t, &p)
}

// ReadTxn runs a txn of plain ranges on a view.
func ReadTxn(v mvcc.View, t *wire.TxnRequest) (*TxnResult, error) {
	p := choose(v, t)
	if err := checkPath(v, t, &p, nil); err != nil {
		return nil, err
	}
	res := &TxnResult{Succeeded: p.succeeded}
	for _, op := range p.branch(t) {
		if op.Range == nil {
			return nil, wire.ErrKeyNotFound
		}
		r, err := v.Range(op.Range)
		if err != nil {
			return nil, err
		}
		res.Ops = append(res.Ops, OpResult{Rev: r.Rev, Range: &r})
	}
	return res, nil
}

// checkPath checks the operations that a txn will do; m is nil where none of them writes.
func checkPath(v mvcc.View, t *wire.TxnRequest, p *path, m *Machine) error {
	nested := p.nested
	for _, op := range p.branch(t) {
		switch {
		case op.Put != nil && m != nil:
			if len(op.Put.Key) == 0 {
				return wire.ErrEmptyKey
			}
			if err := m.checkPut(op.Put); err != nil {
				return err
			}
		case op.Delete != nil && m != nil:
			if err := m.mayDelete(op.Delete); err != nil {
				return err
			}
		case op.Range != nil:
			if rev := op.Range.Revision; rev > v.Rev() {
				return wire.ErrFutureRev
			} else if rev != 0 && rev < v.CompactRev() {
				return wire.ErrCompacted
			}
		case op.Txn != nil:
			if err := checkPath(v, op.Txn, &nested[0], m); err != nil {
				return err
			}
			nested = nested[1:]
		}
	}
	return nil
}

func (m *Machine) execute(t *wire.TxnRequest, p *path) (*TxnResult, error) {
	ops := p.branch(t)
	res := &TxnResult{Succeeded: p.succeeded, Ops: make([]OpResult, 0, len(ops))}
	nested := p.nested
	for _, op := range ops {
		var r OpResult
		switch {
		case op.Range != nil:
			out, err := m.kv.Peek().Range(op.Range)
			if err != nil {
				// The path was checked: only a reader of history can get here, and only when storage fails it.
				return nil, err
			}
			r.Range, r.Rev = &out, out.Rev
		case op.Put != nil:
			prev := m.put(op.Put)
			r.Put = true
			if op.Put.PrevKV {
				r.Prev = prev
			}
			r.Rev = m.kv.Peek().Rev()
		case op.Delete != nil:
			r.Delete = true
			r.Deleted, r.PrevKVs = m.deleteRange(op.Delete)
			r.Rev = m.kv.Peek().Rev()
		case op.Txn != nil:
			var err error
			if r.Txn, err = m.execute(op.Txn, &nested[0]); err != nil {
				return nil, err
			}
			nested = nested[1:]
		}
		res.Ops = append(res.Ops, r)
	}
	return res, nil
}
