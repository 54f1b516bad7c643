package ctl

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

func connected(t *testing.T, s *fake.Server) *client.Client {
	t.Helper()
	c, err := client.NewFromURL(s.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// settled copies and follows until the source's watch ended with compaction, and
// returns what is at the destination.
func settled(t *testing.T, o mirrorOptions, src *fake.Server, before func()) (string, *fake.Server) {
	t.Helper()
	dst := fake.Start(t)
	m := &mirror{src: connected(t, src), dst: connected(t, dst), opts: o}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.run(ctx) }()
	before()
	want := src.Rev()
	// A marker outside of any batch tells that all before it has arrived.
	src.Set(o.prefix + "zz-end=1")
	end := m.target([]byte(o.prefix + "zz-end"))
	c := connected(t, dst)
	for r := range c.Watch(ctx, end, client.WithRev(1)) {
		if len(r.Events) > 0 {
			break
		}
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Greater(t, m.total.Load(), int64(0), "revision %d", want)
	var all []string
	resp, err := c.Get(context.Background(), "", client.WithPrefix())
	require.NoError(t, err)
	for _, kv := range resp.Kvs {
		if string(kv.Key) != end {
			all = append(all, fmt.Sprintf("%s=%s", kv.Key, kv.Value))
		}
	}
	return strings.Join(all, " "), dst
}

func TestMirrorPrefixes(t *testing.T) {
	for _, tc := range []struct {
		name string
		o    mirrorOptions
		want string
	}{
		{"everything", mirrorOptions{}, "a/1=x a/2=new b=y"},
		{"a prefix keeps its place", mirrorOptions{prefix: "a/"}, "a/1=x a/2=new"},
		{"another prefix", mirrorOptions{prefix: "a/", destPrefix: "c/d/"}, "c/d/1=x c/d/2=new"},
		{"no prefix", mirrorOptions{prefix: "a/", noDestPrefix: true}, "1=x 2=new"},
		{"a prefix before everything", mirrorOptions{destPrefix: "c/"}, "c/a/1=x c/a/2=new c/b=y"},
		{"from a revision, in its place", mirrorOptions{prefix: "a/", rev: 4}, "a/2=new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src := fake.Start(t)
			src.Set("a/1=x", "b=y") // revisions 2 and 3
			tc.o.maxTxnOps = 128
			got, _ := settled(t, tc.o, src, func() { src.Set("a/2=old", "a/2=new", "a/3=gone"); del(src, "a/3") })
			require.Equal(t, tc.want, got)
		})
	}
}

func del(s *fake.Server, key string) {
	s.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte(key)})
}

func TestMirrorKeepsARevisionInOneTxn(t *testing.T) {
	src := fake.Start(t)
	_, dst := settled(t, mirrorOptions{maxTxnOps: 2, rev: 2}, src, func() {
		var ops []*pb.RequestOp
		for _, k := range []string{"a", "b", "c"} {
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(k)}}})
		}
		_, err := src.Txn(context.Background(), &pb.TxnRequest{Success: ops})
		require.NoError(t, err)
		src.Set("d=1")
	})
	var sizes []int
	for _, call := range dst.Calls("KV/Txn") {
		sizes = append(sizes, len(call.Req.(*pb.TxnRequest).Success))
	}
	require.Equal(t, []int{2, 1, 1, 1}, sizes)
}

func TestMirrorPagesTheBaseCopy(t *testing.T) {
	src := fake.Start(t)
	for i := range mirrorPage + 10 {
		src.Set(fmt.Sprintf("k%05d=v", i))
	}
	got, _ := settled(t, mirrorOptions{maxTxnOps: 128}, src, func() {})
	require.Len(t, strings.Fields(got), mirrorPage+10)
	require.Equal(t, 2, len(src.Calls("KV/Range")))
	pinned := src.Calls("KV/Range")[1].Req.(*pb.RangeRequest)
	require.GreaterOrEqual(t, pinned.Revision, int64(mirrorPage+11), "the second page is of the first one's revision")
}

func TestMirrorEndsWithTheError(t *testing.T) {
	src, dst := fake.Start(t), fake.Start(t)
	src.Set("a=1", "a=2", "a=3")
	src.Compact(context.Background(), &pb.CompactionRequest{Revision: 4})
	require.Equal(t, result{err: "Error: etcdserver: mvcc: required revision has been compacted\n", code: 1},
		run(t, src, "", "make-mirror", "--rev", "2", dst.Addr))
	for args, want := range map[string]string{
		"make-mirror":     "make-mirror takes one destination argument",
		"make-mirror a b": "make-mirror takes one destination argument",
		"make-mirror --dest-prefix x --no-dest-prefix d:1": "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
		"make-mirror --dest-cert x d:1":                    "KeyFile and CertFile must both be present[key: , cert: x]",
		"make-mirror --max-txn-ops 0 d:1":                  "--max-txn-ops must be positive",
	} {
		require.Equal(t, result{err: "Error: " + want + "\n", code: 128}, run(t, src, "", strings.Fields(args)...))
	}
	got := run(t, src, "pw\n", "make-mirror", "--rev", "2", "--dest-user", "u", dst.Addr)
	require.True(t, strings.HasPrefix(got.err, "Destination Password: \n"), got.err)
}

func TestMirrorReportsItsTotal(t *testing.T) {
	src, dst := fake.Start(t), fake.Start(t)
	src.Set("a=1", "b=2")
	p, out, _ := program(t, src, "", "make-mirror", dst.Addr)
	ctx, cancel := context.WithCancel(p.Context)
	tick := make(chan struct{})
	p.Context = ctx
	p.sleep = func(ctx context.Context, d time.Duration) error {
		require.Equal(t, 30*time.Second, d)
		select {
		case <-tick:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	code := make(chan int, 1)
	go func() { code <- p.Run() }()
	c := connected(t, dst)
	for r := range c.Watch(ctx, "b", client.WithRev(1)) {
		if len(r.Events) > 0 {
			break
		}
	}
	for !strings.Contains(out.String(), "2\n") { // b is counted a moment after it is there
		tick <- struct{}{}
	}
	cancel()
	require.Equal(t, 1, <-code)
}
