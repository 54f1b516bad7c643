package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	EventTypePut    = mvccpb.Event_PUT
	EventTypeDelete = mvccpb.Event_DELETE

	// AutoWatchID lets the server number a watch; InvalidWatchID marks
	// responses that belong to a whole stream.
	AutoWatchID    = 0
	InvalidWatchID = -1
)

// Event is one change of one key.
type Event = mvccpb.Event

// WatchChan delivers the responses of one watch. It is closed at the end of the
// watch; a watch that the server ended delivers a response with Canceled first.
type WatchChan <-chan WatchResponse

// WatchResponse is one step of a watch.
type WatchResponse struct {
	Header *pb.ResponseHeader
	Events []*Event

	// CompactRevision is set when the watch cannot go on because history it
	// needs is gone: restart from there after reading the state again.
	CompactRevision int64
	// Canceled marks the last response of a watch.
	Canceled bool
	// Created marks the response of WithCreatedNotify.
	Created bool
	// CancelReason is the server's word on why it ended the watch.
	CancelReason string

	closeErr error
}

// Err is why the watch ended, nil while it goes on.
func (r *WatchResponse) Err() error {
	switch {
	case r.closeErr != nil:
		return apiError(r.closeErr)
	case r.CompactRevision != 0:
		return rpctypes.ErrCompacted
	case r.Canceled && r.CancelReason != "":
		return reasonError(r.CancelReason)
	case r.Canceled:
		return rpctypes.ErrFutureRev
	}
	return nil
}

// IsProgressNotify says whether the response only tells how far the watch is.
func (r *WatchResponse) IsProgressNotify() bool {
	return len(r.Events) == 0 && !r.Canceled && !r.Created && r.CompactRevision == 0 && r.Header.GetRevision() != 0
}

// reasonError gives a cancel reason the shape of an error. Servers put whole
// statuses into the text; what is known inside is mapped to its API error.
func reasonError(reason string) error {
	desc := reason
	if rest, ok := strings.CutPrefix(reason, "rpc error: code = "); ok {
		if _, d, ok := strings.Cut(rest, " desc = "); ok {
			desc = d
		}
	}
	if err := apiError(errors.New(desc)); err.Error() == desc {
		if _, known := errors.AsType[rpctypes.EtcdError](err); known {
			return err
		}
	}
	return status.Error(codes.FailedPrecondition, reason)
}

// Watcher watches keys.
type Watcher interface {
	// Watch follows a key, or a range with WithPrefix, WithRange or
	// WithFromKey, from WithRev or from now on. It returns when the server has
	// confirmed, so that no later change is missed, or when ctx ends. A broken
	// connection is resumed without the reader noticing. End the watch by
	// cancelling ctx; nothing else stops it on this side but Close.
	Watch(ctx context.Context, key string, opts ...OpOption) WatchChan
	// RequestProgress asks the server how far the watches of ctx's stream are;
	// the answer comes on their channels.
	RequestProgress(ctx context.Context) error
	// Close ends all watches and closes their channels.
	Close() error
}

// watcher hands watches to streams. Watches whose contexts carry the same
// outgoing metadata share one.
type watcher struct {
	remote pb.WatchClient
	c      *Client

	ctx    context.Context // ends with Close or with the client
	cancel context.CancelFunc

	mu      sync.Mutex
	streams map[string]*watchStream
}

// NewWatcher makes the watch part of a client.
func NewWatcher(c *Client) Watcher { return NewWatchFromWatchClient(pb.NewWatchClient(c.conn), c) }

// NewWatchFromWatchClient makes a Watcher over a given remote.
func NewWatchFromWatchClient(remote pb.WatchClient, c *Client) Watcher {
	if c == nil {
		c = NewCtxClient(context.Background())
	}
	w := &watcher{remote: remote, c: c, streams: make(map[string]*watchStream)}
	w.ctx, w.cancel = context.WithCancel(c.ctx)
	return w
}

func (w *watcher) Watch(ctx context.Context, key string, opts ...OpOption) WatchChan {
	sub := newSub(ctx, OpWatch(key, opts...), w.c.cfg.WatchBufferBytes, w.ctx.Done())
	for {
		ws := w.stream(ctx)
		if ws == nil { // closed
			sub.end(nil)
			break
		}
		sub.ws = ws
		select {
		case ws.subc <- sub:
		case <-ws.done: // ended between lookup and now
			continue
		case <-ctx.Done():
			sub.end(nil)
		}
		break
	}
	sub.start()
	select {
	case <-sub.settled:
	case <-ctx.Done():
	}
	return sub.out
}

func (w *watcher) RequestProgress(ctx context.Context) error {
	for {
		ws := w.stream(ctx)
		if ws == nil {
			return ErrWatcherClosed
		}
		select {
		case ws.progressc <- struct{}{}:
			return nil
		case <-ws.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream finds or starts the stream for ctx, nil after Close.
func (w *watcher) stream(ctx context.Context) *watchStream {
	key := streamKey(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return nil
	}
	if ws := w.streams[key]; ws != nil {
		return ws
	}
	ws := newWatchStream(w, key, ctx)
	w.streams[key] = ws
	go ws.run()
	return ws
}

// forget is called by a stream that ends, before it closes done.
func (w *watcher) forget(ws *watchStream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.streams[ws.key] == ws {
		delete(w.streams, ws.key)
	}
}

func (w *watcher) Close() error {
	w.mu.Lock()
	w.cancel()
	streams := slices.Collect(maps.Values(w.streams))
	w.mu.Unlock()
	for _, ws := range streams {
		<-ws.done
	}
	return nil
}

// streamKey is a canonical text of the outgoing metadata of ctx.
func streamKey(ctx context.Context) string {
	md, _ := metadata.FromOutgoingContext(ctx)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(md)) {
		fmt.Fprintf(&b, "%q=%q;", name, md[name])
	}
	return b.String()
}
