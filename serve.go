package cairn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cairn-kv/cairn/internal/gateway"
	"github.com/cairn-kv/cairn/internal/v3rpc"
)

// serving is the listeners of a member: each takes gRPC and HTTP/1 on one port.
type serving struct {
	listeners []net.Listener // of clients
	metrics   []net.Listener
	http      *http.Server
	scrapes   *http.Server // of the metrics listeners
	gateway   *gateway.Gateway
	wg        sync.WaitGroup
	once      sync.Once
	done      chan struct{}
	err       error
}

// listen binds the addresses of the URLs.
func listen(urls []url.URL) ([]net.Listener, error) {
	var out []net.Listener
	for _, u := range urls {
		network, addr := "tcp", u.Host
		switch u.Scheme {
		case "http":
		case "unix":
			network, addr = "unix", u.Host+u.Path
			_ = os.Remove(addr)
		default:
			closeAll(out)
			return nil, fmt.Errorf("cairn: cannot listen on %s: scheme %q is not supported", u.String(), u.Scheme)
		}
		l, err := net.Listen(network, addr)
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("cairn: cannot listen on %s: %w", u.String(), err)
		}
		out = append(out, l)
	}
	return out, nil
}

// readHeaderWithin bounds how long a client may take to send the head of a request.
const readHeaderWithin = 5 * time.Minute

// serve takes the listeners over.
func (s *Server) serve(listeners, metrics []net.Listener) error {
	w, err := s.web()
	if err != nil {
		closeAll(append(listeners, metrics...))
		return err
	}
	sv := &serving{listeners: listeners, metrics: metrics, gateway: w.gateway, done: make(chan struct{}),
		http:    &http.Server{Handler: w.clients, ReadHeaderTimeout: readHeaderWithin},
		scrapes: &http.Server{Handler: w.metrics, ReadHeaderTimeout: readHeaderWithin}}
	s.serving = sv
	for _, l := range listeners {
		split := newSplitter(l)
		s.log.Info("serving client traffic insecurely; this is strongly discouraged!", "traffic", "grpc+http", "address", l.Addr().String())
		sv.run(func() error { return s.rpc.Serve(split.grpc) })
		sv.run(func() error { return sv.http.Serve(split.http) })
		sv.run(split.run)
	}
	for _, l := range metrics {
		s.log.Info("serving metrics", "address", l.Addr().String())
		sv.run(func() error { return sv.scrapes.Serve(l) })
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
		sv.once.Do(func() {
			sv.err = err
			close(sv.done)
		})
	}()
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
	if sv.gateway != nil {
		sv.gateway.Close() // its calls would keep both servers waiting
	}
	rpc.Shutdown(ctx)
	for _, h := range []*http.Server{sv.http, sv.scrapes} {
		_ = h.Shutdown(ctx)
		_ = h.Close()
	}
	sv.wg.Wait()
}

// splitter hands the connections of one listener to gRPC or to HTTP/1, by their first bytes.
type splitter struct {
	net.Listener
	grpc, http *queueListener
}

const (
	preface     = "PRI * HTTP/2.0"
	sniffBytes  = 3 // enough to tell the preface from every HTTP/1 method
	sniffWithin = 10 * time.Second
	acceptQueue = 128
)

func newSplitter(l net.Listener) *splitter {
	return &splitter{l, newQueueListener(l.Addr()), newQueueListener(l.Addr())}
}

func (s *splitter) run() error {
	defer s.grpc.Close()
	defer s.http.Close()
	for {
		c, err := s.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) {
				time.Sleep(10 * time.Millisecond) // out of file descriptors: some will come back
				continue
			}
			return err
		}
		go s.sniff(c)
	}
}

func (s *splitter) sniff(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(sniffWithin))
	r := bufio.NewReaderSize(c, 16)
	b, err := r.Peek(sniffBytes)
	if err != nil {
		_ = c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	head, _ := r.Peek(r.Buffered())
	conn := &sniffed{Conn: c, head: append([]byte(nil), head...)}
	if string(b) == preface[:sniffBytes] {
		s.grpc.give(conn)
	} else {
		s.http.give(conn)
	}
}

// sniffed is a connection whose first bytes were read already.
type sniffed struct {
	net.Conn
	head []byte
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
