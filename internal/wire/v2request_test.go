package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestV2Request(t *testing.T) {
	for _, q := range []V2Request{
		{},
		{Method: V2Put, Path: "/1/a", Val: "v", Expiration: 946684800_000000001},
		{Method: V2Put, Path: "/1/a", PrevExist: new(false), PrevValue: "x", PrevIndex: 7, Refresh: true, Dir: true},
		{Method: V2Delete, Path: "/1/a", PrevExist: new(true), Recursive: true},
		{Method: V2Sync, Time: 5},
	} {
		got, err := ParseV2Request(q.Append(nil))
		require.NoError(t, err)
		require.Equal(t, q, got)
	}
	// As etcd writes it: method, path, value, and the zero fields of proto2.
	got, err := ParseV2Request([]byte("\x08\x00\x12\x03PUT\x1a\x04/1/a\x22\x01v\x28\x00\x32\x00\x38\x00\x48\x00\x50\x00\x58\x00\x60\x00\x68\x00\x70\x00\x78\x00\x80\x01\x00"))
	require.NoError(t, err)
	require.Equal(t, V2Request{Method: V2Put, Path: "/1/a", Val: "v"}, got)
	_, err = ParseV2Request([]byte{0x12, 0xff})
	require.Error(t, err)
}

func FuzzV2Request(f *testing.F) {
	f.Add((&V2Request{Method: V2Put, Path: "/1/a", Val: "v", PrevExist: new(true)}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseV2Request(b)
		if err != nil {
			return
		}
		again, err := ParseV2Request(q.Append(nil))
		if err != nil || again.Path != q.Path || again.Val != q.Val || again.Expiration != q.Expiration {
			t.Fatalf("%+v became %+v (%v)", q, again, err)
		}
	})
}
