package host

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/wire"
)

// company is a transport of a member with another one that may not know limits.
type company struct {
	nowhere
	silent, without bool
}

func (c *company) WithoutLimits() (cluster.ID, bool, bool) { return 7, c.silent, c.without }

// TestQuotasNeedMembersThatKnowThem: none is set while a member may not know it, and once one has come that does not, nothing is
// put that it might keep where the others would not.
func TestQuotasNeedMembersThatKnowThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		others := &company{}
		r := prepareRig(t, "a")
		r.connect = func(*Host) Transport { return others }
		r.start()
		r.awaitReady()
		defer func() { require.NoError(t, r.h.Stop()) }()
		rule := &limits.Rule{Target: limits.Target{Kind: limits.Prefix, Name: []byte("a/")}, MaxKeys: 5}
		set := func() error { return r.h.SetLimit(t.Context(), auth.Identity{}, rule) }
		propose := func(kind wire.Kind, q proto.Message) error {
			_, err := r.h.ProposeMessage(t.Context(), kind, q)
			return err
		}
		put := func(key string) error { return propose(wire.KindPut, &pb.PutRequest{Key: []byte(key)}) }
		nested := func(key string) error {
			op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
			inner := &pb.TxnRequest{Failure: []*pb.RequestOp{op}}
			return propose(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}}}})
		}
		others.without = true
		require.ErrorContains(t, set(), "member 7 is an etcd")
		others.silent = true
		require.ErrorContains(t, set(), "member 7 has not connected yet")
		require.NoError(t, put("a/1"), "there is no quota")
		others.without, others.silent = false, false
		require.NoError(t, set())
		require.NoError(t, put("a/2"))
		others.without, others.silent = true, true
		require.NoError(t, put("a/3"), "a member that is down does not stop the others")
		others.silent = false
		require.Equal(t, codes.FailedPrecondition, status.Code(put("a/4")))
		require.Equal(t, codes.FailedPrecondition, status.Code(nested("a/4")))
		require.NoError(t, nested("b"))
		require.NoError(t, put("b"))
		require.NoError(t, propose(wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("a/1")}))
		require.NoError(t, r.h.RemoveLimit(t.Context(), auth.Identity{}, &rule.Target))
		require.NoError(t, put("a/4"))
	})
}
