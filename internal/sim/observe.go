package sim

import (
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// observer is a client that watches everything, across crashes: it comes back with the revision behind the last one it
// has seen, as etcd's clients do.
type observer struct {
	w      *world
	m      *member
	life   int
	stream *watch.Stream
	next   int64 // revision to go on from
	seen   []seenEvent
	gaps   [][2]int64 // revisions that a compaction took before they were seen
}

type seenEvent struct {
	key     string
	rev     int64
	deleted bool
}

func (x *observer) run() {
	x.w.after(x.w.between(time.Millisecond, 60*time.Millisecond), x.run)
	if !x.m.up {
		return
	}
	if x.life != x.m.life {
		x.connect()
	}
	for range 1 + x.w.rng.IntN(3) {
		if _, err := x.stream.Round(); err != nil {
			panic(failure{err})
		}
	}
}

func (x *observer) connect() {
	x.life = x.m.life
	x.stream = x.m.hub.NewStream(watch.Config{Term: func() uint64 { return 0 }, ProgressInterval: time.Hour, FragmentBytes: 1 << 20,
		Send: func(f *wire.Frame) error {
			var b []byte
			for _, p := range f.Bufs {
				b = append(b, p...)
			}
			r := &pb.WatchResponse{}
			if err := proto.Unmarshal(b, r); err != nil {
				return err
			}
			x.take(r)
			return nil
		}})
	x.stream.Create(watch.Create{Range: wire.Range{Lo: "\x00"}, StartRevision: x.next})
}

func (x *observer) take(r *pb.WatchResponse) {
	if r.CompactRevision > 0 {
		x.gaps = append(x.gaps, [2]int64{x.next, r.CompactRevision})
		x.next = r.CompactRevision
		x.life = 0 // connect again
		return
	}
	for _, e := range r.Events {
		x.seen = append(x.seen, seenEvent{string(e.Kv.Key), e.Kv.ModRevision, e.Type == mvccpb.Event_DELETE})
		x.next = e.Kv.ModRevision + 1
	}
}

// check compares what was seen with what the log says has happened.
func (x *observer) check(m *member) error {
	// What is still on its way has to arrive first.
	for range 10000 {
		if x.life != m.life {
			x.connect()
		}
		more, err := x.stream.Round()
		if err != nil {
			return err
		}
		if !more && x.life == m.life && x.next > m.machine.View().KV.Rev() {
			break
		}
	}
	want, err := happened(m)
	if err != nil {
		return err
	}
	i := 0
	for _, h := range want {
		gone := false
		for _, g := range x.gaps {
			gone = gone || (h.rev >= g[0] && h.rev <= g[1])
		}
		if i < len(x.seen) && x.seen[i] == h {
			i++
			continue
		}
		if !gone {
			return fmt.Errorf("change %+v was not seen in its place", h)
		}
	}
	if i != len(x.seen) {
		return fmt.Errorf("event %+v was seen and did not happen, or not then", x.seen[i])
	}
	return nil
}

// happened replays the log for its changes.
func happened(m *member) (out []seenEvent, err error) {
	fresh, err := machine.Open(machine.Config{MinLeaseTTLSeconds: minLeaseTTL}, mem.New())
	if err != nil {
		return nil, err
	}
	var eff machine.Effects
	if err := fresh.Apply(m.committed[:m.machine.Applied()], &eff); err != nil {
		return nil, err
	}
	for _, c := range eff.Changes {
		out = append(out, seenEvent{c.KV.Key(), c.Rev.Main, c.Deleted()})
	}
	return out, nil
}

// leases grants leases, renews some, and checks that none ends early and that each ends.
type leases struct {
	w       *world
	m       *member
	granted map[int64]*leaseTrack
	order   []int64
	nextID  int64
	err     error
}

type leaseTrack struct {
	ttl   time.Duration
	until time.Duration // the last promise to a client
	renew bool
	ended time.Duration
}

// slack is how much later than promised a lease may end while the member runs: the scan, a slow disk, the restart.
const slack = 4 * time.Second

func (l *leases) run() {
	l.w.after(l.w.between(50*time.Millisecond, 400*time.Millisecond), l.run)
	if !l.m.up || !l.m.ready {
		return
	}
	l.look()
	if len(l.order) < 40 && l.w.chance(20) {
		l.grant()
	}
	for _, id := range l.order {
		t := l.granted[id]
		if t.ended == 0 && t.renew && l.w.chance(40) {
			l.renew(id, t)
		}
	}
	if err := l.m.pump(); err != nil {
		panic(failure{err})
	}
}

func (l *leases) grant() {
	l.nextID++
	id := l.nextID
	ttl := int64(2 + l.w.rng.IntN(20))
	t := &leaseTrack{ttl: time.Duration(ttl) * time.Second, renew: l.w.chance(50)}
	l.m.propose(wire.KindLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: ttl}, func(r machine.Result) {
		if r.Err == nil {
			t.until = l.w.now + t.ttl
			l.granted[id] = t
			l.order = append(l.order, id)
		}
	})
}

func (l *leases) renew(id int64, t *leaseTrack) {
	r := l.m.deadlines.Renew(l.w.now, id)
	if !r.Known || r.Expired {
		return
	}
	asked := l.w.now
	if !r.Reset {
		t.until = asked + t.ttl
		return
	}
	l.m.propose(wire.KindLeaseCheckpoint, &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: id}}}, func(machine.Result) {
		t.until = max(t.until, asked+t.ttl)
	})
}

// look notices leases that are gone.
func (l *leases) look() {
	v := l.m.machine.View()
	for _, id := range l.order {
		t := l.granted[id]
		if _, there := v.Leases.Get(id); !there && t.ended == 0 {
			t.ended = l.w.now
			if l.w.now < t.until && l.err == nil {
				l.err = fmt.Errorf("lease %d ended at %v, %v before it may", id, l.w.now, t.until-l.w.now)
			}
		}
	}
}

func (l *leases) check() error {
	l.look()
	if l.err != nil {
		return l.err
	}
	for _, id := range l.order {
		t := l.granted[id]
		// A restart may give a renewed lease its time again, so only what is far beyond that counts.
		if t.ended == 0 && l.w.now > t.until+3*t.ttl+10*slack {
			return fmt.Errorf("lease %d should have ended at %v and is still there at %v", id, t.until, l.w.now)
		}
	}
	var bad error
	l.m.machine.View().Leases.Each(func(x lease.Lease) bool {
		if x.RemainingSeconds > x.TTL {
			bad = errors.New("a checkpoint is above the TTL")
		}
		return bad == nil
	})
	return bad
}
