package client

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// sub is one watch. Its stream's goroutine owns the fields of the first group;
// the queue is shared with the sub's own goroutine, which feeds the reader.
type sub struct {
	ctx     context.Context
	op      Op
	out     chan WatchResponse
	settled chan struct{} // closed once created or ended

	id      int64 // the server's number, valid while active
	created bool  // the server confirmed it at least once
	parked  bool  // not on the server until the reader caught up
	next    int64 // revision to go on from, 0 before the first creation
	floor   int64 // events below it were delivered before
	partial *pb.WatchResponse

	removed bool // its reader left while the creation was in flight
	renewed bool // a refused token was replaced for it since it last worked

	settle  sync.Once
	maxSize int
	closing <-chan struct{} // closed by Watcher.Close: do not wait for the reader
	ws      *watchStream    // set before either goroutine knows the sub

	mu      sync.Mutex
	queue   []WatchResponse
	sizes   []int
	size    int
	ended   bool          // nothing is queued any more
	waiting bool          // the stream wants to know when the queue is empty
	kick    chan struct{} // one element: the queue changed
}

func newSub(ctx context.Context, op Op, maxSize int, closing <-chan struct{}) *sub {
	return &sub{
		ctx: ctx, op: op, maxSize: maxSize, closing: closing,
		id: InvalidWatchID, next: op.rev, floor: op.rev,
		out: make(chan WatchResponse, 1), settled: make(chan struct{}),
		kick: make(chan struct{}, 1),
	}
}

// start runs the goroutine that feeds the reader. It ends when ctx does, when
// the stream is closed, or when the queue of an ended sub has been read.
func (s *sub) start() { go s.deliver() }

func (s *sub) deliver() {
	defer close(s.out)
	defer s.markSettled()
	for {
		head, have, caught, ended := s.pop()
		if caught {
			s.tell(s.ws.caught)
		}
		if !have {
			if ended {
				return
			}
			select {
			case <-s.kick:
				continue
			case <-s.ctx.Done():
				s.tell(s.ws.gone)
				return
			case <-s.closing:
				return
			}
		}
		select {
		case s.out <- head:
		case <-s.ctx.Done():
			s.tell(s.ws.gone)
			return
		case <-s.closing:
			return
		}
	}
}

// pop takes the head of the queue, and says whether the stream waits for it to
// be empty now, and whether nothing will follow.
func (s *sub) pop() (head WatchResponse, have, caught, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		caught, s.waiting = s.waiting, false
		return head, false, caught, s.ended
	}
	head, s.queue[0] = s.queue[0], WatchResponse{}
	s.size -= s.sizes[0]
	s.queue, s.sizes = s.queue[1:], s.sizes[1:]
	return head, true, false, s.ended
}

// tell passes the sub to its stream, unless that has ended.
func (s *sub) tell(c chan<- *sub) {
	select {
	case c <- s:
	case <-s.ws.done:
	case <-s.closing:
	}
}

// park asks for word through ws.caught when the queue is empty. It says no when
// it already is.
func (s *sub) park() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = len(s.queue) > 0
	return s.waiting
}

// push queues a response and says whether the queue is within its bound.
func (s *sub) push(r WatchResponse) bool {
	if r.Header == nil {
		r.Header = &pb.ResponseHeader{}
	}
	size := 64
	for _, ev := range r.Events {
		size += proto.Size(ev)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return true
	}
	s.queue = append(s.queue, r)
	s.sizes = append(s.sizes, size)
	s.size += size
	s.poke()
	return s.size <= s.maxSize
}

// poke wakes the delivering goroutine. The caller holds s.mu.
func (s *sub) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// end queues a last response, if any, after which the channel is closed.
func (s *sub) end(last *WatchResponse) {
	if last != nil {
		s.push(*last)
	}
	s.mu.Lock()
	s.ended = true
	s.poke()
	s.mu.Unlock()
}

func (s *sub) markSettled() { s.settle.Do(func() { close(s.settled) }) }

// accept books one complete response of the server and queues what the reader
// has not seen. It says whether the queue is within its bound.
func (s *sub) accept(resp *pb.WatchResponse) bool {
	events := resp.Events
	for len(events) > 0 && events[0].GetKv().GetModRevision() < s.floor {
		events = events[1:]
	}
	if len(resp.Events) > 0 && len(events) == 0 {
		return true
	}
	if n := len(events); n > 0 {
		s.next = max(s.next, events[n-1].GetKv().GetModRevision()+1)
	} else if resp.Header.GetRevision() > 0 {
		s.next = max(s.next, resp.Header.GetRevision()+1)
	}
	return s.push(WatchResponse{Header: resp.Header, Events: events})
}

// join merges fragments: it returns nil until the last one has come.
func (s *sub) join(resp *pb.WatchResponse) *pb.WatchResponse {
	if s.partial != nil {
		s.partial.Events = append(s.partial.Events, resp.Events...)
		s.partial.Fragment = resp.Fragment
		resp = s.partial
	}
	if resp.Fragment {
		s.partial = resp
		return nil
	}
	s.partial = nil
	return resp
}

// request is what creates the watch on the server at its present position.
func (s *sub) request() *pb.WatchRequest {
	r := &pb.WatchCreateRequest{
		Key: s.op.key, RangeEnd: s.op.end, StartRevision: s.next,
		ProgressNotify: s.op.progressNotify, PrevKv: s.op.prevKV, Fragment: s.op.fragment,
	}
	if s.op.filterPut {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NOPUT)
	}
	if s.op.filterDelete {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NODELETE)
	}
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}
