package cairn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
)

const (
	// handshakeWithin bounds how long a connection may take to become one of TLS.
	handshakeWithin = 10 * time.Second
	// dismissWithin and dismissBytes bound what is read of those who are not let in.
	dismissWithin = 500 * time.Millisecond
	dismissBytes  = 16 << 10
	// handshakeRecord is the first byte of a connection that begins with TLS.
	handshakeRecord = 0x16
)

// entrance accepts the connections of one address, and secures those that come with TLS. It may let in both kinds, when its
// address has URLs of both.
type entrance struct {
	net.Listener
	plain  bool
	secure *tls.Config // nil if nothing is secured

	mu      sync.Mutex
	pending map[net.Conn]struct{} // connections that are not let in yet
	closed  bool
	wg      sync.WaitGroup
}

// listen binds the addresses of the URLs. Those of https and unixs are secured by the source, for clients that speak one of
// the protocols, the first of those they offer.
func listen(urls []url.URL, secrets *tlsfiles.Source, protocols ...string) ([]*entrance, error) {
	var out []*entrance
	bound := map[string]*entrance{}
	for _, u := range urls {
		network, addr := "tcp", u.Host
		if !isTCP(u) {
			network, addr = "unix", u.Host+u.Path
		}
		e := bound[network+addr]
		if e == nil {
			l, err := bind(network, addr)
			if err != nil {
				closeAll(out)
				return nil, fmt.Errorf("cairn: cannot listen on %s: %w", u.String(), err)
			}
			e = &entrance{Listener: l, pending: map[net.Conn]struct{}{}}
			bound[network+addr] = e
			out = append(out, e)
		}
		if isSecure(u) {
			e.secure = secrets.Server(protocols...)
		} else {
			e.plain = true
		}
	}
	return out, nil
}

// bind listens on an address. A socket that a process has left behind in the file system makes room.
func bind(network, addr string) (net.Listener, error) {
	if fi, err := os.Lstat(addr); network == "unix" && err == nil {
		if fi.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s is there and is no socket", addr)
		}
		c, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s: %w", addr, syscall.EADDRINUSE)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(addr)
		}
	}
	return net.Listen(network, addr)
}

// URL is the address as one that clients can be told.
func (e *entrance) URL() string {
	scheme := "http"
	if e.Addr().Network() == "unix" {
		scheme = "unix"
	}
	switch {
	case e.plain:
	case scheme == "unix":
		scheme = "unixs"
	default:
		scheme = "https"
	}
	return scheme + "://" + e.Addr().String()
}

// run lets connections in until the entrance is closed. Each is looked at in a goroutine of its own, by look once it is
// secured, and goes where look sends it.
func (e *entrance) run(look func(net.Conn) (to func(), err error)) error {
	defer e.wg.Wait()
	for {
		c, err := e.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) {
				time.Sleep(10 * time.Millisecond) // out of file descriptors: some will come back
				continue
			}
			return err
		}
		if !e.begin(c) {
			_ = c.Close()
			continue
		}
		go func() {
			to, err := e.admit(c, look)
			if err != nil {
				dismiss(c)
			}
			e.end(c)
			if err == nil {
				to()
			}
		}()
	}
}

// dismiss closes a connection that is not let in. What it was told, such as that a certificate is wanted, would be lost with what it
// has sent meanwhile and nobody has read: so that is read for a moment.
func dismiss(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(dismissWithin)) == nil {
		_, _ = io.CopyN(io.Discard, c, dismissBytes)
	}
	_ = c.Close()
}

// feed lets connections in for a web server.
func (e *entrance) feed(w *webServer) error {
	q := newQueueListener(e.Addr())
	done := make(chan error, 1)
	go func() { done <- w.Serve(q) }()
	err := e.run(func(c net.Conn) (func(), error) { return func() { q.give(c) }, nil })
	_ = q.Close()
	return errors.Join(err, <-done)
}

func (e *entrance) begin(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.pending[c] = struct{}{}
	e.wg.Add(1)
	return true
}

func (e *entrance) end(c net.Conn) {
	e.mu.Lock()
	delete(e.pending, c)
	e.mu.Unlock()
	e.wg.Done()
}

// Close closes the address, and the connections that are not let in yet.
func (e *entrance) Close() error {
	e.mu.Lock()
	e.closed = true
	for c := range e.pending {
		_ = c.Close()
	}
	e.mu.Unlock()
	return e.Listener.Close()
}

func (e *entrance) admit(c net.Conn, look func(net.Conn) (func(), error)) (func(), error) {
	s, err := e.secured(c)
	if err != nil {
		return nil, err
	}
	return look(s)
}

// secured is a connection with TLS, if it has to have it.
func (e *entrance) secured(c net.Conn) (net.Conn, error) {
	if e.secure == nil {
		return c, nil
	}
	if err := c.SetDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return nil, err
	}
	if e.plain {
		r := bufio.NewReaderSize(c, sniffBuffer)
		first, err := r.Peek(1)
		if err != nil {
			return nil, err
		}
		head, _ := r.Peek(r.Buffered())
		c = &sniffed{Conn: c, head: head}
		if first[0] != handshakeRecord {
			return c, c.SetDeadline(time.Time{})
		}
	}
	s := tls.Server(c, e.secure)
	if err := s.HandshakeContext(context.Background()); err != nil {
		return nil, err
	}
	return s, c.SetDeadline(time.Time{})
}
