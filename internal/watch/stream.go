package watch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Config is what a stream needs to answer.
type Config struct {
	ClusterID, MemberID uint64
	Term                func() uint64
	ProgressInterval    time.Duration
	MaxWatchers         int // of the stream; 0 stands for a million
	FragmentBytes       int // a response at or above it is split for watchers that asked for that
	Send                func(*wire.Frame) error
}

const (
	maxControl    = 4096 // answers to requests that wait to be sent; more requests are not read
	mostWatchers  = 1_000_000
	catchUpRevs   = 1000 // revisions that one step of catching up reads
	catchUpPerRun = 128  // watchers that take such a step between two looks at the queue
	paceResponse  = 15 * time.Microsecond
	maxPace       = 5 * time.Millisecond
)

// Stream is one client's watch stream: its watchers, and the events on their way to them. Create, Cancel and Progress
// are called by whoever reads the client's requests; Run sends.
//
// Locks: mu before the hub's. Publish only holds the hub's.
type Stream struct {
	hub *Hub
	cfg Config

	// Guarded by the hub's mutex.
	queue   []entry
	bytes   int
	lagFrom int64 // first revision that was not queued, 0 if none
	settled int64 // revision up to which the queue is complete
	wake    chan struct{}

	mu       sync.Mutex
	space    *sync.Cond // there is room for control answers again, or the stream has ended
	ended    bool
	watchers map[int64]*watcher
	subs     map[wire.Range]*sub
	behind   []*watcher
	arriving []*watcher // behind, and not to be sent anything before their creation is told
	nextID   int64
	control  []*wire.Frame
	progress bool // a progress request waits

	taken     []entry // used by Run alone
	audience  []*watcher
	touched   []*sub
	pending   map[*sub][]*Event
	responses int
	arena     []byte // where the next responses are put
}

type entry struct {
	sub *sub
	ev  *Event
}

type watcher struct {
	id       int64
	sub      *sub
	noPut    bool
	noDelete bool
	prior    bool
	fragment bool
	notify   bool  // periodic progress
	start    int64 // the revision it was asked to begin at; no progress is told below it
	from     int64 // events below it are not for this watcher, or were sent
	behind   bool  // reads from history, from there on
	dead     bool  // ended by a compaction; its id stays taken until the client cancels
	sent     bool  // had events since the last progress tick
}

// NewStream adds a stream to the hub. Run must be called, and takes it off again when it ends.
func (h *Hub) NewStream(cfg Config) *Stream {
	s := &Stream{hub: h, cfg: cfg, wake: make(chan struct{}, 1), watchers: map[int64]*watcher{}, subs: map[wire.Range]*sub{},
		pending: map[*sub][]*Event{}}
	s.space = sync.NewCond(&s.mu)
	h.mu.Lock()
	h.streams[s] = struct{}{}
	s.settled = h.rev
	h.mu.Unlock()
	return s
}

func (s *Stream) lagging() bool { return s.lagFrom != 0 }

// push queues an event, or notes that the stream lags from its revision on. Called under the hub's mutex.
func (s *Stream) push(to *sub, ev *Event) {
	n := len(ev.change.KV) + len(ev.change.Prev)
	if len(s.queue) >= s.hub.entries || s.bytes+n > queueBytes {
		s.lag(ev.change.Rev.Main)
		return
	}
	s.queue = append(s.queue, entry{to, ev})
	s.bytes += n
}

// lag drops what is queued of revision rev and everything after it. Called under the hub's mutex.
func (s *Stream) lag(rev int64) {
	s.lagFrom = rev
	for n := len(s.queue); n > 0 && s.queue[n-1].ev.change.Rev.Main == rev; n-- {
		s.queue[n-1] = entry{}
		s.queue = s.queue[:n-1]
	}
}

// settle notes that everything up to rev was published. Called under the hub's mutex.
func (s *Stream) settle(rev int64) {
	s.settled = rev
	if len(s.queue) > 0 || s.lagging() {
		s.signal()
	}
}

func (s *Stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sends until ctx ends or sending fails.
func (s *Stream) Run(ctx context.Context) error {
	defer s.close()
	ticker := time.NewTicker(s.cfg.ProgressInterval)
	defer ticker.Stop()
	var last time.Time
	more := false
	for {
		if !more {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-ticker.C:
				if err := s.tick(); err != nil {
					return err
				}
				continue
			case <-s.wake:
			}
			// A stream that sends many responses each time takes up what came in the meantime in one go.
			pace := min(time.Duration(s.responses)*paceResponse, maxPace)
			if wait := pace - time.Since(last); s.responses > 8 && wait > 0 {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(wait):
				}
			}
		} else if err := ctx.Err(); err != nil {
			return err
		}
		last = time.Now()
		s.responses = 0
		var err error
		if more, err = s.Round(); err != nil {
			return err
		}
	}
}

// Round sends what there is to send. more reports that watchers are still behind. Run calls it; whoever drives a stream
// without a goroutine calls it instead of Run.
func (s *Stream) Round() (more bool, err error) {
	s.mu.Lock()
	rev, lag := s.take()
	control, progress := s.control, s.progress
	s.control, s.progress = nil, false
	s.behind, s.arriving = append(s.behind, s.arriving...), nil
	s.space.Broadcast()
	s.mu.Unlock()

	for _, f := range control {
		if err := s.cfg.Send(f); err != nil {
			return false, err
		}
	}
	if err := s.deliver(); err != nil {
		return false, err
	}
	if lag > 0 {
		s.setBack(lag, rev)
	}
	if more, err = s.catchUp(rev); err != nil {
		return false, err
	}
	if progress && s.allSynced(rev) {
		return more, s.cfg.Send(s.response(rev, progressID, 0, payload{}))
	}
	return more, nil
}

// take moves the queue over. It returns the revision up to which everything was either queued or, from revision lag on,
// is to be read from history. Called under mu.
func (s *Stream) take() (rev, lag int64) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.taken, s.queue = s.queue, s.taken[:0]
	s.bytes = 0
	lag, s.lagFrom = s.lagFrom, 0
	return s.settled, lag
}

// setBack makes the watchers at the head read from history what was not queued.
func (s *Stream) setBack(lag, rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers {
		if w.behind || w.dead {
			continue
		}
		w.from = max(w.from, lag)
		if w.from <= rev {
			w.behind = true
			s.behind = append(s.behind, w)
		}
	}
}

// deliver sends the events taken from the queue to the watchers at the head.
func (s *Stream) deliver() error {
	for i, e := range s.taken {
		if s.pending[e.sub] == nil {
			s.touched = append(s.touched, e.sub)
		}
		s.pending[e.sub] = append(s.pending[e.sub], e.ev)
		s.taken[i] = entry{}
	}
	touched := s.touched
	s.touched = s.touched[:0]
	for _, sb := range touched {
		evs := s.pending[sb]
		delete(s.pending, sb)
		if err := s.deliverTo(sb, evs); err != nil {
			return err
		}
	}
	clear(touched)
	return nil
}

// deliverTo sends the same events to all watchers of a range. What most of them are sent is put together once.
func (s *Stream) deliverTo(sb *sub, evs []*Event) error {
	var shared [2][]payload
	s.mu.Lock()
	s.audience = s.audience[:0]
	for _, w := range sb.watchers {
		if !w.behind && !w.dead {
			s.audience = append(s.audience, w)
		}
	}
	s.mu.Unlock()
	for _, w := range s.audience {
		var parts []payload
		if w.from <= evs[0].change.Rev.Main && !w.noPut && !w.noDelete && !w.fragment {
			k := 0
			if w.prior {
				k = 1
			}
			if shared[k] == nil {
				shared[k] = pack(evs, w.prior, 0)
			}
			parts = shared[k]
		} else {
			parts = pack(w.wanted(evs), w.prior, s.fragmentSize(w))
		}
		if err := s.send(w, parts); err != nil {
			return err
		}
	}
	return nil
}

// catchUp takes one step of history for watchers that are behind. Those that have read up to rev are at the head: all
// that comes later is in the queue.
func (s *Stream) catchUp(rev int64) (more bool, err error) {
	s.mu.Lock()
	run := s.behind[:min(len(s.behind), catchUpPerRun)]
	run = append([]*watcher(nil), run...)
	s.behind = append(s.behind[:0], s.behind[len(run):]...)
	s.mu.Unlock()
	for _, w := range run {
		done, err := s.catchUpOne(w, rev)
		if err != nil {
			return false, err
		}
		s.mu.Lock()
		if done {
			w.behind = false
		} else {
			s.behind = append(s.behind, w)
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.behind) > 0, nil
}

func (s *Stream) catchUpOne(w *watcher, rev int64) (done bool, err error) {
	s.mu.Lock()
	gone := w.dead || w.sub == nil
	var r wire.Range
	if !gone {
		r = w.sub.r
	}
	s.mu.Unlock()
	if gone {
		return true, nil
	}
	changes, next, err := s.hub.source.KV().History(r, w.from, rev, catchUpRevs, w.prior)
	if compact := s.hub.source.KV().CompactRev(); w.from < compact {
		s.mu.Lock()
		w.dead = true
		s.mu.Unlock()
		s.responses++
		return true, s.cfg.Send(s.compacted(w.id, compact))
	}
	if err != nil {
		return false, err
	}
	w.from = max(next, w.from)
	if len(changes) > 0 {
		arena := make([]Event, len(changes))
		evs := make([]*Event, len(changes))
		for i := range changes {
			arena[i].change = changes[i]
			evs[i] = &arena[i]
		}
		parts := pack(w.wantedTypes(evs), w.prior, s.fragmentSize(w))
		if n := len(parts); n > 0 && w.from > rev {
			parts[n-1].rev = rev
		}
		if err := s.send(w, parts); err != nil {
			return false, err
		}
	}
	return w.from > rev, nil
}

func (s *Stream) send(w *watcher, parts []payload) error {
	for _, p := range parts {
		w.sent = true
		s.responses++
		if err := s.cfg.Send(s.response(p.rev, w.id, p.flags, p)); err != nil {
			return err
		}
	}
	return nil
}

// tick sends progress to the watchers that asked for it and had nothing else to be told since the last tick.
func (s *Stream) tick() error {
	if _, err := s.Round(); err != nil {
		return err
	}
	s.mu.Lock()
	rev := s.settledRev()
	var ids []int64
	for _, w := range s.watchers {
		if w.notify && !w.sent && w.reached(rev) {
			ids = append(ids, w.id)
		}
		w.sent = false
	}
	// What was published since the round is in the queue: the progress told must not be ahead of it.
	quiet := s.idle()
	if len(s.behind) > 0 {
		s.signal()
	}
	s.mu.Unlock()
	if !quiet {
		return nil
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := s.cfg.Send(s.response(rev, id, 0, payload{})); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stream) settledRev() int64 {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.settled
}

func (s *Stream) idle() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return len(s.queue) == 0 && !s.lagging()
}

// reached says whether the watcher was sent all up to rev and may be told so: one that is to begin later may not.
func (w *watcher) reached(rev int64) bool {
	return !w.behind && !w.dead && w.from <= rev+1 && w.start <= rev
}

func (s *Stream) allSynced(rev int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers {
		// A watcher that was created since counts too: the request came before it, but nothing is lost by refusing.
		if !w.reached(rev) {
			return false
		}
	}
	return len(s.watchers) > 0
}

func (s *Stream) fragmentSize(w *watcher) int {
	if w.fragment {
		return s.cfg.FragmentBytes
	}
	return 0
}

// wanted picks the events a watcher is to see.
func (w *watcher) wanted(evs []*Event) []*Event {
	out := make([]*Event, 0, len(evs))
	for _, e := range evs {
		if e.change.Rev.Main >= w.from {
			out = append(out, e)
		}
	}
	return w.wantedTypes(out)
}

func (w *watcher) wantedTypes(evs []*Event) []*Event {
	if !w.noPut && !w.noDelete {
		return evs
	}
	return slices.DeleteFunc(evs, func(e *Event) bool {
		if e.change.Deleted() {
			return w.noDelete
		}
		return w.noPut
	})
}
