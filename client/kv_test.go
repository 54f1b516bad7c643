package client_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/client"
)

func TestGetStreamIsPutTogether(t *testing.T) {
	s, c := start(t)
	s.Set("a=1", "b=2", "c=3")
	ch, err := c.GetStream(timeout(t), "", client.WithPrefix())
	require.NoError(t, err)
	resp, err := client.GetStreamToGetResponse(ch)
	require.NoError(t, err)
	require.Len(t, resp.Kvs, 3)
	require.EqualValues(t, 3, resp.Count)
	require.EqualValues(t, 4, resp.Header.Revision)

	ch, err = c.GetStream(timeout(t), "a", client.WithRev(99))
	require.NoError(t, err)
	_, err = client.GetStreamToGetResponse(ch)
	require.Equal(t, rpctypes.ErrFutureRev, err)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ch, err = c.GetStream(ctx, "", client.WithPrefix())
	if err == nil {
		_, err = client.GetStreamToGetResponse(ch)
	}
	require.Error(t, err, "a cut stream is never taken for the whole")
}

func TestRangesOnTheWire(t *testing.T) {
	s, c := start(t)
	for _, tc := range []struct {
		key      string
		opts     []client.OpOption
		from, to string
	}{
		{"k", nil, "k", ""},
		{"k", []client.OpOption{client.WithRange("m")}, "k", "m"},
		{"k", []client.OpOption{client.WithPrefix()}, "k", "l"},
		{"k\xff", []client.OpOption{client.WithPrefix()}, "k\xff", "l"},
		{"\xff\xff", []client.OpOption{client.WithPrefix()}, "\xff\xff", "\x00"},
		{"", []client.OpOption{client.WithPrefix()}, "\x00", "\x00"},
		{"", []client.OpOption{client.WithFromKey()}, "\x00", "\x00"},
		{"k", []client.OpOption{client.WithFromKey()}, "k", "\x00"},
	} {
		_, err := c.Get(timeout(t), tc.key, tc.opts...)
		require.NoError(t, err)
		calls := s.Calls("KV/Range")
		r := calls[len(calls)-1].Req.(*pb.RangeRequest)
		require.Equal(t, tc.from, string(r.Key))
		require.Equal(t, tc.to, string(r.RangeEnd), "key %q", tc.key)
	}
}

func TestSortOnTheWire(t *testing.T) {
	s, c := start(t)
	for _, tc := range []struct {
		target client.SortTarget
		order  client.SortOrder
		want   pb.RangeRequest_SortOrder
	}{
		{client.SortByKey, client.SortAscend, pb.RangeRequest_NONE},
		{client.SortByKey, client.SortDescend, pb.RangeRequest_DESCEND},
		{client.SortByModRevision, client.SortAscend, pb.RangeRequest_ASCEND},
	} {
		_, err := c.Get(timeout(t), "k", client.WithSort(tc.target, tc.order))
		require.NoError(t, err)
		calls := s.Calls("KV/Range")
		require.Equal(t, tc.want, calls[len(calls)-1].Req.(*pb.RangeRequest).SortOrder)
	}
	_, err := c.Get(timeout(t), "k", client.WithSort(9, 9))
	require.Equal(t, rpctypes.ErrInvalidSortOption, err)
}

func TestMistakesInOptionsPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"prefix and from key":   func() { client.OpGet("a", client.WithPrefix(), client.WithFromKey()) },
		"delete, both":          func() { client.OpDelete("a", client.WithPrefix(), client.WithFromKey()) },
		"put with range":        func() { client.OpPut("a", "b", client.WithPrefix()) },
		"put with limit":        func() { client.OpPut("a", "b", client.WithLimit(1)) },
		"put with revision":     func() { client.OpPut("a", "b", client.WithRev(1)) },
		"put with sort":         func() { client.OpPut("a", "b", client.WithSort(0, 0)) },
		"delete with lease":     func() { client.OpDelete("a", client.WithLease(1)) },
		"delete with filter":    func() { client.OpDelete("a", client.WithFilterPut()) },
		"watch with limit":      func() { client.OpWatch("a", client.WithLimit(1)) },
		"watch with count only": func() { client.OpWatch("a", client.WithCountOnly()) },
		"compare operator":      func() { client.Compare(client.Value("a"), "==", "b") },
		"compare type":          func() { client.Compare(client.Version("a"), "=", "1") },
		"compare value type":    func() { client.Compare(client.Value("a"), "=", 1) },
	} {
		require.Panics(t, f, name)
	}
	require.NotPanics(t, func() {
		client.OpWatch("a", client.WithFilterPut(), client.WithCreatedNotify(), client.WithPrevKV(), client.WithRev(3))
	})
}

func TestTxnBuilderOrder(t *testing.T) {
	_, c := start(t)
	ctx := context.Background()
	for name, f := range map[string]func(){
		"if twice":        func() { c.Txn(ctx).If().If() },
		"if after then":   func() { c.Txn(ctx).Then().If() },
		"if after else":   func() { c.Txn(ctx).Else().If() },
		"then twice":      func() { c.Txn(ctx).Then().Then() },
		"then after else": func() { c.Txn(ctx).Else().Then() },
		"else twice":      func() { c.Txn(ctx).Else().Else() },
	} {
		require.Panics(t, f, name)
	}
}

func TestTxn(t *testing.T) {
	s, c := start(t)
	s.Set("a=1")
	resp, err := c.Txn(timeout(t)).
		If(client.Compare(client.Value("a"), "=", "1"), client.Compare(client.CreateRevision("b"), "=", 0),
			client.Compare(client.LeaseValue("a"), "=", client.NoLease)).
		Then(client.OpPut("b", "2"), client.OpGet("b"), client.OpDelete("a")).
		Else(client.OpPut("a", "no")).Commit()
	require.NoError(t, err)
	require.True(t, resp.Succeeded)
	require.Equal(t, "2", string(resp.Responses[1].GetResponseRange().Kvs[0].Value))
	require.EqualValues(t, 1, resp.Responses[2].GetResponseDeleteRange().Deleted)
	_ = (*pb.TxnResponse)(resp)
}

func TestCmpIsAValue(t *testing.T) {
	a := client.Version("a")
	b := client.Compare(a, ">", 3)
	c := b.WithPrefix()
	require.Nil(t, a.GetCompare().TargetUnion)
	require.Empty(t, b.GetCompare().RangeEnd)
	require.Equal(t, "b", string(c.GetCompare().RangeEnd))
}

func TestSyncTakesStartedVoters(t *testing.T) {
	s, c := start(t)
	s.SetMembers(
		&pb.Member{ID: 1, Name: "m1", ClientURLs: []string{"http://" + s.Addr}},
		&pb.Member{ID: 2, ClientURLs: []string{"http://unstarted:1"}},
		&pb.Member{ID: 3, Name: "m3", IsLearner: true, ClientURLs: []string{"http://learner:1"}},
	)
	require.NoError(t, c.Sync(timeout(t)))
	require.Equal(t, []string{"http://" + s.Addr}, c.Endpoints())
	_, err := c.Put(timeout(t), "a", "1")
	require.NoError(t, err)
	s.SetMembers()
	require.NoError(t, c.Sync(timeout(t)))
	require.Len(t, c.Endpoints(), 1, "the last endpoints are kept")
}

func TestPeerURLsAreCheckedBeforeTheCall(t *testing.T) {
	s, c := start(t)
	for _, u := range [][]string{nil, {"10.0.0.1:2380"}, {"http://h"}, {"http://h:1/x"}, {"ftp://h:1"}, {"http://%"}} {
		_, err := c.MemberAdd(timeout(t), u)
		require.Error(t, err, "%v", u)
	}
	require.Empty(t, s.Calls("Cluster/MemberAdd"))
	_, err := c.MemberAdd(timeout(t), []string{"https://[::1]:2380", "unix://a"})
	require.NoError(t, err)
}
