package sim

import (
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

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
