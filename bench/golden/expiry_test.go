package golden

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// TestExpiry: a lease that nobody renews takes its keys along, all at one revision and in their order, and not too early.
func TestExpiry(t *testing.T) {
	type seen struct {
		events *pb.WatchResponse
		left   *pb.RangeResponse
		ttl    *pb.LeaseTimeToLiveResponse
	}
	var got []seen
	for _, p := range both() {
		s := start(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		kv, leases := pb.NewKVClient(s.conn), pb.NewLeaseClient(s.conn)
		g, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 9, TTL: 1})
		if err != nil || g.TTL != 2 {
			t.Fatal(p.Kind, g, err)
		}
		granted := time.Now()
		for i := range 5 {
			if _, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "k%d", 4-i), Lease: 9}); err != nil {
				t.Fatal(err)
			}
		}
		w, err := pb.NewWatchClient(s.conn).Watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true}}}); err != nil {
			t.Fatal(err)
		}
		if r, err := w.Recv(); err != nil || !r.Created {
			t.Fatal(r, err)
		}
		events, err := w.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(granted); d < 2*time.Second || d > 4*time.Second {
			t.Errorf("%s: expired after %s", p.Kind, d)
		}
		left, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		if err != nil {
			t.Fatal(err)
		}
		ttl, err := leases.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: 9, Keys: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []*pb.ResponseHeader{events.Header, left.Header, ttl.Header} {
			h.RaftTerm = 0
		}
		got = append(got, seen{events, left, ttl})
	}
	if a, b := got[0], got[1]; !proto.Equal(a.events, b.events) || !proto.Equal(a.left, b.left) || !proto.Equal(a.ttl, b.ttl) {
		t.Errorf("etcd:  %s %s %s\ncairn: %s %s %s", text(a.events), text(a.left), text(a.ttl), text(b.events), text(b.left), text(b.ttl))
	}
}

// TestLeasesInOrder: the lease that ends first is listed first.
func TestLeasesInOrder(t *testing.T) {
	for _, p := range both() {
		s := start(t, p)
		leases := pb.NewLeaseClient(s.conn)
		for i, ttl := range []int64{500, 100, 9000, 20, 300} {
			if _, err := leases.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{ID: int64(i + 1), TTL: ttl}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := leases.LeaseLeases(t.Context(), &pb.LeaseLeasesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for _, l := range r.Leases {
			ids = append(ids, l.ID)
		}
		if !slices.Equal(ids, []int64{4, 2, 5, 1, 3}) {
			t.Errorf("%s: %v", p.Kind, ids)
		}
	}
}
