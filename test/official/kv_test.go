package official

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestKV(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)

	put, err := c.Put(ctx, "k1", "a")
	require.NoError(t, err)
	require.EqualValues(t, 2, put.Header.Revision)
	require.Nil(t, put.PrevKv)
	put, err = c.Put(ctx, "k1", "b", clientv3.WithPrevKV())
	require.NoError(t, err)
	require.Equal(t, "a", string(put.PrevKv.Value))
	for i := 2; i <= 5; i++ {
		_, err := c.Put(ctx, fmt.Sprintf("k%d", i), "x")
		require.NoError(t, err)
	}

	get, err := c.Get(ctx, "k1")
	require.NoError(t, err)
	require.Equal(t, "b", string(get.Kvs[0].Value))
	require.EqualValues(t, 2, get.Kvs[0].CreateRevision)
	require.EqualValues(t, 3, get.Kvs[0].ModRevision)
	require.EqualValues(t, 2, get.Kvs[0].Version)
	old, err := c.Get(ctx, "k1", clientv3.WithRev(2))
	require.NoError(t, err)
	require.Equal(t, "a", string(old.Kvs[0].Value))
	page, err := c.Get(ctx, "k", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithSerializable())
	require.NoError(t, err)
	require.True(t, page.More)
	require.EqualValues(t, 5, page.Count)
	require.Equal(t, "k5", string(page.Kvs[0].Key))
	count, err := c.Get(ctx, "k2", clientv3.WithFromKey(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 4, count.Count)

	del, err := c.Delete(ctx, "k2", clientv3.WithRange("k4"), clientv3.WithPrevKV())
	require.NoError(t, err)
	require.EqualValues(t, 2, del.Deleted)
	require.Len(t, del.PrevKvs, 2)

	txn, err := c.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("k1"), "=", "b"), clientv3.Compare(clientv3.Version("k9"), "=", 0)).
		Then(clientv3.OpPut("k9", "new"), clientv3.OpGet("k9"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpDelete("k5")}, nil)).
		Else(clientv3.OpGet("k1")).Commit()
	require.NoError(t, err)
	require.True(t, txn.Succeeded)
	require.Equal(t, "new", string(txn.Responses[1].GetResponseRange().Kvs[0].Value))
	require.EqualValues(t, 1, txn.Responses[2].GetResponseTxn().Responses[0].GetResponseDeleteRange().Deleted)
	txn, err = c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("k1"), ">", 3)).Else(clientv3.OpGet("k1")).Commit()
	require.NoError(t, err)
	require.False(t, txn.Succeeded)

	_, err = c.Compact(ctx, txn.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	_, err = c.Get(ctx, "k1", clientv3.WithRev(2))
	require.ErrorIs(t, err, rpctypes.ErrCompacted)

	// All of it is there after a crash, down to the revision.
	before, err := c.Get(ctx, "", clientv3.WithFromKey())
	require.NoError(t, err)
	hash, err := c.HashKV(ctx, p.addr, 0)
	require.NoError(t, err)
	p.kill()
	p.start()
	after, err := c.Get(ctx, "", clientv3.WithFromKey())
	require.NoError(t, err)
	require.Equal(t, before.Header.Revision, after.Header.Revision)
	require.Equal(t, fmt.Sprint(before.Kvs), fmt.Sprint(after.Kvs))
	again, err := c.HashKV(ctx, p.addr, 0)
	require.NoError(t, err)
	require.Equal(t, hash.Hash, again.Hash)
	require.Equal(t, hash.CompactRevision, again.CompactRevision)
	_, err = c.Get(ctx, "k1", clientv3.WithRev(2))
	require.ErrorIs(t, err, rpctypes.ErrCompacted)
	p.stop()
}

// Clients tell errors by message, and decide by code whether to try again.
func TestErrors(t *testing.T) {
	t.Parallel()
	p := start(t, "--max-request-bytes", "100000")
	c, ctx := p.client(), within(t, patience)
	_, err := c.Put(ctx, "k", "v")
	require.NoError(t, err)
	_, err = c.Grant(ctx, 60)
	require.NoError(t, err)
	lease := clientv3.LeaseID(77)
	_, err = c.Do(ctx, clientv3.OpPut("k", "w"))
	require.NoError(t, err)
	many := make([]clientv3.Op, 129)
	for i := range many {
		many[i] = clientv3.OpGet("k")
	}
	do := func(op clientv3.Op) func() error {
		return func() error { _, err := c.Do(ctx, op); return err }
	}
	txn := func(ops ...clientv3.Op) func() error {
		return func() error { _, err := c.Txn(ctx).Then(ops...).Commit(); return err }
	}
	for _, tc := range []struct {
		name string
		call func() error
		code codes.Code
		msg  string
	}{
		{"put without a key", do(clientv3.OpPut("", "v")), codes.InvalidArgument, "etcdserver: key is not provided"},
		{"get without a key", do(clientv3.OpGet("")), codes.InvalidArgument, "etcdserver: key is not provided"},
		{"future revision", do(clientv3.OpGet("k", clientv3.WithRev(1000))), codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{"unknown lease", do(clientv3.OpPut("k", "v", clientv3.WithLease(lease))), codes.NotFound, "etcdserver: requested lease not found"},
		{"ignore a value that is not there", do(clientv3.OpPut("nokey", "", clientv3.WithIgnoreValue())), codes.InvalidArgument, "etcdserver: key not found"},
		{"too large", do(clientv3.OpPut("k", strings.Repeat("v", 100001))), codes.InvalidArgument, "etcdserver: request is too large"},
		{"too many operations", txn(many...), codes.InvalidArgument, "etcdserver: too many operations in txn request"},
		{"a key twice", txn(clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2")), codes.InvalidArgument, "etcdserver: duplicate key given in txn request"},
		{"compact the future", func() error { _, err := c.Compact(ctx, 1000); return err }, codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision"},
		{"revoke an unknown lease", func() error { _, err := c.Revoke(ctx, lease); return err }, codes.NotFound, "etcdserver: requested lease not found"},
		{"lease too long", func() error { _, err := c.Grant(ctx, 9_000_000_001); return err }, codes.OutOfRange, "etcdserver: too large lease TTL"},
		{"authenticate while auth is off", func() error { _, err := c.Authenticate(ctx, "u", "p"); return err }, codes.FailedPrecondition, "etcdserver: authentication is not enabled"},
	} {
		err := tc.call()
		require.Error(t, err, tc.name)
		var known rpctypes.EtcdError
		require.ErrorAs(t, err, &known, tc.name)
		require.Equal(t, tc.code, known.Code(), tc.name)
		require.Equal(t, tc.msg, known.Error(), tc.name)
	}
	// What is larger than a message may be, gRPC refuses.
	_, err = c.Put(ctx, "k", strings.Repeat("v", 700_000))
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	// A call whose time is over says so, and the connection stays of use.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Put(gone, "k", "v")
	require.ErrorIs(t, err, context.Canceled)
	_, err = c.Put(ctx, "k", "v")
	require.NoError(t, err)
}
