package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// observer is a client that watches, across crashes and members: it comes back with the revision behind the last one it
// has seen, as etcd's clients do. Each event that arrives has to be the next change that really was, with none left out.
type observer struct {
	s      *system
	w      *world
	n      int
	m      *member
	life   int // of the member that the stream belongs to, 0 if there is no stream
	stream *watch.Stream
	watch  watch.Create
	next   int64 // revision to go on from
	pos    int   // the first change of the truth that was not seen, or is not to be seen
	told   int64 // progress
}

// newObserver makes an observer: of everything, of a key, or of some.
func newObserver(s *system, n int) *observer {
	x := &observer{s: s, w: s.w, n: n, next: 1}
	x.watch = watch.Create{Range: wire.Range{Lo: "\x00"}, PrevKV: s.w.chance(30)}
	switch {
	case n == 0:
	case s.w.chance(40):
		x.watch.Range = wire.One(keyName(s.w.rng.IntN(keyCount)))
	case s.w.chance(40):
		x.watch.Range = wire.ParseRange([]byte("lease/"), []byte("lease0"))
	}
	return x
}

func (x *observer) run() {
	if x.s.calm {
		return
	}
	x.w.after(x.w.between(time.Millisecond, 60*time.Millisecond), x.run)
	if x.m == nil || x.life != x.m.life || x.w.chance(0.5) {
		x.leave()
		if x.m = x.s.anyone(nil); x.m == nil {
			return
		}
		x.m.enter(x.m.life, func() error { x.connect(); return nil })
		return
	}
	x.m.enter(x.life, func() error {
		if x.w.chance(5) {
			x.stream.Progress()
		}
		return x.rounds(1 + x.w.rng.IntN(3))
	})
}

func (x *observer) rounds(n int) error {
	for range n {
		more, err := x.stream.Round()
		if err != nil || !more || x.life == 0 {
			return err
		}
	}
	return nil
}

// leave ends the watch, if its member is still there.
func (x *observer) leave() {
	if x.life != 0 && x.m.up && x.m.life == x.life {
		x.stream.Cancel(0)
	}
	x.life = 0
}

func (x *observer) connect() {
	x.life = x.m.life
	life := x.life
	x.stream = x.m.hub.NewStream(watch.Config{Term: func() uint64 { return 0 }, ProgressInterval: time.Hour, FragmentBytes: 1 << 20,
		Send: func(f *wire.Frame) error {
			if x.life != life {
				return nil // it has left
			}
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
	c := x.watch
	c.StartRevision = x.next
	if x.s.bad.ResumeLate && x.next > 1 {
		c.StartRevision++
	}
	x.stream.Create(c)
}

func (x *observer) take(r *pb.WatchResponse) {
	if r.CompactRevision > 0 {
		if compacted := x.s.truth.machine.View().KV.CompactRev(); r.CompactRevision <= x.next || r.CompactRevision > compacted {
			fail("watch", "%v is told that %d is compacted at %d, with %d to come; %d is", x, r.CompactRevision, x.w.now, x.next, compacted)
		}
		x.s.rep.Gaps++
		x.next = r.CompactRevision
		x.life = 0 // connect again
		return
	}
	for _, e := range r.Events {
		x.event(e)
	}
	if len(r.Events) == 0 && !r.Created && !r.Canceled {
		// All up to there was sent.
		if x.told = r.Header.Revision; x.told+1 > x.next {
			if c := x.missing(); c != nil && c.Rev.Main <= x.told {
				fail("watch", "%v is told of progress to %d, but was not sent the change of %q at %v", x, x.told, c.KV.Key(), c.Rev)
			}
			x.next = x.told + 1
		}
	}
}

// missing is the next change that the observer is to see, nil if there is none yet.
func (x *observer) missing() *wire.Change {
	all := x.s.truth.changes
	for x.pos < len(all) && (all[x.pos].Rev.Main < x.next || !x.watch.Range.Contains(all[x.pos].KV.Key())) {
		x.pos++
	}
	if x.pos == len(all) {
		return nil
	}
	return &all[x.pos]
}

// event checks that an event is the next one. All events of a revision come in one response.
func (x *observer) event(e *mvccpb.Event) {
	x.s.rep.Events++
	c := x.missing()
	if c == nil {
		fail("watch", "%v is sent %v, and nothing of it has happened", x, e)
	}
	f := c.KV.Fields()
	same := string(e.Kv.Key) == c.KV.Key() && e.Kv.ModRevision == c.Rev.Main && (e.Type == mvccpb.Event_DELETE) == c.Deleted() && string(e.Kv.Value) == f.Value
	if !same {
		fail("watch", "%v is sent %v in the place of the change of %q at %v", x, e, c.KV.Key(), c.Rev)
	}
	if e.PrevKv != nil && string(e.PrevKv.Value) != c.Prev.Fields().Value {
		fail("watch", "%v: %v was before %v, not %v", x, c.Prev.Fields(), e.Kv, e.PrevKv)
	}
	x.pos++
	if d := x.missing(); d == nil || d.Rev.Main != c.Rev.Main {
		x.next = c.Rev.Main + 1
	}
}

func (x *observer) String() string {
	return fmt.Sprintf("watcher %d (%s), at %v", x.n, strings.TrimPrefix(x.watch.Range.Lo, "\x00"), x.m)
}

// finish lets what is still on its way arrive: in the end everything has to have been seen.
func (x *observer) finish() {
	for range 10000 {
		if x.missing() == nil {
			return
		}
		if x.life == 0 || x.life != x.m.life || !slices.Contains(x.s.present(), x.m) {
			x.leave()
			x.m = x.s.leader()
			x.connect()
		}
		must(x.rounds(1))
	}
	c := x.missing()
	fail("watch", "%v was never sent the change of %q at %v", x, c.KV.Key(), c.Rev)
}
