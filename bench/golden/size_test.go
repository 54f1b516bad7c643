package golden

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
)

// TestEdges compares single requests that a random run would hardly meet.
func TestEdges(t *testing.T) {
	etcd, cairn := start(t, etcdProgram), start(t, cairnProgram)
	big := func(n int) []byte { return make([]byte, n) }
	many := &pb.TxnRequest{}
	for range 3 {
		many.Failure = append(many.Failure, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k"), Value: big(600_000)}}})
	}
	for name, o := range map[string]*op{
		"value over the request limit": {method: put, req: &pb.PutRequest{Key: []byte("k"), Value: big(1_573_000)}},
		"value over the message limit": {method: put, req: &pb.PutRequest{Key: []byte("k"), Value: big(1_572_864 + 512<<10)}},
		"value just under the limit":   {method: put, req: &pb.PutRequest{Key: []byte("k"), Value: big(1_572_700)}},
		"txn over the request limit":   {method: txn, req: many},
		"delete with a huge key":       {method: deleteRange, req: &pb.DeleteRangeRequest{Key: big(1_573_000)}},
		"range with a huge key":        {method: kvRange, req: &pb.RangeRequest{Key: big(1_573_000)}},
		"empty body: put":              {method: put, raw: []byte{}},
		"empty body: range":            {method: kvRange, raw: []byte{}},
		"empty body: txn":              {method: txn, raw: []byte{}},
		"empty body: compact":          {method: compact, raw: []byte{}},
		"empty body: range stream":     {method: rangeStream, raw: []byte{}},
		"empty body: keep alive":       {method: keepAlive, raw: []byte{}},
		"rubbish: keep alive":          {method: keepAlive, raw: []byte{0xff}},
		"rubbish: range stream":        {method: rangeStream, raw: []byte{0xff}},
		"rubbish: lease grant":         {method: leaseGrant, raw: []byte{0xff}},
		"rubbish: alarm":               {method: alarm, raw: []byte{0xff}},
		"rubbish: status":              {method: statusOf, raw: []byte{0xff}},
		"unknown method":               {method: "/etcdserverpb.KV/Nothing", raw: []byte{}},
		"unknown service":              {method: "/etcdserverpb.Nothing/Range", raw: []byte{}},
		"not a method":                 {method: "nothing", raw: []byte{}},
		"move leader to a stranger":    {method: moveLeader, req: &pb.MoveLeaderRequest{TargetID: 99}},
		"hash of the future":           {method: hashKV, req: &pb.HashKVRequest{Revision: 1 << 40}},
		"hash of the farthest future":  {method: hashKV, req: &pb.HashKVRequest{Revision: 1<<63 - 1}},
		"compaction of the past":       {method: compact, req: &pb.CompactionRequest{Revision: -5}},
		"compaction of the future":     {method: compact, req: &pb.CompactionRequest{Revision: 1 << 50, Physical: true}},
		"lease of the largest ID":      {method: timeToLive, req: &pb.LeaseTimeToLiveRequest{ID: 1<<63 - 1}},
		"lease 0":                      {method: timeToLive, req: &pb.LeaseTimeToLiveRequest{}},
		"keep lease 0 alive":           {method: keepAlive, req: &pb.LeaseKeepAliveRequest{}},
		"revoke lease 0":               {method: leaseRevoke, req: &pb.LeaseRevokeRequest{}},
		"member list, linearizable":    {method: memberList, req: &pb.MemberListRequest{Linearizable: true}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := (&run{etcd: etcd, cairn: cairn}).both(o)
			if d := (difference{op: &op{method: o.method}, etcd: a, cairn: b}); !same(o, a, b, nil) && (&run{known: knownDifferences}).knows(&d) == "" {
				t.Errorf("etcd:  %.500s\ncairn: %.500s", a, b)
			}
		})
	}
}

// TestMetadata compares what the request's metadata asks for.
func TestMetadata(t *testing.T) {
	etcd, cairn := start(t, etcdProgram), start(t, cairnProgram)
	for _, md := range []metadata.MD{
		metadata.Pairs("hasleader", "true"), metadata.Pairs("hasleader", "no"), metadata.Pairs("client-api-version", "3.7"),
		metadata.Pairs("token", "no such token"), metadata.Pairs("authorization", "Bearer x"), metadata.Pairs("client-api-version", "\xff\xfe"),
	} {
		var got []answer
		for _, s := range []*side{etcd, cairn} {
			r, err := pb.NewKVClient(s.conn).Range(metadata.NewOutgoingContext(t.Context(), md), &pb.RangeRequest{Key: []byte("k")})
			if err != nil {
				got = append(got, failed(err))
			} else {
				got = append(got, answer{msg: r})
			}
		}
		if !same(&op{method: kvRange, req: &pb.RangeRequest{}}, got[0], got[1], nil) {
			t.Errorf("%v\netcd:  %s\ncairn: %s", md, got[0], got[1])
		}
	}
}
