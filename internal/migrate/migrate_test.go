package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/v2client"
)

// store is both sides: a tree to read, and keys that transactions change.
type store struct {
	tree   map[string]*v2client.Node
	keys   map[string]string
	ttls   []int64
	txns   int
	broken error
	change func() // between looking and putting
}

func (s *store) Get(_ context.Context, key string, o v2client.GetOptions) (*v2client.Result, error) {
	n, ok := s.tree[key]
	if !ok || !o.Recursive || !o.Quorum {
		return nil, errors.New("100: Key not found")
	}
	return &v2client.Result{Node: n, Index: 7}, nil
}

func (s *store) Grant(_ context.Context, ttl int64) (*client.LeaseGrantResponse, error) {
	s.ttls = append(s.ttls, ttl)
	return &client.LeaseGrantResponse{ID: client.LeaseID(len(s.ttls))}, s.broken
}

func (s *store) Txn(context.Context) client.Txn { return &txn{s: s} }

type txn struct {
	client.Txn
	s    *store
	cmps []client.Cmp
	ops  []client.Op
}

func (t *txn) If(c ...client.Cmp) client.Txn  { t.cmps = c; return t }
func (t *txn) Then(o ...client.Op) client.Txn { t.ops = o; return t }

func (t *txn) Commit() (*client.TxnResponse, error) {
	s := t.s
	s.txns++
	if s.broken != nil || len(t.ops) > batchKeys {
		return nil, errors.Join(s.broken, fmt.Errorf("%d operations", len(t.ops)))
	}
	r := &pb.TxnResponse{Succeeded: true}
	if t.ops[0].IsPut() && s.change != nil {
		s.change()
	}
	for i := range t.cmps {
		c := t.cmps[i].GetCompare()
		_, there := s.keys[string(c.Key)]
		if there != (c.GetModRevision() != 0) {
			r.Succeeded = false
			return (*client.TxnResponse)(r), nil
		}
	}
	for _, op := range t.ops {
		k := string(op.KeyBytes())
		if op.IsPut() {
			s.keys[k] = string(op.ValueBytes())
			continue
		}
		g := &pb.RangeResponse{}
		if v, ok := s.keys[k]; ok {
			g.Kvs = []*mvccpb.KeyValue{{Key: []byte(k), Value: []byte(v), ModRevision: 5}}
		}
		r.Responses = append(r.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: g}})
	}
	return (*client.TxnResponse)(r), nil
}

func file(key, value string, ttl int64) *v2client.Node {
	return &v2client.Node{Key: key, Value: value, TTL: ttl}
}

func newStore() *store {
	dir := &v2client.Node{Key: "/d", Dir: true, TTL: 20, Nodes: []*v2client.Node{file("/d/1", "a", 0), file("/d/2", "b", 30), file("/d/3", "c", 10)}}
	return &store{keys: map[string]string{}, tree: map[string]*v2client.Node{
		"/":  {Dir: true, Nodes: []*v2client.Node{file("/a", "1", 0), file("/b", "", 20), dir, {Key: "/empty", Dir: true}}},
		"/a": file("/a", "1", 0), "/_h": file("/_h", "hidden", 0)}}
}

func TestCopy(t *testing.T) {
	s := newStore()
	cfg := Config{From: s, To: s, Dirs: []string{"/", "/_h"}, Prefix: "v2", DryRun: true}
	r, err := Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Empty(t, s.keys)
	require.Empty(t, s.ttls)
	cfg.DryRun = false
	done, err := Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Equal(t, r, done)
	require.Equal(t, Report{Index: 7, Copied: 6, Leases: 2}, done)
	require.Equal(t, map[string]string{"v2/a": "1", "v2/b": "", "v2/d/1": "a", "v2/d/2": "b", "v2/d/3": "c", "v2/_h": "hidden"}, s.keys)
	require.Equal(t, []int64{10, 20}, s.ttls, "a key ends with its directory at the latest")

	again, err := Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Equal(t, Report{Index: 7, Same: 6}, again)

	s.keys["v2/a"] = "other"
	r, err = Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Equal(t, []string{"v2/a"}, r.Conflicts)
	require.Equal(t, "other", s.keys["v2/a"])
	require.Contains(t, r.String(), `not copied, as there is another value: "v2/a"`)
	cfg.Overwrite = true
	r, err = Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Equal(t, 1, r.Copied)
	require.Equal(t, "1", s.keys["v2/a"])
}

func TestBatches(t *testing.T) {
	s := newStore()
	all := &v2client.Node{Dir: true}
	for i := range 250 {
		all.Nodes = append(all.Nodes, file(fmt.Sprintf("/%03d", i), "v", 0))
	}
	for i := range 3 {
		all.Nodes = append(all.Nodes, file(fmt.Sprintf("/large%d", i), strings.Repeat("x", 700<<10), 0))
	}
	s.tree["/"] = all
	r, err := Run(context.Background(), Config{From: s, To: s, Dirs: []string{"/"}})
	require.NoError(t, err)
	require.Equal(t, 253, r.Copied)
	require.Len(t, s.keys, 253)
	require.Equal(t, 2*5, s.txns, "two of a hundred, one of 51, and each large one but the first by itself")
}

func TestFailures(t *testing.T) {
	s := newStore()
	_, err := Run(context.Background(), Config{From: s, To: s, Dirs: []string{"/none"}})
	require.ErrorContains(t, err, "reading /none: 100: Key not found")
	s.broken = errors.New("no quorum")
	_, err = Run(context.Background(), Config{From: s, To: s, Dirs: []string{"/a"}})
	require.ErrorContains(t, err, "no quorum")
	s.broken = nil
	s.change = func() { s.keys["/a"] = "came meanwhile" }
	_, err = Run(context.Background(), Config{From: s, To: s, Dirs: []string{"/a"}})
	require.ErrorIs(t, err, errChanged)
	require.Equal(t, "came meanwhile", s.keys["/a"])
}
