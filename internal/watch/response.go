package watch

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/wire"
)

// payload is the events of one response, encoded, and what the response says beside them.
type payload struct {
	bufs  [][]byte
	size  int
	rev   int64 // of the last event
	flags flags
}

type flags uint8

const (
	flagCreated flags = 1 << iota
	flagCanceled
	flagFragment
)

const (
	copyBelow   = 4 << 10 // events smaller than this are copied together, larger ones go by reference
	splitAround = 1 << 20 // several revisions are not put into one response beyond this size
)

// pack encodes events into as few responses as is reasonable. A revision is only divided if fragment is not 0 and the
// response would reach that size.
func pack(evs []*Event, prior bool, fragment int) (out []payload) {
	for len(evs) > 0 {
		size, n := 0, 0
		for n < len(evs) {
			m := n
			for m < len(evs) && evs[m].change.Rev.Main == evs[n].change.Rev.Main {
				size += len(evs[m].encoding(prior))
				m++
			}
			n = m
			if size >= splitAround {
				break
			}
		}
		if fragment > 0 && size >= fragment && n > 1 {
			out = append(out, fragments(evs[:n], prior, fragment)...)
		} else {
			out = append(out, join(evs[:n], prior, size))
		}
		evs = evs[n:]
	}
	return out
}

func fragments(evs []*Event, prior bool, limit int) (out []payload) {
	rev := evs[len(evs)-1].change.Rev.Main
	for len(evs) > 0 {
		size, n := len(evs[0].encoding(prior)), 1
		for n < len(evs) && size+len(evs[n].encoding(prior)) < limit {
			size += len(evs[n].encoding(prior))
			n++
		}
		p := join(evs[:n], prior, size)
		p.rev = rev
		if evs = evs[n:]; len(evs) > 0 {
			p.flags = flagFragment
		}
		out = append(out, p)
	}
	return out
}

func join(evs []*Event, prior bool, size int) payload {
	p := payload{size: size, rev: evs[len(evs)-1].change.Rev.Main}
	var run []byte
	for _, e := range evs {
		b := e.encoding(prior)
		if len(evs) == 1 || len(b) >= copyBelow {
			if len(run) > 0 {
				p.bufs = append(p.bufs, run)
				run = nil
			}
			p.bufs = append(p.bufs, b)
			continue
		}
		if cap(run)-len(run) < len(b) {
			if len(run) > 0 {
				p.bufs = append(p.bufs, run)
			}
			run = make([]byte, 0, min(max(size, len(b)), 64<<10))
		}
		run = append(run, b...)
		size -= len(b)
	}
	if len(run) > 0 {
		p.bufs = append(p.bufs, run)
	}
	return p
}

// Field numbers of WatchResponse.
const (
	respHeader     = 1
	respWatchID    = 2
	respCreated    = 3
	respCanceled   = 4
	respCompactRev = 5
	respReason     = 6
	respFragment   = 7
)

const (
	headRoom    = 64       // bytes that a response without events takes at most
	copyPayload = 512      // events up to this size are copied behind each watcher's head: one buffer costs less than two
	arenaSize   = 32 << 10 // bytes of responses that are allocated together
)

// response makes the response to one watcher. Round alone calls it.
func (s *Stream) response(rev, id int64, f flags, p payload) *wire.Frame {
	n := headRoom
	if p.size <= copyPayload {
		n += p.size
	}
	if cap(s.arena)-len(s.arena) < n {
		s.arena = make([]byte, 0, arenaSize)
	}
	start := len(s.arena)
	b := s.appendHead(s.arena[start:start:start+n], rev, id, f)
	fr := &struct {
		wire.Frame
		bufs [2][]byte
	}{}
	fr.Bufs = fr.bufs[:0]
	if p.size > copyPayload {
		fr.Add(b)
		for _, x := range p.bufs {
			fr.Add(x)
		}
	} else {
		for _, x := range p.bufs {
			b = append(b, x...)
		}
		fr.Add(b)
	}
	s.arena = s.arena[:start+len(b)]
	return &fr.Frame
}

func (s *Stream) head(rev, id int64, f flags) []byte {
	return s.appendHead(make([]byte, 0, headRoom), rev, id, f)
}

func (s *Stream) appendHead(b []byte, rev, id int64, f flags) []byte {
	b = wire.AppendHeader(b, respHeader, wire.Header{ClusterID: s.cfg.ClusterID, MemberID: s.cfg.MemberID, Revision: rev, Term: s.cfg.Term()})
	b = wire.AppendUint(b, respWatchID, uint64(id))
	for _, x := range []struct {
		flag  flags
		field protowire.Number
	}{{flagCreated, respCreated}, {flagCanceled, respCanceled}, {flagFragment, respFragment}} {
		if f&x.flag != 0 {
			b = wire.AppendUint(b, x.field, 1)
		}
	}
	return b
}

func (s *Stream) frame(b []byte) *wire.Frame {
	f := &wire.Frame{}
	f.Add(b)
	return f
}

func (s *Stream) created(rev, id int64) *wire.Frame { return s.frame(s.head(rev, id, flagCreated)) }

func (s *Stream) canceled(rev, id int64) *wire.Frame { return s.frame(s.head(rev, id, flagCanceled)) }

// refusal answers a create that is not possible: created and canceled at once, as clients expect it.
func (s *Stream) refusal(rev int64, reason string) *wire.Frame {
	return s.frame(wire.AppendString(s.head(rev, refusedID, flagCreated|flagCanceled), respReason, reason))
}

// compacted ends a watcher that needs revisions which are gone. Its header shows no revision.
func (s *Stream) compacted(id, compactRev int64) *wire.Frame {
	return s.frame(wire.AppendUint(s.head(0, id, flagCanceled), respCompactRev, uint64(compactRev)))
}
