package golden

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
)

// difference is one request that the servers answered differently.
type difference struct {
	index int // of the request in its run
	op    *op
	etcd  answer
	cairn answer
	note  string // for differences that are not of one answer, such as a watch
}

func (d difference) String() string {
	if d.note != "" {
		return fmt.Sprintf("#%d %s", d.index, d.note)
	}
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
		name:   "hash-of-compaction-0",
		reason: "After a compaction at revision 0 etcd takes HashKV's 0, the current revision, for that compaction. cairn answers for the current revision.",
		match: func(d *difference) bool {
			q, ok := d.op.req.(*pb.HashKVRequest)
			a, _ := d.etcd.msg.(*pb.HashKVResponse)
			return ok && q.Revision == 0 && a != nil && a.HashRevision == 0
		},
	},
}
