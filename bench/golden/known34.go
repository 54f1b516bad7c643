package golden

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// forget34 removes from an answer the fields that version 3.4 does not have, or has where 3.7 has none.
func forget34(req, resp proto.Message) {
	switch r := resp.(type) {
	case *pb.HashKVResponse:
		r.HashRevision = 0
	case *pb.AlarmResponse:
		r.Header = nil
	case *pb.StatusResponse:
		r.Version, r.StorageVersion, r.DbSizeQuota, r.DowngradeInfo = "", "", 0, nil
	case *pb.RangeResponse:
		if q, ok := req.(*pb.RangeRequest); ok {
			keysOnly34(q, r)
		}
	case *pb.TxnResponse:
		if q, ok := req.(*pb.TxnRequest); ok {
			txnKeysOnly34(q, r)
		}
	}
}

// keysOnly34: since 3.7 an answer without values comes from the index, which knows no leases.
func keysOnly34(q *pb.RangeRequest, r *pb.RangeResponse) {
	if !q.KeysOnly {
		return
	}
	for _, kv := range r.Kvs {
		kv.Lease = 0
	}
}

func txnKeysOnly34(q *pb.TxnRequest, r *pb.TxnResponse) {
	ops := q.Success
	if !r.Succeeded {
		ops = q.Failure
	}
	if len(ops) != len(r.Responses) {
		return
	}
	for i, o := range ops {
		if n := r.Responses[i].GetResponseTxn(); n != nil && o.GetRequestTxn() != nil {
			txnKeysOnly34(o.GetRequestTxn(), n)
		}
		if n := r.Responses[i].GetResponseRange(); n != nil && o.GetRequestRange() != nil {
			keysOnly34(o.GetRequestRange(), n)
		}
	}
}

// differencesTo34 are those between version 3.4 and the one that cairn follows.
var differencesTo34 = append([]known{
	{
		name:   "hash-of-compacted",
		reason: "3.4 keeps no hashes of compactions, and its hash after a compaction depends on how far that is.",
		match: func(d *difference) bool {
			if d.op.method != hashKV {
				return false
			}
			b, _ := d.cairn.msg.(*pb.HashKVResponse)
			return b != nil && (d.etcd.err != nil && d.etcd.err.Code() == codes.OutOfRange || b.CompactRevision > 0)
		},
	},
	{
		name:   "txn-error-order",
		reason: "Where several operations of a txn cannot be done, 3.4 names another of them.",
		match: func(d *difference) bool {
			return d.op.method == txn && refused(d.etcd) && refused(d.cairn)
		},
	},
}, knownDifferences...)

// refused says whether the answer is one of the errors of a txn's operations.
func refused(a answer) bool {
	if a.err == nil {
		return false
	}
	switch a.err.Code() {
	case codes.NotFound, codes.InvalidArgument, codes.OutOfRange:
		return true
	}
	return false
}
