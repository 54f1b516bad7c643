// Package lane serves plain HTTP/1.1 requests for little processor time. It takes those of a known method with a plain
// target, plain headers and a short body. With the first one that is anything else, its connection goes on to another
// server, with every byte that was read.
//
// It must never guess: a request is understood in full, or passed on untouched. It knows nothing of what is served.
package lane

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	mostHead = 4 << 10  // bytes of a request's head; a longer one is passed on
	mostBody = 64 << 10 // bytes of a request's body; a longer one is passed on
	mostKept = 16 << 10 // bytes of a buffer that a connection keeps between requests

	idleWithin    = 5 * time.Minute  // for the next request
	idleRenewed   = time.Minute      // how old the limit for the next request may get before it is renewed
	requestWithin = 30 * time.Second // for the rest of a request that has begun
)

// Config says what is served.
type Config struct {
	Prefix  string // of the paths that are taken
	Handler http.Handler
	// Pass takes a connection over that sends something else, with what was read of it.
	Pass   func(c net.Conn, read []byte)
	Logger *slog.Logger
}

// Server serves connections that it is given.
type Server struct {
	cfg     Config
	ctx     context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex
	conns   map[*conn]struct{}
	wg      sync.WaitGroup
	closing atomic.Bool

	requestWithin time.Duration
	date          atomic.Pointer[stamp]
}

// New makes a server. Shutdown ends it.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, conns: map[*conn]struct{}{}, requestWithin: requestWithin}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve serves a connection until it ends or is passed on. read is what was read of it before.
func (s *Server) Serve(nc net.Conn, read []byte) {
	c := newConn(s, nc, read)
	if !s.add(c) {
		_ = nc.Close()
		return
	}
	passed := c.serve()
	s.remove(c)
	if passed {
		s.cfg.Pass(nc, c.buf)
		return
	}
	_ = nc.Close()
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.cancel()
	s.wg.Done()
}

// Shutdown lets requests under way end until the context does, and ends connections.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing.Store(true)
	for c := range s.conns {
		c.interrupt()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.cancel()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		<-done
	}
	s.cancel()
}

// stamp is the value of a Date header for one second.
type stamp struct {
	second int64
	text   string
}

func (s *Server) now(t time.Time) string {
	if d := s.date.Load(); d != nil && d.second == t.Unix() {
		return d.text
	}
	d := &stamp{t.Unix(), t.UTC().Format(http.TimeFormat)}
	s.date.Store(d)
	return d.text
}
