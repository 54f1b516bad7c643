package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// watchConn is one gRPC stream of a watchStream. Its goroutines end when its
// context does; run waits for them in disconnect.
type watchConn struct {
	cancel context.CancelFunc
	sendc  chan *pb.WatchRequest
	done   chan struct{}
	open   bool // owned by run
}

// watchEvent is what a connection reports: opened (neither field set), a
// response, or its end.
type watchEvent struct {
	conn  *watchConn
	resp  *pb.WatchResponse
	err   error
	ended bool
}

// connect starts a connection; its outcome comes as an event.
func (ws *watchStream) connect() {
	ctx, cancel := context.WithCancel(ws.ctx)
	c := &watchConn{cancel: cancel, sendc: make(chan *pb.WatchRequest), done: make(chan struct{})}
	ws.conn = c
	wait, renew := ws.backoff, ws.renew
	go func() {
		defer close(c.done)
		err := ws.serve(ctx, c, wait, renew)
		ws.report(ctx, watchEvent{conn: c, err: err, ended: true})
	}()
}

// disconnect ends the connection, if any, and waits for its goroutines.
func (ws *watchStream) disconnect() {
	if ws.conn == nil {
		return
	}
	ws.conn.cancel()
	<-ws.conn.done
	ws.conn = nil
}

func (ws *watchStream) report(ctx context.Context, ev watchEvent) bool {
	select {
	case ws.events <- ev:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve opens the stream and receives from it until it ends.
func (ws *watchStream) serve(ctx context.Context, c *watchConn, wait time.Duration, renew bool) error {
	if sleep(ctx, wait) != nil {
		return nil
	}
	if renew {
		_, round := ws.w.c.tokens.current()
		if err := ws.w.c.tokens.refresh(ctx, round); err != nil {
			return err
		}
	}
	streamCtx, endStream := context.WithCancel(ctx)
	defer endStream()
	stream, err := ws.w.remote.Watch(streamCtx)
	if err != nil {
		return err
	}
	if !ws.report(ctx, watchEvent{conn: c}) {
		return nil
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		for {
			select {
			case r := <-c.sendc:
				if stream.Send(r) != nil {
					return // Recv tells the reason
				}
			case <-streamCtx.Done():
				return
			}
		}
	})
	defer sender.Wait()
	defer endStream()
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !ws.report(ctx, watchEvent{conn: c, resp: resp}) {
			return nil
		}
	}
}
