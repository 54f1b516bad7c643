package ctl

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// leased grants the lease with the example id, and attaches k1 and k2.
func leased(s *fake.Server) {
	ctx := context.Background()
	s.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: fake.LeaseID, TTL: 60})
	s.Put(ctx, &pb.PutRequest{Key: []byte("k1"), Lease: fake.LeaseID})
	s.Put(ctx, &pb.PutRequest{Key: []byte("k2"), Lease: fake.LeaseID})
	s.LeaseTTL = 52
}

func TestLease(t *testing.T) {
	flat := `{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":REV,"raft_term":2,`
	try(t, []example{
		{args: "lease grant 60", want: result{out: "lease 694d7550f0e4bb0c granted with TTL(60s)\n"}},
		{args: "lease grant 60 -w json", want: result{out: at(flat, "1") + `"ID":7587849937688509196,"TTL":60,"Error":""}` + "\n"}},
		{args: "lease grant 60 -w fields", want: result{out: at(fieldHeader, "1") + "\"ID\" : 7587849937688509196\n\"TTL\" : 60\n"}},
		{args: "lease grant 60 -w fields --hex", want: result{out: "\"ClusterID\" : cdf818194e3a8c32\n\"MemberID\" : 8e9e05c52164694d\n\"Revision\" : 1\n\"RaftTerm\" : 2\n\"ID\" : 694d7550f0e4bb0c\n\"TTL\" : 60\n"}},
		{args: "lease grant", want: result{err: "Error: lease grant command needs TTL argument\n", code: 128}},
		{args: "lease grant x", want: result{err: "Error: bad TTL (strconv.ParseInt: parsing \"x\": invalid syntax)\n", code: 128}},
		{setup: leased, args: "lease revoke 694d7550f0e4bb0c", want: result{out: "lease 694d7550f0e4bb0c revoked\n"}},
		{setup: leased, args: "lease revoke 694d7550f0e4bb0c -w json", want: result{out: `{"header":` + at(header, "4") + "}\n"}},
		{setup: leased, args: "lease revoke 694d7550f0e4bb0c -w fields", want: result{out: at(fieldHeader, "4")}},
		{args: "lease revoke 1", want: result{err: "Error: failed to revoke lease (etcdserver: requested lease not found)\n", code: 1}},
		{args: "lease revoke", want: result{err: "Error: lease revoke command needs 1 argument\n", code: 128}},
		{args: "lease revoke x", want: result{err: "Error: bad lease ID arg (strconv.ParseInt: parsing \"x\": invalid syntax), expecting ID in Hex\n", code: 128}},
		{setup: leased, args: "lease timetolive 694d7550f0e4bb0c", want: result{out: "lease 694d7550f0e4bb0c granted with TTL(60s), remaining(52s)\n"}},
		{setup: leased, args: "lease timetolive 694d7550f0e4bb0c --keys", want: result{out: "lease 694d7550f0e4bb0c granted with TTL(60s), remaining(52s), attached keys([k1 k2])\n"}},
		{setup: leased, args: "lease timetolive 694d7550f0e4bb0c --keys -w json", want: result{out: at(flat, "3") + `"id":7587849937688509196,"ttl":52,"granted-ttl":60,"keys":["azE=","azI="]}` + "\n"}},
		{setup: leased, args: "lease timetolive 694d7550f0e4bb0c -w json", want: result{out: at(flat, "3") + `"id":7587849937688509196,"ttl":52,"granted-ttl":60,"keys":null}` + "\n"}},
		{setup: leased, args: "lease timetolive 694d7550f0e4bb0c --keys -w fields", want: result{out: at(fieldHeader, "3") + "\"ID\" : 7587849937688509196\n\"TTL\" : 52\n\"GrantedTTL\" : 60\n\"Key\" : \"k1\"\n\"Key\" : \"k2\"\n"}},
		{args: "lease timetolive 1f --keys", want: result{out: "lease 000000000000001f already expired\n"}},
		{args: "lease timetolive 1f -w json", want: result{out: at(flat, "1") + `"id":31,"ttl":-1,"granted-ttl":0,"keys":null}` + "\n"}},
		{args: "lease timetolive", want: result{err: "Error: lease timetolive command needs lease ID as argument\n", code: 128}},
		{setup: leased, args: "lease list", want: result{out: "found 1 leases\n694d7550f0e4bb0c\n"}},
		{setup: leased, args: "lease list -w json", want: result{out: at(flat, "3") + `"leases":[{"id":7587849937688509196}]}` + "\n"}},
		{setup: leased, args: "lease list -w fields", want: result{out: at(fieldHeader, "3") + "\"ID\" : 7587849937688509196\n"}},
		{setup: leased, args: "lease keep-alive --once 694d7550f0e4bb0c", want: result{out: "lease 694d7550f0e4bb0c keepalived with TTL(60)\n"}},
		{setup: leased, args: "lease keep-alive --once 694d7550f0e4bb0c -w json", want: result{out: at(flat, "3") + `"ID":7587849937688509196,"TTL":60}` + "\n"}},
		{setup: leased, args: "lease keep-alive --once 694d7550f0e4bb0c -w fields", want: result{out: at(fieldHeader, "3") + "\"ID\" : 7587849937688509196\n\"TTL\" : 60\n"}},
		{args: "lease keep-alive --once 1", want: result{err: "Error: etcdserver: requested lease not found\n", code: 2}},
		{args: "lease keep-alive 1", want: result{out: "lease 0000000000000001 expired or revoked.\n"}},
		{args: "lease keep-alive 1 -w json", want: result{}},
		{args: "lease keep-alive", want: result{err: "Error: lease keep-alive command needs lease ID as argument\n", code: 128}},
	})
}

func TestLeaseKeepAliveEndsWithTheLease(t *testing.T) {
	s := fake.Start(t)
	leased(s)
	p, out, _ := program(t, s, "", "lease", "keep-alive", "694d7550f0e4bb0c")
	code := make(chan int)
	go func() { code <- p.Run() }()
	out.await(t, "keepalived with TTL(60)\n")
	s.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: fake.LeaseID})
	s.Stop() // a new stream renews at once
	s.Restart(t)
	require.Equal(t, 0, <-code)
	out.await(t, "lease 694d7550f0e4bb0c expired or revoked.\n")
}
