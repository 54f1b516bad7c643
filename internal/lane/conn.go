package lane

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// conn is one connection. One goroutine serves it, and while an answer waits another one looks whether the client goes away.
type conn struct {
	net.Conn
	s      *Server
	ctx    context.Context
	cancel context.CancelFunc

	buf     []byte // read and not taken yet
	renewed time.Time
	due     time.Time   // limit of the request that has begun
	busy    atomic.Bool // a request is being answered

	head head
	req  *http.Request
	url  url.URL
	body bytes.Reader
	w    answer

	watched bool // somebody looks whether the client goes away
	left    chan struct{}
	early   [1]byte // what was read while looking
	got     int
}

// firstBuffer is what a connection begins with: most requests are shorter.
const firstBuffer = 512

func newConn(s *Server, nc net.Conn, read []byte) *conn {
	c := &conn{Conn: nc, s: s, buf: make([]byte, 0, max(firstBuffer, len(read)))}
	c.buf = append(c.buf, read...)
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.req = (&http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: nc.RemoteAddr().String(), URL: &c.url,
		Header: http.Header{}}).WithContext(c.ctx)
	if s, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := s.ConnectionState()
		c.req.TLS = &state
	}
	c.w = answer{c: c, header: http.Header{}}
	return c
}

// serve serves requests until the connection is at its end, or sends what has to be passed on.
func (c *conn) serve() (pass bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			c.s.cfg.Logger.Error("a request has caused a panic", "remote-addr", c.req.RemoteAddr, "panic", p, "stack", string(debug.Stack()))
			pass = false
		}
	}()
	for {
		switch parse(c.buf, c.s.cfg.Prefix, &c.head) {
		case foreign:
			return c.SetReadDeadline(time.Time{}) == nil
		case incomplete:
			if c.fill() != nil {
				return false
			}
			continue
		}
		for len(c.buf) < c.head.size+c.head.length {
			if c.fill() != nil {
				return false
			}
			parse(c.buf, c.s.cfg.Prefix, &c.head) // the buffer may have moved
		}
		if !c.answer() || c.s.closing.Load() {
			return false
		}
	}
}

// fill reads more. A client may take its time before a request, and less within one.
func (c *conn) fill() error {
	begun := len(c.buf) > 0
	if now := time.Now(); begun {
		c.renewed = time.Time{}
		if c.due.IsZero() { // one limit for all of the request, however many pieces it comes in
			c.due = now.Add(c.s.requestWithin)
		}
		if err := c.SetReadDeadline(c.due); err != nil {
			return err
		}
	} else if now.Sub(c.renewed) > idleRenewed {
		c.renewed = now
		if err := c.SetReadDeadline(now.Add(idleWithin)); err != nil {
			return err
		}
	}
	if len(c.buf) == cap(c.buf) {
		c.buf = append(make([]byte, 0, 2*cap(c.buf)+firstBuffer), c.buf...)
	}
	if c.s.closing.Load() {
		return net.ErrClosed
	}
	n, err := c.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// interrupt ends a connection that no request has come from whole.
func (c *conn) interrupt() {
	if !c.busy.Load() {
		_ = c.Close()
	}
}

// answer has the request answered that the buffer begins with, and takes it from there.
func (c *conn) answer() bool {
	h, r := &c.head, c.req
	target := string(h.target)
	path, query := target, ""
	for i := range len(target) {
		if target[i] == '?' {
			path, query = target[:i], target[i+1:]
			break
		}
	}
	c.url = url.URL{Path: path, RawQuery: query}
	r.RequestURI, r.Method = target, method(h.method)
	if r.Host != string(h.host) {
		r.Host = string(h.host)
	}
	clear(r.Header)
	if h.contentType != nil {
		r.Header["Content-Type"] = []string{string(h.contentType)}
	}
	if h.authorization != nil {
		r.Header["Authorization"] = []string{string(h.authorization)}
	}
	r.ContentLength = int64(h.length)
	if r.Body = http.NoBody; h.length > 0 {
		c.body.Reset(c.buf[h.size : h.size+h.length])
		r.Body = io.NopCloser(&c.body)
	}
	r.Form, r.PostForm, r.Pattern = nil, nil, ""
	c.due = time.Time{}
	c.busy.Store(true)
	defer c.busy.Store(false)
	c.w.begin()
	c.s.cfg.Handler.ServeHTTP(&c.w, r)
	err := c.w.end()
	if !c.unwatch() || err != nil {
		return false
	}
	left := c.buf[h.size+h.length:]
	if cap(c.buf) > mostKept {
		c.buf = append(make([]byte, 0, max(firstBuffer, len(left))), left...)
	} else {
		c.buf = c.buf[:copy(c.buf, left)]
	}
	if c.got > 0 {
		c.buf = append(c.buf, c.early[0])
		c.got = 0
	}
	return true
}

// method is a method's text without a copy.
func method(b []byte) string {
	for _, m := range methods {
		if string(b) == m {
			return m
		}
	}
	panic("lane: an unknown method") // parse has let it pass
}

// watch looks whether the client goes away while its answer waits. One that sends the next request already is believed to
// be there until it has been answered.
func (c *conn) watch() {
	if c.watched || len(c.buf) > c.head.size+c.head.length {
		return
	}
	c.watched, c.renewed = true, time.Time{}
	c.left = make(chan struct{})
	_ = c.SetReadDeadline(time.Time{})
	go func() {
		defer close(c.left)
		n, err := c.Read(c.early[:])
		c.got = n
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			c.cancel()
		}
	}()
}

// long ago: a limit that has passed.
var longAgo = time.Unix(1, 0)

// unwatch ends the look, and reports whether the client is still there.
func (c *conn) unwatch() bool {
	if !c.watched {
		return true
	}
	c.watched = false
	_ = c.SetReadDeadline(longAgo)
	<-c.left
	return c.ctx.Err() == nil && c.SetReadDeadline(time.Time{}) == nil
}
