package golden

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// ttlSlack is by how many seconds the remaining time of a lease may differ: the two servers granted it at two moments.
const ttlSlack = 2

// same says whether two answers are equal in everything that the protocol promises, and that forget leaves in them.
func same(o *op, a, b answer, forget func(req, resp proto.Message)) bool {
	if (a.err != nil) != (b.err != nil) {
		return false
	}
	if a.err != nil {
		return a.err.Code() == b.err.Code() && a.err.Message() == b.err.Message()
	}
	a.msg, b.msg = proto.Clone(a.msg), proto.Clone(b.msg)
	for _, m := range []proto.Message{a.msg, b.msg} {
		normalise(o.req, m)
		if forget != nil {
			forget(o.req, m)
		}
	}
	if x, ok := a.msg.(*pb.LeaseTimeToLiveResponse); ok {
		y := b.msg.(*pb.LeaseTimeToLiveResponse)
		if d := x.TTL - y.TTL; x.GrantedTTL > 0 && -ttlSlack <= d && d <= ttlSlack {
			y.TTL = x.TTL
		}
	}
	return proto.Equal(a.msg, b.msg)
}

// normalise removes from an answer what no server promises.
func normalise(req, resp proto.Message) {
	if h, ok := resp.(interface{ GetHeader() *pb.ResponseHeader }); ok && h.GetHeader() != nil {
		h.GetHeader().RaftTerm = 0
	}
	switch r := resp.(type) {
	case *pb.RangeResponse:
		if q, ok := req.(*pb.RangeRequest); ok {
			ties(q, r)
		}
	case *pb.TxnResponse:
		if q, ok := req.(*pb.TxnRequest); ok {
			txnTies(q, r)
		}
	case *pb.LeaseTimeToLiveResponse:
		slices.SortFunc(r.Keys, bytes.Compare)
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(r.Leases, func(x, y *pb.LeaseStatus) int { return cmp.Compare(x.ID, y.ID) })
	case *pb.AlarmResponse:
		slices.SortFunc(r.Alarms, func(x, y *pb.AlarmMember) int {
			return cmp.Or(cmp.Compare(x.MemberID, y.MemberID), cmp.Compare(x.Alarm, y.Alarm))
		})
	case *pb.LeaseGrantResponse:
		if q, ok := req.(*pb.LeaseGrantRequest); ok && q.ID == 0 && r.ID > 0 {
			r.ID = 0 // each server names such a lease itself
		}
	case *pb.StatusResponse:
		r.DbSize, r.DbSizeInUse, r.RaftIndex, r.RaftTerm, r.RaftAppliedIndex = 0, 0, 0, 0, 0
		for i, e := range r.Errors {
			r.Errors[i] = strings.Join(strings.Fields(e), " ") // protobuf's text has one space or two, as it was built
		}
	}
}

func txnTies(q *pb.TxnRequest, r *pb.TxnResponse) {
	ops := q.Success
	if !r.Succeeded {
		ops = q.Failure
	}
	if len(ops) != len(r.Responses) {
		return
	}
	for i, o := range ops {
		if n, ok := o.Request.(*pb.RequestOp_RequestTxn); ok && r.Responses[i].GetResponseTxn() != nil {
			txnTies(n.RequestTxn, r.Responses[i].GetResponseTxn())
		}
		if n, ok := o.Request.(*pb.RequestOp_RequestRange); ok && r.Responses[i].GetResponseRange() != nil {
			ties(n.RequestRange, r.Responses[i].GetResponseRange())
		}
	}
}

// ties puts keys of equal sort value into the order of the keys. Where a limit cuts through such a group, which of its keys
// are in the answer is not promised either: their place is kept, their content is not.
func ties(q *pb.RangeRequest, r *pb.RangeResponse) {
	if q.SortTarget == pb.RangeRequest_KEY || len(r.Kvs) < 2 && !r.More {
		return
	}
	equal := func(x, y *mvccpb.KeyValue) bool {
		switch q.SortTarget {
		case pb.RangeRequest_VERSION:
			return x.Version == y.Version
		case pb.RangeRequest_CREATE:
			return x.CreateRevision == y.CreateRevision
		case pb.RangeRequest_MOD:
			return x.ModRevision == y.ModRevision
		case pb.RangeRequest_VALUE:
			return q.KeysOnly || bytes.Equal(x.Value, y.Value)
		}
		return false
	}
	for i := 0; i < len(r.Kvs); {
		j := i + 1
		for j < len(r.Kvs) && equal(r.Kvs[i], r.Kvs[j]) {
			j++
		}
		group := r.Kvs[i:j]
		slices.SortFunc(group, func(x, y *mvccpb.KeyValue) int { return bytes.Compare(x.Key, y.Key) })
		if j == len(r.Kvs) && r.More {
			for k := range group {
				group[k] = &mvccpb.KeyValue{}
			}
		}
		i = j
	}
}
