package golden

import (
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

func (g *generator) txnRequest(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range pick(g, 0, 0, 1, 1, 1, 2, 3) {
		r.Compare = append(r.Compare, g.compare())
	}
	r.Success, r.Failure = g.ops(depth), g.ops(depth)
	if g.one(60) { // about the limit of 128
		for range pick(g, 126, 127, 128, 129) {
			if o := (&pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: pick(g, keys...)}}}); g.one(2) {
				r.Success = append(r.Success, o)
			} else {
				r.Failure = append(r.Failure, o)
			}
		}
	}
	if g.one(200) {
		for range 128 + g.rnd.IntN(3) {
			r.Compare = append(r.Compare, &pb.Compare{Key: []byte("a"), Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: -1}})
		}
	}
	if g.one(60) {
		for i := range pick(g, 127, 128, 129) {
			r.Success = append(r.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte{'t', byte(i)}, Value: g.value()}}})
		}
	}
	return r
}

func (g *generator) ops(depth int) (out []*pb.RequestOp) {
	writes := map[string]bool{}
	for range pick(g, 0, 1, 1, 2, 2, 3, 4) {
		o := &pb.RequestOp{}
		switch n := g.rnd.IntN(24); {
		case n < 8:
			p := g.putRequest()
			// Mostly without duplicates, or nearly all would be refused.
			if writes[string(p.Key)] && !g.one(4) {
				continue
			}
			if len(p.Key) == 0 && !g.one(3) {
				continue
			}
			writes[string(p.Key)] = true
			o.Request = &pb.RequestOp_RequestPut{RequestPut: p}
		case n < 16:
			q := g.rangeRequest()
			if !g.one(4) {
				q.Revision = 0
			}
			o.Request = &pb.RequestOp_RequestRange{RequestRange: q}
		case n < 19:
			d := g.deleteRequest()
			if g.set.old && string(d.RangeEnd) == "\x00" {
				// 3.4 takes such a range for an empty one when it looks for overlaps, and ends itself when a put that is to
				// keep its lease then finds nothing.
				d.RangeEnd = []byte("\xff\xff\xff")
			}
			o.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}
		case n < 23 && depth > 0:
			o.Request = &pb.RequestOp_RequestTxn{RequestTxn: g.txnRequest(depth - 1)}
		default:
			if !g.one(6) { // an operation that is none
				continue
			}
		}
		out = append(out, o)
	}
	return out
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{Key: g.key(), Result: pb.Compare_CompareResult(g.rnd.IntN(4)), Target: pb.Compare_CompareTarget(g.rnd.IntN(5))}
	if len(c.Key) == 0 && !g.one(4) {
		c.Key = []byte("a")
	}
	if g.one(50) {
		c.Result = pick[pb.Compare_CompareResult](g, 4, -1, 77)
	}
	if g.one(50) {
		c.Target = pick[pb.Compare_CompareTarget](g, 5, -1, 77)
	}
	if g.one(4) {
		c.RangeEnd = g.end(c.Key)
	}
	target := c.Target
	if g.one(12) { // the operand of another target
		target = pb.Compare_CompareTarget(g.rnd.IntN(6))
	}
	number := pick(g, 0, 0, 1, 2, g.rev, g.rev-int64(g.rnd.IntN(30)), -1, math.MaxInt64)
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: number}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: number}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: number}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: pick(g, g.lease(), 0)}
	}
	return c
}

// malformed is a request whose body was damaged. Some are no message at all, some have become another one; both servers
// must agree which. Lease grants and alarms are left alone: a changed one could name its own ID, or end the real server.
func (g *generator) malformed() *op {
	var method string
	var m proto.Message
	switch g.rnd.IntN(6) {
	case 0:
		method, m = kvRange, g.rangeRequest()
	case 1:
		method, m = put, g.putRequest()
	case 2:
		method, m = deleteRange, &pb.DeleteRangeRequest{Key: pick(g, keys...), PrevKv: g.one(2)}
	case 3, 4:
		method, m = txn, g.txnRequest(2)
	case 5:
		method, m = leaseRevoke, &pb.LeaseRevokeRequest{ID: g.lease()}
	}
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // the generator makes messages that can be encoded
	}
	for range 1 + g.rnd.IntN(3) {
		if len(b) == 0 {
			b = []byte{byte(g.rnd.IntN(256))}
		}
		at := g.rnd.IntN(len(b))
		switch g.rnd.IntN(6) {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= 1 << g.rnd.IntN(8)
		case 2:
			b[at] = byte(g.rnd.IntN(256))
		case 3: // a field that nobody knows, of each wire type
			b = append(b, pick(g, []byte{0xf8, 0x07, 0x05}, []byte{0xfa, 0x07, 0x01, 'x'}, []byte{0xfd, 0x07, 1, 2, 3, 4},
				[]byte{0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{0xfb, 0x07, 0xfc, 0x07}, []byte{0xfb, 0x07}, []byte{0x00}, []byte{0x07})...)
		case 4: // a varint that is too long, a length that is too large, field numbers out of range
			b = append(b, pick(g, []byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
				[]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
				[]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, []byte{0xfa, 0xff, 0xff, 0xff, 0x7f, 0x00}, []byte{0x88, 0x80, 0x80, 0x00, 0x01})...)
		case 5: // a field that is there twice
			b = append(b, pick(g, []byte{0x0a, 0x01, 'a'}, []byte{0x08, 0x01}, []byte{0x12, 0x01, 'b'}, []byte{0x12, 0x00}, []byte{0x18, 0x01})...)
		}
	}
	o := &op{method: method, raw: b}
	if proto.Unmarshal(b, m) == nil {
		o.req = m // what it has become, to know where its answer is free
	}
	return o
}
