package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/wire"
)

// The decoder takes what protobuf takes, and finds the same in it: a PutRequest has fields of both kinds.
func FuzzDecoder(f *testing.F) {
	whole, err := proto.Marshal(&pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: -1, PrevKv: true})
	require.NoError(f, err)
	f.Add(whole)
	f.Add(append(whole, whole...))
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{0x08, 1, 0x1a, 1, 'x'}) // each of the other's type
	f.Add([]byte{0x0b, 0x0c, 0x13})
	f.Fuzz(func(t *testing.T, b []byte) {
		var q pb.PutRequest
		want := proto.Unmarshal(b, &q)
		var key, value []byte
		var lease int64
		d := decoder{bytes: byteFields{1: &key, 2: &value}, ints: intFields{3: &lease}}
		got := d.decode(b)
		if got != (want == nil) {
			t.Fatalf("decoded: %t, protobuf says %v", got, want)
		}
		if got && (!bytes.Equal(key, q.Key) || !bytes.Equal(value, q.Value) || lease != q.Lease) {
			t.Fatalf("%q %q %d, protobuf has %v", key, value, lease, &q)
		}
	})
}

func TestLeaderFieldsMerge(t *testing.T) {
	sub := func(b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
	}
	k := leaderKey{name: []byte("n"), rev: 7}
	who, _, err := leaderField(append(sub(k.bytes()), sub((&leaderKey{key: []byte("k"), rev: 8}).bytes())...))
	require.NoError(t, err)
	require.Equal(t, leaderKey{name: []byte("n"), key: []byte("k"), rev: 8}, who)
	_, _, err = leaderField(sub([]byte{1}))
	require.Equal(t, wire.Malformed(), err)
	_, _, err = leaderField(nil)
	require.Equal(t, codes.Unknown, status.Code(err))
}

func TestOpaque(t *testing.T) {
	for _, c := range []struct {
		err  error
		code codes.Code
	}{
		{nil, codes.OK}, {wire.ErrLeaseNotFound, codes.Unknown}, {errSessionExpired, codes.Unknown}, {errors.New("x"), codes.Unknown},
		{context.Canceled, codes.Canceled}, {context.DeadlineExceeded, codes.DeadlineExceeded},
		{status.Error(codes.Unavailable, "transport is closing"), codes.Unavailable},
	} {
		got := opaque(c.err)
		require.Equal(t, c.code, status.Code(got), "%v", c.err)
		if c.err != nil {
			require.Contains(t, got.Error(), status.Convert(c.err).Message())
		}
	}
}
