package client

import (
	"context"
	"sync"
)

// Txn builds one transaction: If, Then and Else, each at most once and in that
// order, then Commit. Calling them in another order panics. It is not for
// concurrent use.
type Txn interface {
	// If adds the guards; without any, Then runs.
	If(cs ...Cmp) Txn
	// Then adds the operations for when all guards hold, Else for when not.
	Then(ops ...Op) Txn
	Else(ops ...Op) Txn
	Commit() (*TxnResponse, error)
}

type txn struct {
	kv  *kv
	ctx context.Context

	mu                sync.Mutex
	cif, cthen, celse bool
	cmps              []Cmp
	success, failure  []Op
}

func (k *kv) Txn(ctx context.Context) Txn { return &txn{kv: k, ctx: ctx} }

func (t *txn) If(cs ...Cmp) Txn {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.cif:
		panic("cannot call If twice!")
	case t.cthen:
		panic("cannot call If after Then!")
	case t.celse:
		panic("cannot call If after Else!")
	}
	t.cif, t.cmps = true, append(t.cmps, cs...)
	return t
}

func (t *txn) Then(ops ...Op) Txn {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.cthen:
		panic("cannot call Then twice!")
	case t.celse:
		panic("cannot call Then after Else!")
	}
	t.cthen, t.success = true, append(t.success, ops...)
	return t
}

func (t *txn) Else(ops ...Op) Txn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.celse {
		panic("cannot call Else twice!")
	}
	t.celse, t.failure = true, append(t.failure, ops...)
	return t
}

func (t *txn) Commit() (*TxnResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, err := t.kv.Do(t.ctx, OpTxn(t.cmps, t.success, t.failure))
	return r.txn, err
}
