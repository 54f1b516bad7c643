package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

func TestRecordIsTheProtobufEncoding(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		f := Fields{Key: string(make([]byte, 1+rng.IntN(300))), Value: string(make([]byte, rng.IntN(300))),
			CreateRevision: 1 + rng.Int64N(1<<rng.IntN(60)), ModRevision: 1 + rng.Int64N(1<<rng.IntN(60)), Version: 1 + rng.Int64N(5)}
		if rng.IntN(2) == 0 {
			f.LeaseID = rng.Int64() - rng.Int64()
		}
		kv := MakeKV(f)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&mvccpb.KeyValue{Key: []byte(f.Key), Value: []byte(f.Value),
			CreateRevision: f.CreateRevision, ModRevision: f.ModRevision, Version: f.Version, Lease: f.LeaseID})
		require.NoError(t, err)
		require.Equal(t, string(want), string(kv))
		require.Equal(t, f, kv.Fields())
		require.Equal(t, f.Key, kv.Key())
		require.Equal(t, f.ModRevision, kv.ModRevision())
		require.Equal(t, f.LeaseID, kv.LeaseID())
		require.False(t, kv.IsTombstone())
		stripped := kv.AppendStripped(nil)
		require.Len(t, stripped, kv.StrippedSize())
		f.Value, f.LeaseID = "", 0
		require.Equal(t, MakeKV(f), KV(stripped))
		require.True(t, Tombstone(f.Key).IsTombstone())
	}
}

func TestRevKey(t *testing.T) {
	for _, tomb := range []bool{false, true} {
		b := AppendRevKey(nil, Rev{2, 0}, tomb)
		want := "\x00\x00\x00\x00\x00\x00\x00\x02_\x00\x00\x00\x00\x00\x00\x00\x00"
		if tomb {
			want += "t"
		}
		require.Equal(t, want, string(b))
		r, isTomb, err := ParseRevKey(b)
		require.NoError(t, err)
		require.Equal(t, Rev{2, 0}, r)
		require.Equal(t, tomb, isTomb)
	}
	for _, bad := range []string{"", "x", "\x00\x00\x00\x00\x00\x00\x00\x02-\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x02_\x00\x00\x00\x00\x00\x00\x00\x00x"} {
		_, _, err := ParseRevKey([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}

func TestParseRange(t *testing.T) {
	for _, c := range []struct {
		key, end string
		holds    []string
		not      []string
		empty    bool
	}{
		{"k", "", []string{"k"}, []string{"", "j", "k\x00", "l"}, false},
		{"k", "m", []string{"k", "l", "lzzz"}, []string{"j", "m"}, false},
		{"k", "\x00", []string{"k", "z", "\xff\xff"}, []string{"j"}, false},
		{"\x00", "\x00", []string{"\x00", "a", "\xff"}, nil, false},
		{"k", "k", nil, []string{"k"}, true},
		{"k", "a", nil, []string{"k", "b"}, true},
	} {
		r := ParseRange([]byte(c.key), []byte(c.end))
		require.Equal(t, c.empty, r.Empty(), "%q %q", c.key, c.end)
		for _, k := range c.holds {
			require.True(t, r.Contains(k))
		}
		for _, k := range c.not {
			require.False(t, r.Contains(k))
		}
		key, single := r.Single()
		require.Equal(t, c.end == "", single)
		if single {
			require.Equal(t, c.key, key)
		}
	}
}

func TestCommandIsAnInternalRaftRequest(t *testing.T) {
	put := &pb.PutRequest{Key: []byte("a"), Value: []byte("b")}
	body, err := proto.Marshal(put)
	require.NoError(t, err)
	c := Command{ID: 7, User: "u", AuthRevision: 9, Kind: KindPut, Body: body}
	b := AppendCommand(nil, &c)
	require.Len(t, b, CommandSize(&c))
	want := &pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 7, Username: "u", AuthRevision: 9}, Put: put}
	got := &pb.InternalRaftRequest{}
	require.NoError(t, proto.Unmarshal(b, got))
	require.True(t, proto.Equal(want, got))
	canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
	require.NoError(t, err)
	back, err := ParseCommand(canonical)
	require.NoError(t, err)
	require.Equal(t, c, back)
	// Two bodies cannot be one command.
	_, err = ParseCommand(append(bytes.Clone(b), AppendCommand(nil, &c)...))
	require.Error(t, err)
}

// TestCatalogue compares the errors with the public list that clients match against.
func TestCatalogue(t *testing.T) {
	for _, c := range []struct {
		ours   *Error
		theirs error
	}{
		{ErrEmptyKey, rpctypes.ErrGRPCEmptyKey}, {ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound}, {ErrValueProvided, rpctypes.ErrGRPCValueProvided},
		{ErrLeaseProvided, rpctypes.ErrGRPCLeaseProvided}, {ErrTooManyOps, rpctypes.ErrGRPCTooManyOps}, {ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
		{ErrInvalidSortOption, rpctypes.ErrGRPCInvalidSortOption}, {ErrCompacted, rpctypes.ErrGRPCCompacted}, {ErrFutureRev, rpctypes.ErrGRPCFutureRev},
		{ErrNoSpace, rpctypes.ErrGRPCNoSpace}, {ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound}, {ErrLeaseExist, rpctypes.ErrGRPCLeaseExist},
		{ErrLeaseTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge}, {ErrRequestTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{ErrNoLeader, rpctypes.ErrGRPCNoLeader}, {ErrNotLeader, rpctypes.ErrGRPCNotLeader}, {ErrLeaderChanged, rpctypes.ErrGRPCLeaderChanged},
		{ErrStopped, rpctypes.ErrGRPCStopped}, {ErrTimeout, rpctypes.ErrGRPCTimeout}, {ErrCorrupt, rpctypes.ErrGRPCCorrupt},
		{ErrNotSupportedForLearner, rpctypes.ErrGRPCNotSupportedForLearner}, {ErrBadLeaderTransferee, rpctypes.ErrGRPCBadLeaderTransferee},
		{ErrMemberNotFound, rpctypes.ErrGRPCMemberNotFound}, {ErrAuthNotEnabled, rpctypes.ErrGRPCAuthNotEnabled}, {ErrWatchCanceled, rpctypes.ErrGRPCWatchCanceled},
	} {
		require.Equal(t, status.Convert(c.theirs).Code(), c.ours.Code(), c.ours.Error())
		require.Equal(t, status.Convert(c.theirs).Message(), c.ours.Error())
		require.Equal(t, c.ours.Code(), status.Code(c.ours))
	}
}

func FuzzRequests(f *testing.F) {
	seed, _ := proto.Marshal(&pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}, RangeEnd: []byte("z")}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Lease: -1, PrevKv: true}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}}},
	})
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		// Our decoders accept what protobuf accepts and see the same in it. (Groups inside unknown fields and a oneof
		// that is given twice are merged by protobuf; such bodies are only checked not to crash.)
		var put pb.PutRequest
		err := proto.Unmarshal(b, &put)
		p, ok := ParsePut(b)
		if err == nil {
			require.True(t, ok)
			require.True(t, bytes.Equal(put.Key, p.Key) && bytes.Equal(put.Value, p.Value))
			require.Equal(t, put.Lease, p.Lease)
			require.Equal(t, [3]bool{put.PrevKv, put.IgnoreValue, put.IgnoreLease}, [3]bool{p.PrevKV, p.IgnoreValue, p.IgnoreLease})
		}
		var rng pb.RangeRequest
		err = proto.Unmarshal(b, &rng)
		q, ok := ParseRangeRequest(b)
		if err == nil {
			require.True(t, ok)
			require.True(t, bytes.Equal(rng.Key, q.Key) && bytes.Equal(rng.RangeEnd, q.End))
			require.Equal(t, [6]int64{rng.Limit, rng.Revision, rng.MinModRevision, rng.MaxModRevision, rng.MinCreateRevision, rng.MaxCreateRevision},
				[6]int64{q.Limit, q.Revision, q.MinMod, q.MaxMod, q.MinCreate, q.MaxCreate})
			require.Equal(t, [2]int32{int32(rng.SortOrder), int32(rng.SortTarget)}, [2]int32{int32(q.Order), int32(q.Target)})
		}
		if t, ok := ParseTxn(b); ok {
			t.Puts()
			t.ReadOnly()
			t.ReadsHistory()
		}
		_, _ = ParseDelete(b)
		_, _ = ParseLeaseID(b)
		_, _ = ParseCommand(b)
		if kv, err := ParseKV(b); err == nil {
			_, _, _ = kv.Fields(), kv.LeaseID(), kv.ModRevision()
			_ = kv.IsTombstone()
		}
	})
}
