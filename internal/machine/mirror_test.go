package machine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// TestMirror: the keys of the tree are in the keyspace too, wherever the mirror is, and only the tree changes them there.
func TestMirror(t *testing.T) {
	eng := mem.New()
	m, err := Open(Config{}, eng)
	require.NoError(t, err)
	index := uint64(0)
	do := func(kind wire.Kind, body []byte) *Effects {
		index++
		eff := &Effects{}
		data := wire.AppendCommand(nil, &wire.Command{ID: index, Kind: kind, Body: body})
		require.NoError(t, m.Apply([]*raftpb.Entry{{Index: new(index), Term: new(uint64(1)), Data: data}}, eff))
		return eff
	}
	v2 := func(q wire.V2Request) error { return do(wire.KindV2, q.Append(nil)).Results[0].Err }
	set := func(path, value string) {
		require.NoError(t, v2(wire.V2Request{Method: wire.V2Put, Path: "/1" + path, Val: value}))
	}
	mirror := func(prefix string) error {
		return v2(wire.V2Request{Method: wire.V2Put, Path: MirrorRecord, Val: prefix})
	}
	v3 := func(kind wire.Kind, q proto.Message) error {
		b, err := proto.Marshal(q)
		require.NoError(t, err)
		return do(kind, b).Results[0].Err
	}
	all := func() (out []string) {
		m.View().KV.Each(wire.Range{Lo: "\x00"}, func(kv wire.KV) bool {
			f := kv.Fields()
			out = append(out, fmt.Sprintf("%s=%s@%d", kv.Key(), f.Value, f.ModRevision))
			return true
		})
		return out
	}
	require.NoError(t, v3(wire.KindPut, &pb.PutRequest{Key: []byte("taken/x"), Value: []byte("v")})) // revision 2
	set("/a/k", "1")
	set("/a/_h", "2")
	require.Equal(t, codes.FailedPrecondition, status.Code(mirror("taken")))
	require.Equal(t, []string{"taken/x=v@2"}, all())
	require.NoError(t, mirror("m"))
	require.Equal(t, []string{"m/a/_h=2@3", "m/a/k=1@3", "taken/x=v@2"}, all())
	before := m.View().KV.Rev()
	require.NoError(t, mirror("m"))
	require.Equal(t, before, m.View().KV.Rev(), "nothing has changed")
	require.Equal(t, codes.FailedPrecondition, status.Code(mirror("m/a")))

	at := int64(tree.Permanent) + 5
	set("/b", "3") // 4
	require.NoError(t, v2(wire.V2Request{Method: wire.V2Put, Path: "/1/b", PrevExist: new(true), Refresh: true, Expiration: at}))
	require.NoError(t, v2(wire.V2Request{Method: wire.V2Put, Path: "/1/d", Dir: true, Expiration: at}))
	set("/d/x", "4")                                                                      // 5
	require.NoError(t, v2(wire.V2Request{Method: wire.V2Put, Path: "/1/a/k", Dir: true})) // 6: a directory takes its place
	require.Equal(t, []string{"m/a/_h=2@3", "m/b=3@4", "m/d/x=4@5", "taken/x=v@2"}, all())
	m, err = Open(Config{}, eng)
	require.NoError(t, err)
	require.Equal(t, "m", m.View().Mirror)
	eff := do(wire.KindV2, (&wire.V2Request{Method: wire.V2Sync, Time: at}).Append(nil))
	require.Len(t, eff.Changes, 2)
	require.Equal(t, []string{"m/a/_h=2@3", "taken/x=v@2"}, all())

	op := func(d *pb.DeleteRangeRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
	}
	for _, c := range []struct {
		kind wire.Kind
		q    proto.Message
		ok   bool
	}{
		{wire.KindPut, &pb.PutRequest{Key: []byte("m/new")}, false},
		{wire.KindPut, &pb.PutRequest{Key: []byte("m")}, true},
		{wire.KindPut, &pb.PutRequest{Key: []byte("m0")}, true},
		{wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("m/none")}, false},
		{wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("m/a")}, false},
		{wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("m/z"), RangeEnd: []byte{0}}, false},
		{wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, false},
		{wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("m/")}, true},
		{wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("m0"), RangeEnd: []byte{0}}, true}, // takes taken/x, too
		{wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{op(&pb.DeleteRangeRequest{Key: []byte("m/a/_h")})}}, false},
		{wire.KindTxn, &pb.TxnRequest{Failure: []*pb.RequestOp{op(&pb.DeleteRangeRequest{Key: []byte("m/a/_h")})}}, true},
	} {
		err := v3(c.kind, c.q)
		if c.ok {
			require.NoError(t, err, "%v", c.q)
		} else {
			require.Equal(t, codes.PermissionDenied, status.Code(err), "%v", c.q)
		}
	}
	require.NoError(t, mirror("/other"))
	require.Regexp(t, `^\[/other/a/_h=2@\d+\]$`, fmt.Sprint(all()))
	require.NoError(t, mirror(""))
	require.Empty(t, all())
}
