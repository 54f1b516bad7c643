package golden

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// watchStream is one Watch call on one server. Its own goroutine takes in what comes and checks what must hold on every
// stream; the run looks at the rest.
type watchStream struct {
	call   pb.Watch_WatchClient
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	changed  chan struct{} // closed when something came, and replaced
	created  []*pb.WatchResponse
	watchers map[int64]*watcher
	progress []int64 // header revisions of stream-wide progress answers
	faults   []string
	closing  bool
}

// watcher is what one server sent for one watcher.
type watcher struct {
	id       int64
	events   []*mvccpb.Event
	canceled *pb.WatchResponse // by compaction or on request
	last     int64             // highest revision delivered
	open     bool              // the last answer was a fragment that goes on
	told     int64             // every event up to here was said to be delivered
}

func openStream(s *side) (*watchStream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	call, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &watchStream{call: call, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{}), watchers: map[int64]*watcher{}}
	go w.receive()
	return w, nil
}

func (s *watchStream) close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.cancel()
	<-s.done
}

func (s *watchStream) receive() {
	defer close(s.done)
	for {
		r, err := s.call.Recv()
		s.mu.Lock()
		if err != nil {
			if !s.closing {
				s.fault("the stream ended: %v", err)
			}
			s.wake()
			s.mu.Unlock()
			return
		}
		s.take(r)
		s.wake()
		s.mu.Unlock()
	}
}

func (s *watchStream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *watchStream) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// take notes one answer. The caller holds the lock.
func (s *watchStream) take(r *pb.WatchResponse) {
	if r.Header == nil {
		s.fault("an answer without a header: %s", text(r))
		return
	}
	r.Header.RaftTerm = 0
	if r.Created {
		s.created = append(s.created, r)
		if r.Canceled {
			return
		}
		if old := s.watchers[r.WatchId]; old != nil {
			s.fault("watch ID %d was given twice", r.WatchId)
		}
		s.watchers[r.WatchId] = &watcher{id: r.WatchId}
		return
	}
	if r.WatchId == -1 && !r.Canceled && len(r.Events) == 0 {
		s.progress = append(s.progress, r.Header.Revision)
		for _, w := range s.watchers {
			w.progressed(s, r.Header.Revision)
		}
		return
	}
	w := s.watchers[r.WatchId]
	switch {
	case w == nil:
		s.fault("an answer for a watcher that is not there: %s", text(r))
	case r.Canceled:
		w.canceled = r
		if r.CompactRevision == 0 {
			delete(s.watchers, r.WatchId)
		}
	case len(r.Events) == 0:
		w.progressed(s, r.Header.Revision)
	default:
		w.take(s, r)
	}
}

func (w *watcher) progressed(s *watchStream, rev int64) {
	if w.last > rev {
		s.fault("watcher %d: progress at %d after an event of %d", w.id, rev, w.last)
	}
	w.told = max(w.told, rev)
}

func (w *watcher) take(s *watchStream, r *pb.WatchResponse) {
	first, last := r.Events[0].Kv.ModRevision, int64(0)
	switch {
	case w.canceled != nil:
		s.fault("watcher %d: events after its end", w.id)
	case first < w.last, first == w.last && !w.open:
		s.fault("watcher %d: revision %d after %d was delivered", w.id, first, w.last)
	case first <= w.told:
		s.fault("watcher %d: revision %d after progress said %d", w.id, first, w.told)
	}
	for _, e := range r.Events {
		if e.Kv.ModRevision < last {
			s.fault("watcher %d: revision %d after %d in one answer", w.id, e.Kv.ModRevision, last)
		}
		last = e.Kv.ModRevision
	}
	if r.Header.Revision < last {
		s.fault("watcher %d: header revision %d under an event of %d", w.id, r.Header.Revision, last)
	}
	w.events = append(w.events, r.Events...)
	w.last, w.open = last, r.Fragment
}

// await waits until ok says so, and reports whether it did in time. ok runs with the lock held.
func (s *watchStream) await(limit time.Duration, ok func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		if ok() {
			s.mu.Unlock()
			return true
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-s.done:
			s.mu.Lock()
			defer s.mu.Unlock()
			return ok()
		}
	}
}
