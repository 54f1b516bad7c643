package cairn

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-kv/cairn/internal/gateway"
	"github.com/cairn-kv/cairn/internal/lane"
	"github.com/cairn-kv/cairn/internal/v2http"
	"github.com/cairn-kv/cairn/internal/v3rpc"
)

// serving is the listeners of a member: each takes gRPC and HTTP/1 on one port.
type serving struct {
	listeners []*entrance // of clients
	metrics   []*entrance
	http      *webServer
	lanes     []*lane.Server // of the same connections, for what is plain
	scrapes   *webServer     // of the metrics listeners
	gateway   *gateway.Gateway
	endWaits  func() // of those who wait for changes over HTTP
	wg        sync.WaitGroup
	once      sync.Once
	done      chan struct{}
	err       error
}

// serve takes the listeners over.
func (s *Server) serve(listeners, metrics []*entrance) error {
	w, err := s.web()
	if err != nil {
		closeAll(append(listeners, metrics...))
		return err
	}
	sv := &serving{listeners: listeners, metrics: metrics, gateway: w.gateway, done: make(chan struct{}),
		http: newWebServer(w.clients, s.log), scrapes: newWebServer(w.metrics, s.log)}
	sv.endWaits = func() { s.host.Paths().Reset(s.host.Tree().Index) }
	s.serving = sv
	for _, l := range listeners {
		split := newSplitter(l)
		if w.keys != nil {
			split.lane = lane.New(lane.Config{Prefix: v2http.KeysPath, Handler: w.keys, Logger: s.log, Pass: func(c net.Conn, read []byte) {
				split.http.give(withHead(c, read))
			}})
			sv.lanes = append(sv.lanes, split.lane)
		}
		if l.plain {
			s.log.Info("serving client traffic insecurely; this is strongly discouraged!", "traffic", "grpc+http", "address", l.Addr().String())
		}
		if l.secure != nil {
			s.log.Info("serving client traffic securely", "traffic", "grpc+http", "address", l.Addr().String())
		}
		sv.run(func() error { return s.rpc.Serve(split.grpc) })
		sv.run(func() error { return sv.http.Serve(split.http) })
		sv.run(split.run)
	}
	for _, l := range metrics {
		s.log.Info("serving metrics", "address", l.Addr().String())
		sv.run(func() error { return l.feed(sv.scrapes) })
	}
	if w.gateway != nil {
		sv.run(func() error { return s.rpc.Serve(w.gateway.Listener()) })
	}
	return nil
}

func (sv *serving) run(f func() error) {
	sv.wg.Add(1)
	go func() {
		defer sv.wg.Done()
		err := f()
		if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
			return
		}
		sv.end(err)
	}()
}

// end tells that serving is over, and why; nil stands for a member that is none any more.
func (sv *serving) end(err error) {
	sv.once.Do(func() {
		sv.err = err
		close(sv.done)
	})
}

func (sv *serving) addrs() (out []net.Addr) {
	for _, l := range sv.listeners {
		out = append(out, l.Addr())
	}
	return out
}

func (sv *serving) stop(rpc *v3rpc.Server, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	closeAll(sv.listeners)
	closeAll(sv.metrics)
	rpc.EndStreams() // those of the gateway as well
	sv.endWaits()
	for _, l := range sv.lanes {
		l.Shutdown(ctx)
	}
	for _, h := range []*webServer{sv.http, sv.scrapes} {
		h.shutdown(ctx)
	}
	if sv.gateway != nil {
		sv.gateway.Close() // WebSockets, and what has outstayed its time
	}
	rpc.Shutdown(ctx)
	sv.wg.Wait()
}

// splitter hands the connections of one listener to gRPC or to HTTP/1, by their first bytes.
type splitter struct {
	*entrance
	grpc, http *queueListener
	lane       *lane.Server // nil if there is none
}

const (
	preface     = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHead   = 9
	sniffBytes  = 3   // enough to tell the preface from every HTTP/1 method
	sniffBuffer = 512 // holds the preface and the settings of every client
	sniffWithin = 10 * time.Second
	acceptQueue = 128
)

func newSplitter(e *entrance) *splitter {
	return &splitter{entrance: e, grpc: newQueueListener(e.Addr()), http: newQueueListener(e.Addr())}
}

func (s *splitter) run() error {
	defer s.grpc.Close()
	defer s.http.Close()
	return s.entrance.run(s.sniff)
}

// sniff finds out where a connection goes.
func (s *splitter) sniff(c net.Conn) (func(), error) {
	if err := c.SetReadDeadline(time.Now().Add(sniffWithin)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(c, sniffBuffer)
	b, err := r.Peek(sniffBytes)
	http2 := err == nil && string(b) == preface[:sniffBytes]
	if http2 {
		err = awaitSettings(r)
	}
	if err != nil {
		return nil, err
	}
	head, _ := r.Peek(r.Buffered())
	to := func() { s.http.give(withHead(c, head)) }
	switch {
	case http2:
		to = func() { s.grpc.give(withLife(withHead(c, head))) }
	case s.lane != nil:
		to = func() { s.lane.Serve(c, head) }
	}
	return to, c.SetReadDeadline(time.Time{})
}

// awaitSettings waits for the first frame of an HTTP/2 client. A gRPC server neither stops nor stops gracefully while
// it waits for one.
func awaitSettings(r *bufio.Reader) error {
	b, err := r.Peek(len(preface) + frameHead)
	if err != nil {
		return err
	}
	length := int(b[len(preface)])<<16 | int(b[len(preface)+1])<<8 | int(b[len(preface)+2])
	if all := len(preface) + frameHead + length; all <= sniffBuffer {
		_, err = r.Peek(all)
		return err
	}
	return errors.New("cairn: the first frame is no settings frame")
}

// sniffed is a connection whose first bytes were read already.
type sniffed struct {
	net.Conn
	head []byte
}

// sniffedTLS tells servers who is at the other side.
type sniffedTLS struct {
	sniffed
	state tls.ConnectionState
}

func (c *sniffedTLS) ConnectionState() tls.ConnectionState { return c.state }

// withHead is a connection of which head was read already.
func withHead(c net.Conn, head []byte) net.Conn {
	s := sniffed{Conn: c, head: bytes.Clone(head)}
	if t, ok := c.(*tls.Conn); ok {
		return &sniffedTLS{s, t.ConnectionState()}
	}
	return &s
}

// CloseWrite lets net/http answer who is still sending, before it closes.
func (c *sniffed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *sniffed) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// queueListener is a listener that is fed with connections.
type queueListener struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	quit  chan struct{}
}

func newQueueListener(a net.Addr) *queueListener {
	return &queueListener{addr: a, conns: make(chan net.Conn, acceptQueue), quit: make(chan struct{})}
}

func (l *queueListener) give(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.quit:
		_ = c.Close()
	}
}

func (l *queueListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

func (l *queueListener) Close() error {
	l.once.Do(func() { close(l.quit) })
	return nil
}

func (l *queueListener) Addr() net.Addr { return l.addr }

// peerServing is the listeners that other members connect to.
type peerServing struct {
	http     *webServer
	handler  atomic.Pointer[http.Handler] // nil while the member starts
	stopping atomic.Bool
	wg       sync.WaitGroup
	ls       []*entrance
}

// servePeers takes the listeners over. Until others are let in they are told that this member is starting: members that are
// started together would wait for each other's answers.
func (s *Server) servePeers(ls []*entrance) {
	p := &peerServing{ls: ls}
	p.http = newWebServer(p, s.log)
	s.peerServing = p
	for _, l := range ls {
		msg := "serving peer traffic"
		if l.plain {
			msg = "serving peer traffic insecurely"
		}
		s.log.Info(msg, "address", l.Addr().String())
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			if err := l.feed(p.http); !p.stopping.Load() {
				s.log.Error("serving peers has ended", "address", l.Addr().String(), "error", err.Error())
			}
		}()
	}
}

// letIn serves other members from now on. They are served before clients are: members need each other to get ready.
func (p *peerServing) letIn(h http.Handler) { p.handler.Store(&h) }

func (p *peerServing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := p.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.Error(w, "the member is starting", http.StatusServiceUnavailable)
}

// stop ends what peers are being told. The transport has ended its streams before.
func (p *peerServing) stop() error {
	p.stopping.Store(true)
	closeAll(p.ls)
	err := p.http.Close()
	p.wg.Wait()
	return err
}

// PeerAddrs are the addresses that other members are served on.
func (s *Server) PeerAddrs() (out []net.Addr) {
	for _, l := range s.peerServing.ls {
		out = append(out, l.Addr())
	}
	return out
}
