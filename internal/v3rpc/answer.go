package v3rpc

import (
	"runtime"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

// appendHeader writes h as field 1, which it is in every response.
func appendHeader(b *wire.Builder, h wire.Header) { b.SetBuf(wire.AppendHeader(b.Buf(), 1, h)) }

const yieldEvery = 512 // records

const perRecord = 1 + 3 // tag and length of most records

// rangeFrame encodes a RangeResponse. A header without a member is left out, as a stream's chunks have none.
func rangeFrame(h wire.Header, res *mvcc.Result) *wire.Frame {
	left := 64
	for _, kv := range res.KVs {
		left += len(kv) + perRecord
	}
	b := wire.NewBuilder(left)
	if h != (wire.Header{}) {
		appendHeader(b, h)
	}
	appendRange(b, res, left)
	return b.Frame()
}

func appendRange(b *wire.Builder, res *mvcc.Result, left int) {
	for i, kv := range res.KVs {
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched() // so that a large answer does not keep small ones waiting
		}
		switch res.Strip {
		case mvcc.StripNothing:
			b.Record(2, kv, left)
		case mvcc.StripValueAndLease:
			appendStripped(b, kv, left)
		case mvcc.StripValue:
			f := kv.Fields()
			f.Value = ""
			b.Record(2, wire.MakeKV(f), left)
		}
		left -= len(kv) + perRecord
	}
	if res.More {
		b.Uint(3, 1)
	}
	b.Uint(4, uint64(res.Count))
}

func appendStripped(b *wire.Builder, kv wire.KV, left int) {
	n := kv.StrippedSize()
	b.Room(n+perRecord+2, min(left, n*16))
	buf := protowire.AppendTag(b.Buf(), 2, protowire.BytesType)
	buf = protowire.AppendVarint(buf, uint64(n))
	b.SetBuf(kv.AppendStripped(buf))
}

// wrapRange makes a RangeStreamResponse of a RangeResponse.
func wrapRange(f *wire.Frame) *wire.Frame {
	head := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.BytesType), uint64(f.Size))
	return prefixed(head, f)
}

// prefixed is f with a few bytes in front.
func prefixed(head []byte, f *wire.Frame) *wire.Frame {
	out := &wire.Frame{Bufs: append([][]byte{head}, f.Bufs...), Size: f.Size + len(head)}
	if f.Chunks != nil {
		out.Chunks = append([]*[]byte{nil}, f.Chunks...)
	}
	return out
}

func deleteFrame(h *wire.Header, deleted int64, prevs []wire.KV) *wire.Frame {
	left := 64
	for _, kv := range prevs {
		left += len(kv) + perRecord
	}
	b := wire.NewBuilder(left)
	appendHeader(b, *h)
	b.Uint(2, uint64(deleted))
	for _, kv := range prevs {
		b.Record(3, kv, left)
		left -= len(kv) + perRecord
	}
	return b.Frame()
}

// Field numbers of ResponseOp.
const (
	opRange  = 1
	opPut    = 2
	opDelete = 3
	opTxn    = 4
)

// txnFrame encodes a TxnResponse.
func txnFrame(h *wire.Header, t *machine.TxnResult) *wire.Frame {
	b := wire.NewBuilder(64 + 32*len(t.Ops))
	appendHeader(b, *h)
	if t.Succeeded {
		b.Uint(2, 1)
	}
	var plain []byte // the whole element of a put that shows nothing but the revision
	plainRev := int64(-1)
	for i := range t.Ops {
		if op := &t.Ops[i]; op.Put && op.Prev == "" {
			if op.Rev != plainRev {
				plain, plainRev = appendPlainPut(plain[:0], op.Rev), op.Rev
			}
			b.Room(len(plain), len(plain)*(len(t.Ops)-i))
			b.SetBuf(append(b.Buf(), plain...))
			continue
		}
		num, body := opFrame(&t.Ops[i])
		head := protowire.AppendVarint(protowire.AppendTag(nil, protowire.Number(num), protowire.BytesType), uint64(body.Size))
		b.Message(3, prefixed(head, body))
	}
	return b.Frame()
}

// appendPlainPut appends element 3 of a TxnResponse: a put's response with a header and no record.
func appendPlainPut(b []byte, rev int64) []byte {
	h := wire.Header{Revision: rev}
	response := wire.AppendHeader(nil, 1, h)
	op := protowire.AppendBytes(protowire.AppendTag(nil, opPut, protowire.BytesType), response)
	return protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), op)
}

// opFrame encodes one operation's response. Its header shows only a revision; a nested txn's shows nothing.
func opFrame(op *machine.OpResult) (field int, f *wire.Frame) {
	h := wire.Header{Revision: op.Rev}
	switch {
	case op.Range != nil:
		return opRange, rangeFrame(h, op.Range)
	case op.Delete:
		return opDelete, deleteFrame(&h, op.Deleted, op.PrevKVs)
	case op.Txn != nil:
		return opTxn, txnFrame(&wire.Header{}, op.Txn)
	}
	b := wire.NewBuilder(16 + len(op.Prev))
	appendHeader(b, h)
	if op.Prev != "" {
		b.Record(2, op.Prev, 0)
	}
	return opPut, b.Frame()
}
