package client

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	watchIdle         = 10 * time.Second // life of a stream nobody ever used
	watchFirstBackoff = 2 * time.Millisecond
	watchMaxBackoff   = 100 * time.Millisecond
)

// watchStream is the watches that share one gRPC stream. Its goroutine (run)
// owns every field below and is the only one to decide; around it work, per
// connection, one goroutine that receives and one that sends (watchconn.go), and
// one per watch that feeds the reader (watchsub.go). None of them makes run
// wait, so a slow reader or server never holds up another watch.
//
// A watch is pending (to be created), in creation (one at a time, so that the
// answer needs no matching), active, or parked (its reader is slow: the server
// has forgotten it and it will be created again at its next revision). When the
// connection breaks, all but the parked ones become pending.
type watchStream struct {
	w      *watcher
	key    string
	ctx    context.Context
	cancel context.CancelFunc
	unhook func() bool // detaches ctx from the watcher's
	done   chan struct{}

	subc      chan *sub
	progressc chan struct{}
	gone      chan *sub
	caught    chan *sub
	events    chan watchEvent

	subs     map[*sub]bool
	pending  []*sub
	creating *sub
	active   map[int64]*sub
	dropped  map[int64]bool // ids cancelled here whose last word is awaited
	outbox   []*pb.WatchRequest
	conn     *watchConn
	backoff  time.Duration
	renew    bool // fetch a token before connecting
	used     bool // had a watch at least once
}

func newWatchStream(w *watcher, key string, caller context.Context) *watchStream {
	ws := &watchStream{
		w: w, key: key, done: make(chan struct{}),
		subc: make(chan *sub), progressc: make(chan struct{}),
		gone: make(chan *sub), caught: make(chan *sub), events: make(chan watchEvent),
		subs: make(map[*sub]bool), active: make(map[int64]*sub), dropped: make(map[int64]bool),
	}
	// The stream outlives the call that opened it, but keeps its values.
	ws.ctx, ws.cancel = context.WithCancel(context.WithoutCancel(caller))
	ws.unhook = context.AfterFunc(w.ctx, ws.cancel)
	return ws
}

func (ws *watchStream) run() {
	defer close(ws.done)
	defer ws.w.forget(ws)
	defer ws.disconnect()
	defer ws.cancel()
	defer ws.unhook()
	idle := time.NewTimer(watchIdle)
	defer idle.Stop()
	for {
		var sendc chan<- *pb.WatchRequest
		var head *pb.WatchRequest
		if ws.conn != nil && ws.conn.open && len(ws.outbox) > 0 {
			sendc, head = ws.conn.sendc, ws.outbox[0]
		}
		select {
		case s := <-ws.subc:
			ws.subs[s], ws.used = true, true
			ws.pending = append(ws.pending, s)
		case <-ws.progressc:
			ws.requestProgress()
		case s := <-ws.gone:
			ws.remove(s)
		case s := <-ws.caught:
			if s.parked {
				s.parked = false
				ws.pending = append(ws.pending, s)
			}
		case sendc <- head:
			ws.outbox = ws.outbox[1:]
		case ev := <-ws.events:
			if ws.handle(ev); ws.ctx.Err() != nil {
				return
			}
		case <-idle.C:
			if !ws.used {
				return
			}
		case <-ws.ctx.Done():
			for s := range ws.subs {
				s.end(nil)
			}
			return
		}
		if len(ws.subs) == 0 && ws.used {
			return
		}
		ws.proceed()
	}
}

// proceed connects when there is something to create, and creates the next.
func (ws *watchStream) proceed() {
	if ws.conn == nil {
		if len(ws.pending) > 0 {
			ws.connect()
		}
		return
	}
	if ws.conn.open && ws.creating == nil && len(ws.pending) > 0 {
		ws.creating, ws.pending = ws.pending[0], ws.pending[1:]
		ws.outbox = append(ws.outbox, ws.creating.request())
	}
}

// remove forgets a watch whose reader left.
func (ws *watchStream) remove(s *sub) {
	if !ws.subs[s] {
		return
	}
	delete(ws.subs, s)
	s.removed = true
	if i := slices.Index(ws.pending, s); i >= 0 {
		ws.pending = slices.Delete(ws.pending, i, i+1)
	}
	ws.deactivate(s)
}

// finish ends a watch with a last response for its reader.
func (ws *watchStream) finish(s *sub, last WatchResponse) {
	delete(ws.subs, s)
	s.end(&last)
	s.markSettled()
}

// deactivate tells the server to forget an active watch.
func (ws *watchStream) deactivate(s *sub) {
	if ws.active[s.id] != s {
		return
	}
	delete(ws.active, s.id)
	ws.cancelID(s.id)
	s.id, s.partial = InvalidWatchID, nil
}

func (ws *watchStream) cancelID(id int64) {
	if ws.dropped[id] {
		return
	}
	ws.dropped[id] = true
	ws.outbox = append(ws.outbox, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
		CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (ws *watchStream) requestProgress() {
	if ws.conn == nil || len(ws.active) == 0 {
		return // the server answers for active watches only
	}
	for _, r := range ws.outbox {
		if r.GetProgressRequest() != nil {
			return
		}
	}
	ws.outbox = append(ws.outbox, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
		ProgressRequest: &pb.WatchProgressRequest{}}})
}

// handle takes one event of the connection.
func (ws *watchStream) handle(ev watchEvent) {
	switch {
	case ev.conn != ws.conn: // of a connection given up
	case ev.err != nil || ev.ended:
		ws.broken(ev.err)
	case ev.resp != nil:
		ws.backoff, ws.renew = 0, false
		ws.receive(ev.resp)
	default:
		ws.conn.open = true
	}
}

// receive sorts one response to its watch.
func (ws *watchStream) receive(resp *pb.WatchResponse) {
	switch {
	case resp.Created:
		ws.createdOrRefused(resp)
		return
	case resp.WatchId == InvalidWatchID:
		for _, s := range ws.active {
			ws.deliver(s, resp)
		}
		return
	}
	s := ws.active[resp.WatchId]
	switch {
	case s == nil:
		if resp.Canceled {
			delete(ws.dropped, resp.WatchId)
		} else {
			ws.cancelID(resp.WatchId)
		}
	case resp.CompactRevision != 0 || resp.Canceled:
		ws.deactivate(s)
		if resp.CompactRevision == 0 {
			delete(ws.dropped, resp.WatchId)
		}
		ws.finish(s, WatchResponse{
			Header: resp.Header, CompactRevision: resp.CompactRevision,
			Canceled: true, CancelReason: resp.CancelReason,
		})
	default:
		if whole := s.join(resp); whole != nil {
			ws.deliver(s, whole)
		}
	}
}

// deliver queues a response, and parks a watch whose reader is too slow.
func (ws *watchStream) deliver(s *sub, resp *pb.WatchResponse) {
	if s.accept(resp) {
		return
	}
	ws.deactivate(s)
	if s.parked = s.park(); !s.parked {
		ws.pending = append(ws.pending, s)
	}
	ws.w.c.log.Info("watch parked: its reader is slow", "key", string(s.op.key), "next", s.next)
}

func (ws *watchStream) createdOrRefused(resp *pb.WatchResponse) {
	s := ws.creating
	ws.creating = nil
	switch {
	case s == nil || s.removed:
		if !resp.Canceled {
			ws.cancelID(resp.WatchId)
		}
	case resp.Canceled:
		ws.refused(s, resp)
	default:
		if s.next == 0 {
			s.next = resp.Header.GetRevision() + 1
		}
		s.id, s.floor, s.renewed = resp.WatchId, s.next, false
		ws.active[s.id] = s
		delete(ws.dropped, s.id)
		if !s.created && s.op.createdOnce {
			s.push(WatchResponse{Header: resp.Header, Created: true})
		}
		s.created = true
		s.markSettled()
	}
}

// refused ends a watch the server would not create; when its token was the
// reason the stream is opened again with a new one, once.
func (ws *watchStream) refused(s *sub, resp *pb.WatchResponse) {
	if err := reasonError(resp.CancelReason); ws.w.c.tokens.refused(err) && !s.renewed {
		s.renewed = true
		ws.pending = append([]*sub{s}, ws.pending...)
		ws.reset()
		ws.renew = true
		return
	}
	ws.finish(s, WatchResponse{
		Header: resp.Header, CompactRevision: resp.CompactRevision,
		Canceled: true, CancelReason: resp.CancelReason,
	})
}

// reset gives the connection up and makes every watch on it pending.
func (ws *watchStream) reset() {
	ws.disconnect()
	if s := ws.creating; s != nil && !s.removed {
		ws.pending = append(ws.pending, s)
	}
	for _, s := range ws.active {
		ws.pending = append(ws.pending, s)
	}
	for _, s := range ws.pending {
		s.id, s.partial = InvalidWatchID, nil
	}
	ws.creating, ws.outbox = nil, nil
	clear(ws.active)
	clear(ws.dropped)
}

// broken decides after the connection failed: resume, or end all watches.
func (ws *watchStream) broken(err error) {
	ws.reset()
	switch {
	case ws.ctx.Err() != nil:
		return
	case ws.w.c.tokens.refused(err) && !ws.renew:
		ws.renew = true
	case isMessage(err, rpctypes.ErrGRPCNoLeader) || isHalt(ws.ctx, err):
		for s := range ws.subs {
			ws.finish(s, WatchResponse{Canceled: true, closeErr: apiError(err)})
		}
		ws.pending = nil
		ws.cancel()
		return
	}
	ws.backoff = min(max(2*ws.backoff, watchFirstBackoff), watchMaxBackoff)
	ws.w.c.log.Debug("watch stream broke, resuming", "error", err, "watches", len(ws.subs))
}
