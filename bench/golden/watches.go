package golden

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// watchLimit is how long an answer that has to come may take.
const watchLimit = 15 * time.Second

// streamPair is one stream on each server, sent the same requests.
type streamPair struct {
	etcd, cairn *watchStream
	watchers    []*watcherPair // active, or ended by compaction and still in the way of their ID
}

// watcherPair is one watcher on each server and what it has to deliver.
type watcherPair struct {
	req         *pb.WatchCreateRequest
	id, start   int64
	floor       int64 // the oldest revision kept, if it began there
	late        bool  // it began in the past, and may still be behind even if it has nothing to deliver
	compacted   bool  // it began before the oldest revision kept: it has to end at once
	etcd, cairn *watcher
	seen        int // events compared
	next        int // in the history
}

// watches are the streams of a run. The history comes from a watcher of all keys on etcd; one on cairn must say the same.
type watches struct {
	etcd, cairn *side
	history     []*mvccpb.Event
	all         *streamPair
	streams     []*streamPair
	compared    int // events
}

func newPair(etcd, cairn *side) (*streamPair, error) {
	a, err := openStream(etcd)
	if err != nil {
		return nil, err
	}
	b, err := openStream(cairn)
	return &streamPair{etcd: a, cairn: b}, err
}

func (p *streamPair) each(f func(*watchStream) error) error {
	return errors.Join(f(p.etcd), f(p.cairn))
}

func (p *streamPair) close() {
	p.etcd.close()
	p.cairn.close()
}

func (p *streamPair) send(r *pb.WatchRequest) error {
	return p.each(func(s *watchStream) error { return s.call.Send(r) })
}

// open starts the watcher of all keys, from the revision after the ones in the history.
func (w *watches) open() (err error) {
	if w.all, err = newPair(w.etcd, w.cairn); err != nil {
		return err
	}
	start := int64(1)
	if n := len(w.history); n > 0 {
		start = w.history[n-1].Kv.ModRevision + 1
	}
	_, err = w.all.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true, StartRevision: start}, -1)
	return err
}

// close ends all streams. The history stays.
func (w *watches) close() {
	if w.all != nil {
		w.all.close()
	}
	for _, p := range w.streams {
		p.close()
	}
	w.all, w.streams = nil, nil
}

// create starts a watcher on both and compares what is said of it. It returns nil if both refused.
func (p *streamPair) create(q *pb.WatchCreateRequest, compactedAt int64) (*watcherPair, error) {
	n := len(p.etcd.created)
	if err := p.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}}); err != nil {
		return nil, err
	}
	var got [2]*pb.WatchResponse
	for i, s := range []*watchStream{p.etcd, p.cairn} {
		if !s.await(watchLimit, func() bool { return len(s.created) > n }) {
			return nil, fmt.Errorf("golden: %s: no answer (%d is etcd)", text(q), i)
		}
		s.mu.Lock()
		got[i] = s.created[n]
		s.mu.Unlock()
	}
	if !proto.Equal(got[0], got[1]) {
		return nil, fmt.Errorf("golden: create %s\n    etcd:  %s\n    cairn: %s", text(q), text(got[0]), text(got[1]))
	}
	r := got[0]
	if r.Canceled {
		return nil, nil
	}
	w := &watcherPair{req: q, id: r.WatchId, start: q.StartRevision, etcd: p.etcd.find(r.WatchId), cairn: p.cairn.find(r.WatchId)}
	if w.start == 0 {
		w.start = r.Header.Revision + 1
	}
	w.compacted = q.StartRevision > 0 && q.StartRevision < compactedAt
	if w.start == compactedAt {
		w.floor = compactedAt
	}
	w.late = q.StartRevision > 0
	p.watchers = append(p.watchers, w)
	return w, nil
}

func (s *watchStream) find(id int64) *watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watchers[id]
}

// covers says whether the watcher has to deliver the event.
func (w *watcherPair) covers(e *mvccpb.Event) bool {
	if e.Kv.ModRevision < w.start || w.compacted {
		return false
	}
	for _, f := range w.req.Filters {
		if f == pb.WatchCreateRequest_NOPUT && e.Type == mvccpb.Event_PUT || f == pb.WatchCreateRequest_NODELETE && e.Type == mvccpb.Event_DELETE {
			return false
		}
	}
	key, end := w.req.Key, w.req.RangeEnd
	if len(key) == 0 {
		key = []byte{0}
	}
	switch {
	case len(end) == 0:
		return bytes.Equal(e.Kv.Key, key)
	case bytes.Equal(end, []byte{0}):
		return bytes.Compare(e.Kv.Key, key) >= 0
	}
	return bytes.Compare(e.Kv.Key, key) >= 0 && bytes.Compare(e.Kv.Key, end) < 0
}

// settle waits until every watcher has delivered all that it must up to rev, and compares it.
func (w *watches) settle(rev int64) error {
	if err := w.settleAll(rev); err != nil {
		return err
	}
	for _, p := range w.streams {
		for _, x := range p.watchers {
			if err := w.settleOne(p, x); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *watches) settleAll(rev int64) error {
	x := w.all.watchers[0]
	known := int64(1) // a fresh store's revision has no event
	if n := len(w.history); n > 0 {
		known = w.history[n-1].Kv.ModRevision
	}
	for i, side := range []*watcher{x.etcd, x.cairn} {
		s := []*watchStream{w.all.etcd, w.all.cairn}[i]
		if !s.await(watchLimit, func() bool { return max(side.last, known) >= rev || len(s.faults) > 0 }) {
			return fmt.Errorf("golden: the watcher of all keys (%d: 0 etcd, 1 cairn) is at %d, not at %d", i, side.last, rev)
		}
	}
	if err := w.all.faults(); err != nil {
		return err
	}
	for ; x.seen < len(x.etcd.events); x.seen++ {
		a := x.etcd.events[x.seen]
		if x.seen >= len(x.cairn.events) || !proto.Equal(a, x.cairn.events[x.seen]) {
			return fmt.Errorf("golden: all keys, event %d\n    etcd:  %s\n    cairn: %s", x.seen, text(a), eventText(x.cairn.events, x.seen))
		}
		w.history = append(w.history, a)
	}
	if n := len(x.cairn.events); n != x.seen {
		return fmt.Errorf("golden: all keys: cairn sent %d events more than etcd: %s", n-x.seen, eventText(x.cairn.events, x.seen))
	}
	return nil
}

// owes says whether the watcher has to deliver an event of the history. Of a key that one revision has changed twice, the
// compaction at that revision has kept the last change.
func (w *watches) owes(x *watcherPair, at int) bool {
	e := w.history[at]
	if !x.covers(e) {
		return false
	}
	if e.Kv.ModRevision == x.floor {
		for _, later := range w.history[at+1:] {
			if later.Kv.ModRevision != x.floor {
				break
			}
			if bytes.Equal(later.Kv.Key, e.Kv.Key) {
				return false
			}
		}
	}
	return true
}

func (w *watches) settleOne(p *streamPair, x *watcherPair) error {
	if x.next == 0 {
		x.next = sort.Search(len(w.history), func(i int) bool { return w.history[i].Kv.ModRevision >= x.start })
	}
	var expect []*mvccpb.Event
	for ; x.next < len(w.history); x.next++ {
		if w.owes(x, x.next) {
			expect = append(expect, w.history[x.next])
		}
	}
	want := x.seen + len(expect)
	for i, s := range []*watchStream{p.etcd, p.cairn} {
		side := []*watcher{x.etcd, x.cairn}[i]
		name := []string{"etcd", "cairn"}[i]
		ok := s.await(watchLimit, func() bool {
			return len(side.events) >= want && (side.canceled != nil) == x.compacted || len(s.faults) > 0
		})
		if !ok {
			return fmt.Errorf("golden: %s: watcher %d (%s, start %d): %d events of %d, ended: %v (expected: %v); new were:\n%s\nexpected:\n%s",
				name, x.id, text(x.req), x.start, len(side.events), want, side.canceled != nil, x.compacted, eventList(side.events[x.seen:]), eventList(expect))
		}
	}
	if err := p.faults(); err != nil {
		return err
	}
	p.etcd.mu.Lock()
	defer p.etcd.mu.Unlock()
	p.cairn.mu.Lock()
	defer p.cairn.mu.Unlock()
	if !proto.Equal(x.etcd.canceled, x.cairn.canceled) {
		return fmt.Errorf("golden: watcher %d (%s) ended\n    etcd:  %s\n    cairn: %s", x.id, text(x.req), text(x.etcd.canceled), text(x.cairn.canceled))
	}
	if len(x.etcd.events) != want || len(x.cairn.events) != want {
		return fmt.Errorf("golden: watcher %d (%s): %d events expected, etcd sent %d, cairn %d; the first too many: %s %s", x.id, text(x.req), want,
			len(x.etcd.events), len(x.cairn.events), eventText(x.etcd.events, want), eventText(x.cairn.events, want))
	}
	for _, e := range expect {
		a, b := x.etcd.events[x.seen], x.cairn.events[x.seen]
		if !proto.Equal(a, b) || a.Type != e.Type || !proto.Equal(a.Kv, e.Kv) || a.PrevKv != nil && !x.req.PrevKv {
			return fmt.Errorf("golden: watcher %d (%s) event %d\n    etcd:     %s\n    cairn:    %s\n    expected: %s", x.id, text(x.req), x.seen, text(a), text(b), text(e))
		}
		x.seen++
		w.compared++
	}
	return nil
}

func eventText(es []*mvccpb.Event, i int) string {
	if i >= len(es) {
		return "(none)"
	}
	return text(es[i])
}

func eventList(es []*mvccpb.Event) string {
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "    %s\n", text(e))
	}
	return b.String()
}

func (p *streamPair) faults() (err error) {
	for i, s := range []*watchStream{p.etcd, p.cairn} {
		s.mu.Lock()
		for _, f := range s.faults {
			err = errors.Join(err, fmt.Errorf("golden: a stream of %s: %s", []string{"etcd", "cairn"}[i], f))
		}
		s.mu.Unlock()
	}
	return err
}
