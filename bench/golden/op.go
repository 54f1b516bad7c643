package golden

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// The methods that are compared.
const (
	kvRange     = "/etcdserverpb.KV/Range"
	rangeStream = "/etcdserverpb.KV/RangeStream"
	put         = "/etcdserverpb.KV/Put"
	deleteRange = "/etcdserverpb.KV/DeleteRange"
	txn         = "/etcdserverpb.KV/Txn"
	compact     = "/etcdserverpb.KV/Compact"
	leaseGrant  = "/etcdserverpb.Lease/LeaseGrant"
	leaseRevoke = "/etcdserverpb.Lease/LeaseRevoke"
	timeToLive  = "/etcdserverpb.Lease/LeaseTimeToLive"
	leaseLeases = "/etcdserverpb.Lease/LeaseLeases"
	keepAlive   = "/etcdserverpb.Lease/LeaseKeepAlive"
	alarm       = "/etcdserverpb.Maintenance/Alarm"
	statusOf    = "/etcdserverpb.Maintenance/Status"
	hashKV      = "/etcdserverpb.Maintenance/HashKV"
	defragment  = "/etcdserverpb.Maintenance/Defragment"
	moveLeader  = "/etcdserverpb.Maintenance/MoveLeader"
	memberList  = "/etcdserverpb.Cluster/MemberList"
)

func responseOf(method string) proto.Message {
	switch method {
	case kvRange, rangeStream:
		return &pb.RangeResponse{}
	case put:
		return &pb.PutResponse{}
	case deleteRange:
		return &pb.DeleteRangeResponse{}
	case txn:
		return &pb.TxnResponse{}
	case compact:
		return &pb.CompactionResponse{}
	case leaseGrant:
		return &pb.LeaseGrantResponse{}
	case leaseRevoke:
		return &pb.LeaseRevokeResponse{}
	case timeToLive:
		return &pb.LeaseTimeToLiveResponse{}
	case leaseLeases:
		return &pb.LeaseLeasesResponse{}
	case keepAlive:
		return &pb.LeaseKeepAliveResponse{}
	case alarm:
		return &pb.AlarmResponse{}
	case statusOf:
		return &pb.StatusResponse{}
	case hashKV:
		return &pb.HashKVResponse{}
	case defragment:
		return &pb.DefragmentResponse{}
	case moveLeader:
		return &pb.MoveLeaderResponse{}
	case memberList:
		return &pb.MemberListResponse{}
	}
	return &pb.RangeResponse{} // of a method that no server has
}

// op is one request for both servers.
type op struct {
	method string
	req    proto.Message
	raw    []byte        // sent in place of req: a body that may be no message
	reqB   proto.Message // what cairn gets, if it cannot be the same (a lease that the server named)
}

func (o *op) bodies() (a, b any) {
	if o.raw != nil {
		return o.raw, o.raw
	}
	if o.reqB != nil {
		return o.req, o.reqB
	}
	return o.req, o.req
}

func (o *op) String() string {
	if o.raw != nil {
		return fmt.Sprintf("%s body %x", o.method, o.raw)
	}
	return o.method + " " + text(o.req)
}

// text is a message on one line, cut where it is too long to read.
func text(m proto.Message) string {
	s := prototext.MarshalOptions{}.Format(m)
	if s == "" {
		s = "{}"
	}
	const most = 3000
	if len(s) > most {
		s = fmt.Sprintf("%s ... (%d characters)", s[:most], len(s))
	}
	return s
}
