package sim

import (
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// traffic makes some member do something now and then that nobody waits for. What it comes to is compared all the same.
func (s *system) traffic(least, most time.Duration, do func(m *member)) {
	if s.calm {
		return
	}
	s.w.after(s.w.between(least, most), func() {
		s.traffic(least, most, do)
		if m := s.anyone(nil); m != nil && !s.calm {
			m.enter(m.life, func() error {
				do(m)
				return m.pump()
			})
		}
	})
}

// compact asks for a compaction.
func (s *system) compact(m *member) {
	rev := s.truth.machine.View().KV.Rev() - s.w.rng.Int64N(30)
	m.propose(wire.KindCompaction, &pb.CompactionRequest{Revision: rev}, nil)
}

// look has the past looked at in the middle of a transaction: that makes the machine commit half a batch.
func (s *system) look(m *member) {
	rev := s.truth.machine.View().KV.Rev() - s.w.rng.Int64N(5)
	past := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Revision: max(rev, 1)}
	m.propose(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("look"), Value: []byte("seen")}}},
		{Request: &pb.RequestOp_RequestRange{RequestRange: past}}}}, nil)
}

// changeTree changes the tree of the v2 API.
func (s *system) changeTree(m *member) {
	path := func() string { return fmt.Sprintf("/1/d%d/n%d", s.w.rng.IntN(3), s.w.rng.IntN(4)) }
	now := tree.Permanent + int64(s.w.now)
	q := wire.V2Request{Method: wire.V2Put, Path: path(), Val: fmt.Sprint(s.w.rng.IntN(5))}
	switch s.w.rng.IntN(8) {
	case 0:
		q.Expiration = now + int64(s.w.span(5*time.Second))
	case 1:
		q.PrevValue = fmt.Sprint(s.w.rng.IntN(5))
	case 2:
		q.PrevExist = new(s.w.chance(50))
	case 3:
		q = wire.V2Request{Method: wire.V2Post, Path: "/1/queue", Val: "job"}
	case 4:
		q = wire.V2Request{Method: wire.V2Delete, Path: path()}
	case 5:
		q = wire.V2Request{Method: wire.V2Delete, Path: "/1/d0", Dir: true, Recursive: true}
	case 6:
		q = wire.V2Request{Method: wire.V2Sync, Time: now}
	}
	m.enqueue(&ticket{data: m.command(wire.KindV2, q.Append(nil)), id: s.requests})
}
