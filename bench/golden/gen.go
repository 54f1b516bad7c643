package golden

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// generator makes requests. What it makes depends on its seed and on what it was told of the answers, nothing else.
type generator struct {
	rnd *rand.Rand
	set settings

	rev, compacted int64   // of the store, as the answers tell
	leases         []int64 // that may exist
	alarms         int     // that may be active
	next           []*op   // what has to follow the last request
}

// settings say what the two servers have in common.
type settings struct {
	old bool // the other server is of version 3.4: what it does not know or does not check is left out
}

func newGenerator(seed uint64, set settings) *generator {
	return &generator{rnd: rand.New(rand.NewPCG(seed, 0x6361697e)), set: set, rev: 1, compacted: -1}
}

// one says yes once in n times.
func (g *generator) one(n int) bool { return g.rnd.IntN(n) == 0 }

func pick[T any](g *generator, from ...T) T { return from[g.rnd.IntN(len(from))] }

// keys are few, so that requests meet; some are each other's prefix and some have the bytes where intervals go wrong.
var keys = func() (ks [][]byte) {
	for _, s := range []string{"\x00", "\x00\x00", "\x01", "A", "a", "a\x00", "a\x00b", "aa", "ab", "b", "ba", "b\xff", "b\xff\xff",
		"c", "p/", "p/1", "p/10", "p/2", "p0", "z", "\xfe", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"} {
		ks = append(ks, []byte(s))
	}
	for i := range 24 {
		ks = append(ks, fmt.Appendf(nil, "k%02d", i))
	}
	return ks
}()

func (g *generator) key() []byte {
	switch {
	case g.one(150):
		return nil
	case g.one(150):
		return []byte{}
	}
	return pick(g, keys...)
}

// end is a range_end: none, the next key, a prefix, "from key", any other key (so that many intervals are empty).
func (g *generator) end(key []byte) []byte {
	switch g.rnd.IntN(10) {
	case 0, 1, 2:
		return nil
	case 3:
		return []byte{}
	case 4:
		return []byte{0}
	case 5:
		return append(bytes.Clone(key), 0)
	case 6:
		return prefixEnd(key)
	case 7:
		return bytes.Clone(key) // an empty interval
	}
	return pick(g, keys...)
}

func prefixEnd(key []byte) []byte {
	e := bytes.Clone(key)
	for i := len(e) - 1; i >= 0; i-- {
		if e[i] < 0xff {
			e[i]++
			return e[:i+1]
		}
	}
	return []byte{0}
}

// revision is one of the past, the future, compacted or no revision at all.
func (g *generator) revision() int64 {
	switch g.rnd.IntN(14) {
	case 0:
		return pick[int64](g, -1, -100, math.MinInt64, math.MaxInt64)
	case 1:
		return g.rev + int64(g.rnd.IntN(3))
	case 2:
		return g.compacted + int64(g.rnd.IntN(3)) - 1
	case 3, 4, 5:
		return max(0, g.rev-int64(g.rnd.IntN(20)))
	case 6:
		return g.rnd.Int64N(g.rev + 1)
	}
	return 0
}

func (g *generator) value() []byte {
	switch g.rnd.IntN(40) {
	case 0:
		return nil
	case 1:
		return bytes.Repeat([]byte{byte(g.rnd.IntN(256))}, 1000+g.rnd.IntN(60_000))
	case 2, 3, 4, 5, 6, 7, 8, 9:
		return []byte{byte('0' + g.rnd.IntN(5))} // values that are equal often
	}
	return fmt.Appendf(nil, "v%d", g.rnd.IntN(1000))
}

func (g *generator) lease() int64 {
	switch {
	case g.one(20):
		return pick[int64](g, -1, 12345, math.MaxInt64, math.MinInt64)
	case len(g.leases) == 0:
		return 1
	}
	return pick(g, g.leases...)
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{Key: g.key(), Revision: g.revision(), Serializable: g.one(3), KeysOnly: g.one(4), CountOnly: g.one(7)}
	r.RangeEnd = g.end(r.Key)
	if g.one(3) {
		r.Key, r.RangeEnd = pick(g, []byte{0}, []byte("k"), []byte("a")), pick(g, []byte{0}, []byte("l"), []byte("p0"))
	}
	if g.one(2) {
		r.Limit = pick[int64](g, 0, 1, 1, 2, 3, 5, 10, 25, 100, -1, math.MinInt64, math.MaxInt64)
	}
	if g.one(2) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.rnd.IntN(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.rnd.IntN(5))
		if g.one(40) && !g.set.old {
			r.SortOrder = pick[pb.RangeRequest_SortOrder](g, 3, -1, 1000)
		}
		if g.one(40) && !g.set.old {
			r.SortTarget = pick[pb.RangeRequest_SortTarget](g, 5, -1, 1000)
		}
	}
	if g.one(5) {
		for _, f := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
			if g.one(2) {
				*f = pick(g, g.rev-int64(g.rnd.IntN(40)), g.rnd.Int64N(g.rev+2), -1, math.MaxInt64)
			}
		}
	}
	return r
}

func (g *generator) putRequest() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.one(3)}
	if g.one(3) {
		r.Lease = g.lease()
	}
	if g.one(12) {
		r.IgnoreValue = true
		if !g.one(6) {
			r.Value = nil
		}
	}
	if g.one(12) {
		r.IgnoreLease = true
		if !g.one(6) {
			r.Lease = 0
		}
	}
	return r
}

func (g *generator) deleteRequest() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: g.one(2)}
	if g.one(3) {
		r.RangeEnd = g.end(r.Key)
	}
	if bytes.Equal(r.RangeEnd, []byte{0}) && !g.one(4) {
		r.RangeEnd = nil // else there would never be many keys
	}
	return r
}

// request makes the next request. Watches are not made here: they are not requests with one answer.
func (g *generator) request() *op {
	if len(g.next) > 0 {
		o := g.next[0]
		g.next = g.next[1:]
		return o
	}
	if g.alarms > 0 && g.one(6) {
		g.alarms = 0
		return &op{method: alarm, req: &pb.AlarmRequest{}}
	}
	if !g.set.old && g.one(40) {
		return g.malformed()
	}
	switch n := g.rnd.IntN(1000); {
	case n < 300:
		return &op{method: kvRange, req: g.rangeRequest()}
	case n < 360 && !g.set.old:
		r := g.rangeRequest()
		if !g.one(5) {
			r.SortOrder, r.SortTarget = pick(g, pb.RangeRequest_NONE, pb.RangeRequest_ASCEND), pb.RangeRequest_KEY
			r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision = 0, 0, 0, 0
		}
		if r.SortOrder == pb.RangeRequest_NONE && r.SortTarget <= pb.RangeRequest_VALUE {
			r.SortTarget = pb.RangeRequest_KEY // with others etcd's chunks repeat keys and leave keys out
		}
		return &op{method: rangeStream, req: r}
	case n < 570:
		return &op{method: put, req: g.putRequest()}
	case n < 630:
		return &op{method: deleteRange, req: g.deleteRequest()}
	case n < 830:
		return &op{method: txn, req: g.txnRequest(3)}
	case n < 836:
		return &op{method: compact, req: &pb.CompactionRequest{Revision: g.compactRevision(), Physical: g.one(2)}}
	case n < 850:
		return &op{method: hashKV, req: &pb.HashKVRequest{Revision: g.revision()}}
	case n < 860:
		return &op{method: memberList, req: &pb.MemberListRequest{Linearizable: g.one(2)}}
	case n < 868:
		return &op{method: statusOf, req: &pb.StatusRequest{}}
	case n < 872:
		return &op{method: moveLeader, req: &pb.MoveLeaderRequest{TargetID: pick[uint64](g, 0, 1, math.MaxUint64)}}
	case n < 873:
		return &op{method: defragment, req: &pb.DefragmentRequest{}}
	case n < 876:
		return g.alarmRequest()
	}
	return g.leaseRequest()
}

func (g *generator) compactRevision() int64 {
	switch g.rnd.IntN(6) {
	case 0:
		return g.revision()
	case 1:
		return g.rev
	}
	return max(0, g.rev-int64(g.rnd.IntN(60)))
}

// alarmRequest never has an unknown action: the real server ends itself at one.
func (g *generator) alarmRequest() *op {
	r := &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(g.rnd.IntN(3)), MemberID: pick[uint64](g, 0, 5, 0x8e9e05c52164694d),
		Alarm: pick(g, pb.AlarmType_NONE, pb.AlarmType_NOSPACE, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT, 7)}
	if g.set.old { // 3.4 ends itself at some of the others, and lets nested puts through when there is no space
		r.Alarm = pb.AlarmType_CORRUPT
	}
	if r.Action == pb.AlarmRequest_ACTIVATE {
		g.alarms++
	}
	return &op{method: alarm, req: r}
}

func (g *generator) leaseRequest() *op {
	switch g.rnd.IntN(8) {
	case 0, 1: // so long that none expires in a run: after a crash the two servers count differently
		r := &pb.LeaseGrantRequest{TTL: pick[int64](g, 3600, 7200, 36_000, 9_000_000_000, 9_000_000_001, math.MaxInt64), ID: 1 + g.rnd.Int64N(8)}
		switch g.rnd.IntN(10) {
		case 0:
			r.ID = 0
		case 1:
			r.ID = pick[int64](g, -1, -7, math.MinInt64, math.MaxInt64)
		case 2: // so short that it must go before it expires: expiry is compared elsewhere
			r.TTL = pick[int64](g, math.MinInt64, -1, 0, 1, 2)
			r.ID = 100 + g.rnd.Int64N(4)
			g.next = append(g.next, &op{method: timeToLive, req: &pb.LeaseTimeToLiveRequest{ID: r.ID, Keys: true}},
				&op{method: leaseRevoke, req: &pb.LeaseRevokeRequest{ID: r.ID}})
		}
		return &op{method: leaseGrant, req: r}
	case 2:
		return &op{method: leaseRevoke, req: &pb.LeaseRevokeRequest{ID: g.lease()}}
	case 3, 4:
		return &op{method: timeToLive, req: &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: g.one(2)}}
	case 5, 6:
		return &op{method: keepAlive, req: &pb.LeaseKeepAliveRequest{ID: g.lease()}}
	}
	return &op{method: leaseLeases, req: &pb.LeaseLeasesRequest{}}
}

// learn takes in what etcd answered (and, where a server chose something, cairn).
func (g *generator) learn(o *op, etcd, cairn answer) {
	if etcd.err != nil {
		return
	}
	if h, ok := etcd.msg.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		g.rev = max(g.rev, h.GetHeader().GetRevision())
	}
	switch r := etcd.msg.(type) {
	case *pb.CompactionResponse:
		if q, ok := o.req.(*pb.CompactionRequest); ok {
			g.compacted = max(g.compacted, q.Revision)
		}
	case *pb.LeaseGrantResponse:
		q, ok := o.req.(*pb.LeaseGrantRequest)
		if !ok {
			return
		}
		if q.ID == 0 { // the servers chose two IDs: the lease must not meet any other request
			if b, ok := cairn.msg.(*pb.LeaseGrantResponse); ok {
				g.next = append(g.next, &op{method: leaseRevoke, req: &pb.LeaseRevokeRequest{ID: r.ID}, reqB: &pb.LeaseRevokeRequest{ID: b.ID}})
			}
			return
		}
		g.leases = append(g.leases, r.ID)
		if len(g.leases) > 16 {
			g.leases = g.leases[1:]
		}
	case *pb.AlarmResponse:
		if q, ok := o.req.(*pb.AlarmRequest); ok && proto.Equal(q, &pb.AlarmRequest{}) {
			for _, a := range r.Alarms {
				g.next = append(g.next, &op{method: alarm, req: &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm}})
			}
		}
	}
}
