package watch

import (
	"cmp"

	"slices"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Create is a request for a watcher (v3-grpc.md section 14.1).
type Create struct {
	Range                      wire.Range
	StartRevision              int64
	ID                         int64 // 0 lets the stream choose
	NoPut, NoDelete            bool
	PrevKV, Fragment, Progress bool
	Refused                    string // why the request was refused already, "" if it was not
}

// Reasons for refusing a watcher.
const (
	ReasonEmptyRange  = "mvcc: watcher range is empty"
	ReasonDuplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
	ReasonTooMany     = "cairn: too many watchers on the WatchStream"
	progressID        = -1
	refusedID         = -1
)

// Create adds a watcher, or queues a refusal. It waits while too many answers are waiting to be sent.
func (s *Stream) Create(c Create) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.room() {
		return
	}
	defer s.signal()
	if c.Refused == "" && c.StartRevision < 0 {
		c.Refused = wire.ErrCompacted.Error()
	}
	if c.Refused == "" && c.Range.Empty() {
		c.Refused = ReasonEmptyRange
	}
	if c.ID != 0 && c.Refused == "" && s.watchers[c.ID] != nil {
		c.Refused = ReasonDuplicateID
	}
	if c.Refused == "" && len(s.watchers) >= cmp.Or(s.cfg.MaxWatchers, mostWatchers) {
		c.Refused = ReasonTooMany
	}
	if c.Refused != "" {
		s.control = append(s.control, s.refusal(s.settledRev(), c.Refused))
		return
	}
	w := &watcher{id: c.ID, noPut: c.NoPut, noDelete: c.NoDelete, prior: c.PrevKV, fragment: c.Fragment, notify: c.Progress}
	if w.id == 0 {
		for s.watchers[s.nextID] != nil {
			s.nextID++
		}
		w.id = s.nextID
		s.nextID++
	}
	h := s.hub
	h.mu.Lock()
	sb := s.subs[c.Range]
	if sb == nil {
		sb = &sub{stream: s, r: c.Range}
		s.subs[c.Range] = sb
		h.subscribe(sb)
	}
	rev := h.rev
	h.mu.Unlock()
	w.sub = sb
	sb.watchers = append(sb.watchers, w)
	s.watchers[w.id] = w
	w.start, w.from = c.StartRevision, c.StartRevision
	if w.from == 0 {
		w.from = rev + 1
	}
	if w.from <= rev {
		w.behind = true
		s.arriving = append(s.arriving, w)
	}
	s.control = append(s.control, s.created(rev, w.id))
}

// Cancel ends a watcher. An unknown one is passed over.
func (s *Stream) Cancel(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watchers[id]
	if w == nil || !s.room() {
		return
	}
	delete(s.watchers, id)
	w.dead = true
	sb := w.sub
	sb.watchers = slices.DeleteFunc(sb.watchers, func(x *watcher) bool { return x == w })
	if len(sb.watchers) == 0 {
		delete(s.subs, sb.r)
		s.hub.mu.Lock()
		s.hub.unsubscribe(sb)
		s.hub.mu.Unlock()
	}
	s.control = append(s.control, s.canceled(s.settledRev(), id))
	s.signal()
}

// Progress asks for a notification once all watchers are at the head; it is dropped if they are not.
func (s *Stream) Progress() {
	s.mu.Lock()
	s.progress = true
	s.mu.Unlock()
	s.signal()
}

// room waits for space among the control answers and reports whether the stream still runs. Called under mu.
func (s *Stream) room() bool {
	for len(s.control) >= maxControl && !s.ended {
		s.space.Wait()
	}
	return !s.ended
}

// close takes the stream off the hub.
func (s *Stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.space.Broadcast()
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, sb := range s.subs {
		h.unsubscribe(sb)
	}
	delete(h.streams, s)
	s.queue = nil
}

func (s *Stream) stats() (watchers, slow, pending int) {
	s.mu.Lock()
	watchers, slow = len(s.watchers), len(s.behind)
	s.mu.Unlock()
	s.hub.mu.Lock()
	pending = len(s.queue)
	s.hub.mu.Unlock()
	return watchers, slow, pending
}
