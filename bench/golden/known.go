package golden

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// difference is one request that the servers answered differently.
type difference struct {
	index   int // of the request in its run
	op      *op
	etcd    answer
	cairn   answer
	crashed bool // the servers were restarted before
}

func (d difference) String() string {
	return fmt.Sprintf("#%d %s\n    etcd:  %s\n    cairn: %s", d.index, d.op, d.etcd, d.cairn)
}

// known is a difference that is meant: docs/compatibility.md lists the same reasons.
type known struct {
	name   string
	reason string
	match  func(d *difference) bool
}

// knownDifferences are those to the etcd version that cairn follows.
var knownDifferences = []known{
	{
		name:   "unmarshal-text",
		reason: "A body that is no message is refused with the same code; the words are those of the gRPC library.",
		match: func(d *difference) bool {
			a, b := d.etcd.err, d.cairn.err
			return a != nil && b != nil && a.Code() == codes.Internal && b.Code() == codes.Internal &&
				strings.Contains(a.Message(), "unmarshal") && strings.Contains(b.Message(), "unmarshal")
		},
	},
	{
		name:   "lease-time-after-restart",
		reason: "After a restart a lease goes on where it was, where etcd gives it its whole time again.",
		match: func(d *difference) bool {
			a, _ := d.etcd.msg.(*pb.LeaseTimeToLiveResponse)
			b, _ := d.cairn.msg.(*pb.LeaseTimeToLiveResponse)
			return d.crashed && a != nil && b != nil && a.ID == b.ID && a.GrantedTTL == b.GrantedTTL && b.TTL > 0 && b.TTL <= a.TTL
		},
	},
	{
		name:   "hash-of-compaction-0",
		reason: "After a compaction at revision 0 etcd takes HashKV's 0, the current revision, for that compaction. cairn answers for the current revision.",
		match: func(d *difference) bool {
			q, ok := d.op.req.(*pb.HashKVRequest)
			a, _ := d.etcd.msg.(*pb.HashKVResponse)
			return ok && q.Revision == 0 && a != nil && a.HashRevision == 0
		},
	},
	{
		name:   "compaction-hash-after-crash",
		reason: "The hash that a compaction leaves behind is held in memory. After a crash each server has it again if it had to do the compaction again.",
		match: func(d *difference) bool {
			q, ok := d.op.req.(*pb.HashKVRequest)
			a, _ := d.etcd.msg.(*pb.HashKVResponse)
			b, _ := d.cairn.msg.(*pb.HashKVResponse)
			return d.crashed && ok && a != nil && b != nil && a.HashRevision == q.Revision && b.HashRevision == q.Revision &&
				(a.CompactRevision == q.Revision) != (b.CompactRevision == q.Revision)
		},
	},
}
