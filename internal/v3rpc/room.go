package v3rpc

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	// defaultAnswerBytes bounds the memory of large answers that are on their way to clients. Records from 16 KiB on are
	// not counted: they are sent from where the database has them.
	defaultAnswerBytes = 256 << 20
	// smallAnswer is up to where an answer goes out at once.
	smallAnswer = 1 << 20
	// asJSON is how many times its bytes an answer takes while the gateway translates it: the message as it came, decoded,
	// and as text in a buffer that grows.
	asJSON = 5

	// While others wait, a client must take leastRate bytes a second, on average over graceToRead or longer. One that does not
	// loses its connection: what has been handed to gRPC can be taken back in no other way.
	graceToRead = 10 * time.Second
	leastRate   = 256 << 10
	lookEvery   = time.Second
)

// room is the memory that large answers share. Who finds it taken waits in turn, for as long as the call lives.
type room struct {
	sem  *semaphore.Weighted
	size int64

	mu    sync.Mutex
	held  map[*hold]struct{}
	calls map[string][]*hold // of the gateway, which says when it has done with them
}

func newRoom(size int64) *room {
	if size <= 0 {
		size = defaultAnswerBytes
	}
	return &room{sem: semaphore.NewWeighted(size), size: size, held: map[*hold]struct{}{}, calls: map[string][]*hold{}}
}

// hold is the part of an answer. It is given back as the answer goes out, or when the gateway's call ends.
type hold struct {
	room  *room
	left  int64
	sent  int64     // since the last look
	since time.Time // that look, or the beginning
	whole bool      // it is given back at once, not as chunks are sent
	abort func()    // nil if the client cannot be cut off, or was
	over  func()    // nobody need tell any more that the connection has ended; nil if nobody would
}

// need is what is taken for n bytes of an answer: all there is, if that is less.
func (r *room) need(ctx context.Context, n int64) int64 {
	if _, gateway := source(ctx); gateway {
		n *= asJSON
	}
	return min(n, r.size)
}

// try takes room if there is some and nobody waits for it; else it returns nil.
func (r *room) try(ctx context.Context, n int64) *hold {
	n = r.need(ctx, n)
	if !r.sem.TryAcquire(n) {
		return nil
	}
	return r.hold(ctx, n)
}

// take waits for room.
func (r *room) take(ctx context.Context, n int64) (*hold, error) {
	n = r.need(ctx, n)
	waited := make(chan struct{})
	go r.look(waited)
	err := r.sem.Acquire(ctx, n)
	close(waited)
	if err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return r.hold(ctx, n), nil
}

// look ends slow clients for as long as somebody waits.
func (r *room) look(waited <-chan struct{}) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-waited:
			return
		case now := <-t.C:
			r.endSlow(now)
		}
	}
}

func (r *room) hold(ctx context.Context, n int64) *hold {
	call := gatewayCall(ctx)
	h := &hold{room: r, left: n, since: time.Now()}
	r.mu.Lock()
	r.held[h] = struct{}{}
	if hs, open := r.calls[call]; open { // else its client has left, and it ends when the answer is thrown away
		h.whole = true
		r.calls[call] = append(hs, h)
	}
	r.mu.Unlock()
	if p, ok := peer.FromContext(ctx); ok {
		if l, ok := p.Addr.(connection); ok {
			over := l.OnEnd(h.release) // gRPC does not free what it has not sent when a connection ends
			r.mu.Lock()
			h.abort, h.over = l.Abort, over
			r.mu.Unlock()
		}
	}
	return h
}

// connection is what a client's address may know of its connection.
type connection interface {
	// Abort ends it.
	Abort()
	// OnEnd has a function called when it has ended, unless that is forgotten before.
	OnEnd(func()) (forget func())
}

// CallKey is the metadata key under which the gateway names a call, so that it can say when it has ended. As with AddressKey, the
// last value counts, and only through memory.
const CallKey = "cairn-call"

func gatewayCall(ctx context.Context) string {
	if _, gateway := source(ctx); !gateway {
		return ""
	}
	if v := metadata.ValueFromIncomingContext(ctx, CallKey); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// CallBegan tells that the gateway is about to make a call.
func (s *Server) CallBegan(call string) {
	r := s.gate.answers
	r.mu.Lock()
	r.calls[call] = nil
	r.mu.Unlock()
}

// CallEnded tells that nothing is left of the answer to a call of the gateway.
func (s *Server) CallEnded(call string) {
	r := s.gate.answers
	r.mu.Lock()
	hs := r.calls[call]
	delete(r.calls, call)
	r.mu.Unlock()
	for _, h := range hs {
		h.release()
	}
}

// endSlow ends the connections of those who keep others waiting and take next to nothing.
func (r *room) endSlow(now time.Time) {
	var aborts []func()
	r.mu.Lock()
	for h := range r.held {
		waited := now.Sub(h.since)
		if h.abort == nil || waited < graceToRead {
			continue
		}
		if h.sent < leastRate*int64(waited/time.Second) {
			aborts = append(aborts, h.abort)
			h.abort = nil
		}
		h.since, h.sent = now, 0
	}
	r.mu.Unlock()
	for _, f := range aborts {
		f()
	}
}

// Sent implements wire.Holder: a chunk has gone out, or never will.
func (h *hold) Sent(n int, last bool) {
	r := h.room
	r.mu.Lock()
	h.sent += int64(n)
	give := min(int64(n), h.left)
	if last {
		give = h.left
	}
	if h.whole {
		give = 0
	}
	h.left -= give
	over := h.over
	if last && !h.whole {
		delete(r.held, h)
	} else {
		over = nil
	}
	r.mu.Unlock()
	if over != nil {
		over()
	}
	if give > 0 {
		r.sem.Release(give)
	}
}

// release gives back all that is left.
func (h *hold) release() {
	r := h.room
	r.mu.Lock()
	give := h.left
	h.left = 0
	delete(r.held, h)
	over := h.over
	r.mu.Unlock()
	if over != nil {
		over()
	}
	if give > 0 {
		r.sem.Release(give)
	}
}

// perSlot is what a record takes in the list of an answer's records.
const perSlot = 16

// recordsRoom is about what an answer of records takes beside the database.
func recordsRoom(kvs []wire.KV) (n int64) {
	for _, kv := range kvs {
		n += perSlot
		if len(kv) < wire.ByReference {
			n += int64(len(kv)) + perRecord
		}
	}
	return n
}

func resultRoom(res *mvcc.Result) int64 {
	if res.Strip == mvcc.StripValueAndLease { // keys and numbers; the records themselves are not copied
		n := int64(0)
		for _, kv := range res.KVs {
			n += perSlot + int64(kv.StrippedSize()) + perRecord
		}
		return n
	}
	return recordsRoom(res.KVs)
}

func txnRoom(t *machine.TxnResult) (n int64) {
	for i := range t.Ops {
		op := &t.Ops[i]
		n += recordsRoom(op.PrevKVs)
		if op.Range != nil {
			n += resultRoom(op.Range)
		}
		if op.Txn != nil {
			n += txnRoom(op.Txn)
		}
		if len(op.Prev) < wire.ByReference {
			n += int64(len(op.Prev))
		}
	}
	return n
}

// roomFor takes room for an answer of n bytes, if it is a large one.
func (c *core) roomFor(ctx context.Context, n int64) (*hold, error) {
	if n <= smallAnswer {
		return nil, nil
	}
	return c.answers.take(ctx, n)
}

// end gives back what was taken for an answer that turns out to be an error.
func (h *hold) end(err error) error {
	if h != nil {
		h.release()
	}
	return err
}

// held gives a frame its room, which goes back as the frame is sent.
func held(f *wire.Frame, h *hold) *wire.Frame {
	if h != nil {
		f.Holder = h
	}
	return f
}
