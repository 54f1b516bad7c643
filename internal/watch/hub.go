// Package watch fans applied changes out to watch streams.
//
// The hub appends a reference to each change to the bounded queue of every stream that has a watcher for its key, and
// waits for nobody: a stream whose queue is full is marked as lagging from that revision on and reads the rest from
// history when it can. A change is encoded once for all its watchers.
//
// Watch must never know who a client is or how an answer travels: a stream hands finished frames to a function.
package watch

import (
	"sync"

	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Source gives a stream the state that it reads history from.
type Source interface {
	KV() mvcc.View
}

const (
	queueEntries = 4096     // changes that wait for one stream
	queueBytes   = 16 << 20 // and the size of their records
	// bigRevision is from how many changes in one revision on streams read it from history. It is below queueEntries.
	bigRevision = 2048
)

// Hub knows which streams watch which keys. Publish is called by the apply queue; everything else by the streams.
type Hub struct {
	source  Source
	entries int // queueEntries; tests make it small
	big     int

	mu      sync.Mutex
	rev     int64
	keys    map[string][]*sub
	ranges  rangeIndex
	streams map[*Stream]struct{}
}

// NewHub makes a hub at a revision.
func NewHub(source Source, rev int64) *Hub {
	return &Hub{source: source, entries: queueEntries, big: bigRevision, rev: rev, keys: map[string][]*sub{}, streams: map[*Stream]struct{}{}}
}

// sub is one stream's interest in one range; all its watchers of that range share it.
type sub struct {
	stream   *Stream
	r        wire.Range
	watchers []*watcher // guarded by the stream's mutex
}

// Rev is the revision up to which changes were published.
func (h *Hub) Rev() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rev
}

// Publish hands on what was applied, up to revision rev.
func (h *Hub) Publish(rev int64, changes []wire.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rev <= h.rev {
		return
	}
	h.rev = rev
	if len(h.streams) == 0 {
		return
	}
	if len(h.keys) > 0 || h.ranges.len() > 0 {
		for len(changes) > 0 {
			n := 1
			for n < len(changes) && changes[n].Rev.Main == changes[0].Rev.Main {
				n++
			}
			h.revision(changes[:n])
			changes = changes[n:]
		}
	}
	for s := range h.streams {
		s.settle(rev)
	}
}

// revision hands on the changes of one revision. A stream takes all of a revision or none of it.
func (h *Hub) revision(changes []wire.Change) {
	big := len(changes) > h.big
	for i := range changes {
		c := &changes[i]
		key := c.KV.Key()
		var ev *Event
		push := func(s *sub) {
			if s.stream.lagging() {
				return
			}
			if big {
				s.stream.lag(c.Rev.Main)
				return
			}
			if ev == nil {
				ev = &Event{change: *c}
			}
			s.stream.push(s, ev)
		}
		for _, s := range h.keys[key] {
			push(s)
		}
		h.ranges.each(key, push)
	}
}

func (h *Hub) subscribe(s *sub) {
	if key, ok := s.r.Single(); ok {
		h.keys[key] = append(h.keys[key], s)
		return
	}
	h.ranges.add(s)
}

func (h *Hub) unsubscribe(s *sub) {
	key, ok := s.r.Single()
	if !ok {
		h.ranges.remove(s)
		return
	}
	subs := h.keys[key]
	for i := range subs {
		if subs[i] == s {
			subs[i] = subs[len(subs)-1]
			subs[len(subs)-1] = nil
			subs = subs[:len(subs)-1]
			break
		}
	}
	if len(subs) == 0 {
		delete(h.keys, key)
	} else {
		h.keys[key] = subs
	}
}

// Stats counts what the hub knows, for metrics.
type Stats struct{ Streams, Watchers, Slow, Pending int }

// Stats returns the hub's present numbers.
func (h *Hub) Stats() (st Stats) {
	h.mu.Lock()
	streams := make([]*Stream, 0, len(h.streams))
	for s := range h.streams {
		streams = append(streams, s)
	}
	h.mu.Unlock()
	st.Streams = len(streams)
	for _, s := range streams {
		w, slow, pending := s.stats()
		st.Watchers += w
		st.Slow += slow
		st.Pending += pending
	}
	return st
}

// Jump tells that the state was replaced by one at a later revision. What lies between was not published: streams read
// it from history, as far as it goes back.
func (h *Hub) Jump(rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rev <= h.rev {
		return
	}
	for s := range h.streams {
		if !s.lagging() {
			s.lag(h.rev + 1)
		}
	}
	h.rev = rev
	for s := range h.streams {
		s.settle(rev)
	}
}
