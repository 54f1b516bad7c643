package golden

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/bench/process"
)

// TestLeaseTimeAfterCrash: a restart never takes time from a lease. etcd gives it its whole time again and an election
// timeout on top; cairn goes on from a checkpoint, which is at most a few seconds old.
func TestLeaseTimeAfterCrash(t *testing.T) {
	for _, p := range both() {
		s := start(t, p)
		ctx := t.Context()
		if _, err := pb.NewLeaseClient(s.conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 7, TTL: 30}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := s.crash(); err != nil {
			t.Fatal(err)
		}
		r, err := pb.NewLeaseClient(s.conn).LeaseTimeToLive(context.Background(), &pb.LeaseTimeToLiveRequest{ID: 7})
		if err != nil {
			t.Fatal(err)
		}
		if least := map[process.Kind]int64{process.Etcd: 29, process.Cairn: 26}[p.Kind]; r.TTL < least || r.TTL > 31 {
			t.Errorf("%s: %d s left of 30 after a restart", p.Kind, r.TTL)
		}
		t.Logf("%s: %d", p.Kind, r.TTL)
	}
}
