package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
)

const (
	// keepAlive is how often TCP asks whether an idle connection lives.
	keepAlive = 30 * time.Second
	// handshakeWithin bounds a TLS handshake behind an HTTP proxy.
	handshakeWithin = 10 * time.Second
	// maxHead bounds the head of an answer, in bytes.
	maxHead = 64 << 10
)

// road is how requests get to peers: over TCP, with TLS or without, or over Unix sockets.
type road struct{ tcp, unix *http.Transport }

// roadConfig tells roads apart.
type roadConfig struct {
	tls         func() *tls.Config // for one connection, nil for what Go does by itself
	dial        time.Duration
	read, write time.Duration // longest time without a byte; 0 for none
	reuse       bool          // keep connections for the next request
	answer      time.Duration // from the end of a request to the head of its answer; 0 for any
	readBuffer  int
}

func newRoad(c roadConfig) *road {
	dialer := &net.Dialer{Timeout: c.dial, KeepAlive: keepAlive}
	transport := func(network string) *http.Transport {
		dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &timedConn{Conn: conn, read: c.read, write: c.write}, nil
		}
		t := &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dial,
			TLSHandshakeTimeout: handshakeWithin, ResponseHeaderTimeout: c.answer,
			MaxIdleConnsPerHost: -1, DisableCompression: true, ReadBufferSize: c.readBuffer, MaxResponseHeaderBytes: maxHead,
		}
		if c.tls != nil {
			t.DialTLSContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return tlsfiles.Secure(ctx, conn, c.tls(), addr)
			}
			t.TLSClientConfig = c.tls() // behind an HTTP proxy
			t.TLSClientConfig.NextProtos = []string{"http/1.1"}
		}
		if c.reuse {
			t.MaxIdleConnsPerHost, t.IdleConnTimeout = postWorkers, time.Minute
		}
		return t
	}
	r := &road{tcp: transport("tcp"), unix: transport("unix")}
	r.unix.Proxy = nil
	return r
}

// RoundTrip sends a request. The scheme unix stands for http over a socket whose name is the host, unixs for https.
func (r *road) RoundTrip(req *http.Request) (*http.Response, error) {
	scheme, found := strings.CutPrefix(req.URL.Scheme, "unix")
	if !found {
		return r.tcp.RoundTrip(req)
	}
	req = req.Clone(req.Context())
	req.URL.Scheme = "http" + scheme
	return r.unix.RoundTrip(req)
}

func (r *road) close() {
	r.tcp.CloseIdleConnections()
	r.unix.CloseIdleConnections()
}

// timedConn fails when it has waited too long for a byte. Deadlines are moved on once in a fifth of the time, because
// each move costs as much as a small write: the time that is left is never below four fifths.
type timedConn struct {
	net.Conn
	read, write      time.Duration
	reading, writing time.Time // when the deadlines were set
}

func (c *timedConn) Read(b []byte) (int, error) {
	if c.read > 0 {
		if now := time.Now(); now.Sub(c.reading) > c.read/5 {
			c.reading = now
			if err := c.SetReadDeadline(now.Add(c.read)); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Read(b)
}

func (c *timedConn) Write(b []byte) (int, error) {
	if c.write > 0 {
		if now := time.Now(); now.Sub(c.writing) > c.write/5 {
			c.writing = now
			if err := c.SetWriteDeadline(now.Add(c.write)); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Write(b)
}

// refused reports whether an error says that nobody listens, or that who did has just gone.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist) // of a socket's file
}

// closed reports whether an error is the regular end of a connection, for which nobody is to blame.
func closed(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) }

// at is a URL with a path.
func at(u *url.URL, path string) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}).String()
}
