package machine

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/wire"
)

// limited is a machine that is asked one thing at a time.
type limited struct {
	t     *testing.T
	m     *Machine
	index uint64
	who   auth.Identity
}

func newLimited(t *testing.T) *limited {
	m, err := Open(Config{}, mem.New())
	require.NoError(t, err)
	return &limited{t: t, m: m}
}

func (l *limited) reopen() {
	m, err := Open(Config{}, l.m.Engine())
	require.NoError(l.t, err)
	l.m = m
}

func (l *limited) do(kind wire.Kind, body []byte) error {
	l.index++
	eff := &Effects{}
	c := wire.Command{ID: l.index, Kind: kind, Body: body, User: l.who.User, AuthRevision: l.who.Revision}
	require.NoError(l.t, l.m.Apply([]*raftpb.Entry{{Term: new(uint64(1)), Index: new(l.index), Data: wire.AppendCommand(nil, &c)}}, eff))
	return eff.Results[0].Err
}

func (l *limited) v3(kind wire.Kind, q proto.Message) error {
	body, err := proto.Marshal(q)
	require.NoError(l.t, err)
	return l.do(kind, body)
}

func (l *limited) put(key, value string) error {
	return l.v3(wire.KindPut, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
}

func (l *limited) limit(method string, value string) error {
	return l.do(wire.KindV2, (&wire.V2Request{Method: method, Path: LimitsRecord, Val: value}).Append(nil))
}

func (l *limited) quota(prefix string, keys, bytes int64) error {
	r := limits.Rule{Target: limits.Target{Kind: limits.Prefix, Name: []byte(prefix)}, MaxKeys: keys, MaxBytes: bytes}
	return l.limit(wire.V2Put, string(r.Append(nil)))
}

func opPut(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func opTxn(t *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
}

func TestQuotas(t *testing.T) {
	l := newLimited(t)
	refused := func(err error, text string) {
		t.Helper()
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.EqualError(t, err, text)
	}
	require.NoError(t, l.put("a/1", "x"))
	require.NoError(t, l.put("b/1", "x"))
	index := l.m.View().Tree.Index
	require.NoError(t, l.quota("a/", 2, 20))
	require.Equal(t, index, l.m.View().Tree.Index, "the v2 API sees nothing of it")
	require.NoError(t, l.put("a/2", "y"))
	rev := l.m.View().KV.Rev()
	const tooMany = `cairn: quota of prefix "a/" is 2 keys, and there would be 3`
	refused(l.put("a/3", ""), tooMany)
	refused(l.v3(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opPut("b/2", "x"), opPut("a/3", "")}}), tooMany)
	refused(l.v3(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a/3", "")}})}}), tooMany)
	require.Equal(t, rev, l.m.View().KV.Rev(), "nothing has changed")
	refused(l.put("a/2", strings.Repeat("y", 14)), `cairn: quota of prefix "a/" is 20 bytes, and there would be 21`)
	require.NoError(t, l.put("a/2", strings.Repeat("y", 13)))
	require.NoError(t, l.put("b/2", strings.Repeat("y", 130)))
	require.NoError(t, l.v3(wire.KindPut, &pb.PutRequest{Key: []byte("a/2"), IgnoreValue: true}))
	require.NoError(t, l.v3(wire.KindTxn, &pb.TxnRequest{Failure: []*pb.RequestOp{opPut("a/3", "")}}), "the branch that does not run does not count")

	// A lower quota than what is there lets nothing in, and everything out.
	require.NoError(t, l.quota("a/", 1, 10))
	refused(l.put("a/2", strings.Repeat("y", 14)), `cairn: quota of prefix "a/" is 10 bytes, and there would be 21`)
	require.NoError(t, l.put("a/2", strings.Repeat("z", 13)), "as long as before")
	require.NoError(t, l.put("a/2", strings.Repeat("z", 12)), "shorter")
	require.NoError(t, l.v3(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opDelete("a/", "a0"), opDelete("a/1", ""), opDelete("a/", "\x00"), opPut("a/9", "123456")}}))
	refused(l.v3(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{opDelete("a/", "a0"), opDelete("a/9", ""), opPut("a/7", "12"), opPut("a/8", "12")}}),
		`cairn: quota of prefix "a/" is 1 keys, and there would be 2`)
	require.NoError(t, l.v3(wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte("a/"), RangeEnd: []byte("a0")}))

	// What a lease ends makes room.
	require.NoError(t, l.v3(wire.KindLeaseGrant, &pb.LeaseGrantRequest{ID: 5, TTL: 60}))
	require.NoError(t, l.v3(wire.KindPut, &pb.PutRequest{Key: []byte("a/1"), Lease: 5}))
	refused(l.put("a/2", ""), `cairn: quota of prefix "a/" is 1 keys, and there would be 2`)
	require.NoError(t, l.v3(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: 5}))
	require.NoError(t, l.put("a/2", ""))
	l.reopen()
	refused(l.put("a/1", ""), `cairn: quota of prefix "a/" is 1 keys, and there would be 2`)

	x := limits.Target{Kind: limits.Prefix, Name: []byte("a/")}
	require.NoError(t, l.limit(wire.V2Delete, string(x.Append(nil))))
	require.NoError(t, l.put("a/1", ""))
	require.Nil(t, l.m.View().Limits)
	require.Equal(t, codes.NotFound, status.Code(l.limit(wire.V2Delete, string(x.Append(nil)))))
	for method, text := range map[string]string{wire.V2Put: "{}", wire.V2Delete: "", wire.V2Post: "{}"} {
		require.Error(t, l.limit(method, text))
	}
}

func TestOnlyAdministratorsSetLimits(t *testing.T) {
	l := newLimited(t)
	for _, u := range []string{"root", "ann"} {
		require.NoError(t, l.v3(wire.KindAuthUserAdd, &pb.AuthUserAddRequest{Name: u}))
	}
	require.NoError(t, l.v3(wire.KindAuthUserGrantRole, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}))
	require.NoError(t, l.v3(wire.KindAuthEnable, &pb.AuthEnableRequest{}))
	for name, ok := range map[string]bool{"": false, "ann": false, "root": true} {
		l.who = auth.Identity{User: name, Revision: l.m.View().Auth.Revision}
		require.Equal(t, ok, l.quota("a", 1, 0) == nil, name)
	}
}

// TestQuotasAgainstAModel does what is asked on a map, and asks whether it would be too much.
func TestQuotasAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	prefixes := []string{"", "a", "a/", "a/b", "b"}
	l := newLimited(t)
	model := map[string]string{}
	rules := map[string]*limits.Rule{}
	usage := func(of map[string]string, prefix string) (keys, bytes int64) {
		for k, v := range of {
			if strings.HasPrefix(k, prefix) {
				keys, bytes = keys+1, bytes+int64(len(k)+len(v))
			}
		}
		return keys, bytes
	}
	key := func() string { return prefixes[1+rng.IntN(4)] + fmt.Sprint(rng.IntN(6)) }
	refusals, done := 0, 0
	for i := range 6000 {
		if i%200 == 0 {
			p := prefixes[rng.IntN(len(prefixes))]
			r := &limits.Rule{Target: limits.Target{Kind: limits.Prefix, Name: []byte(p)}, MaxKeys: int64(rng.IntN(12)), MaxBytes: int64(1 + rng.IntN(120))}
			require.NoError(t, l.limit(wire.V2Put, string(r.Append(nil))))
			rules[p] = r
		}
		if i%170 == 0 {
			l.reopen()
		}
		next := maps.Clone(model)
		var ops []*pb.RequestOp
		remove := func(lo, hi string) {
			ops = append(ops, opDelete(lo, hi))
			r := wire.ParseRange([]byte(lo), []byte(hi))
			maps.DeleteFunc(next, func(k, _ string) bool { return r.Contains(k) && !r.Empty() })
		}
		for range rng.IntN(3) {
			lo, hi := key(), ""
			if rng.IntN(2) == 0 {
				hi = key()
			}
			remove(lo, hi)
		}
		put := map[string]bool{}
		for range rng.IntN(4) {
			k, v := key(), strings.Repeat("v", rng.IntN(12))
			if put[k] {
				continue
			}
			put[k] = true
			ops = append(ops, opPut(k, v))
			next[k] = v
		}
		if rng.IntN(3) == 0 {
			ops = []*pb.RequestOp{opTxn(&pb.TxnRequest{Success: ops})}
		}
		over := false
		for p, r := range rules {
			touched := false
			for k := range put {
				touched = touched || strings.HasPrefix(k, p)
			}
			keys, bytes := usage(model, p)
			nextKeys, nextBytes := usage(next, p)
			over = over || touched && (r.MaxKeys > 0 && nextKeys > r.MaxKeys && nextKeys > keys || r.MaxBytes > 0 && nextBytes > r.MaxBytes && nextBytes > bytes)
		}
		body, err := proto.Marshal(&pb.TxnRequest{Success: ops})
		require.NoError(t, err)
		parsed, ok := wire.ParseTxn(body)
		require.True(t, ok)
		before := l.m.View().RoomForTxn(parsed)
		err = l.do(wire.KindTxn, body)
		require.Equal(t, before, err, "a view judges as the machine does")
		var exceeded *limits.Exceeded
		require.Equal(t, over, errors.As(err, &exceeded), "%v: %v", ops, err)
		if over {
			refusals++
			continue
		}
		require.NoError(t, err)
		model, done = next, done+1
		for p := range rules {
			keys, bytes := usage(model, p)
			r := (&limits.Target{Kind: limits.Prefix, Name: []byte(p)}).Range()
			require.EqualValues(t, keys, l.m.View().KV.Count(r))
			require.Equal(t, bytes, l.m.View().KV.Bytes(r))
		}
	}
	require.Greater(t, refusals, 500)
	require.Greater(t, done, 500)
}
