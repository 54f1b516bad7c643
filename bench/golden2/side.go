package golden2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/cairn-kv/cairn/bench/process"
)

const (
	startLimit = 60 * time.Second
	callLimit  = 20 * time.Second
)

// side is one of the two servers with one connection to it. Requests are written as bytes: an HTTP client would put their
// odd paths and methods right.
type side struct {
	server *process.Server
	from   string // the address to ask from; "" for any
	conn   net.Conn
	in     *bufio.Reader
}

func startSide(p process.Program, dir string, args ...string) (*side, error) {
	sv, err := process.New(p, filepath.Join(dir, string(p.Kind)), append([]string{"--enable-v2"}, args...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return &side{server: sv}, sv.Start(ctx)
}

func (s *side) stop() error {
	s.hangUp()
	return s.server.Stop()
}

func (s *side) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

func dial(addr, from string) (net.Conn, *bufio.Reader, error) {
	d := net.Dialer{Timeout: callLimit}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	return c, bufio.NewReader(c), nil
}

// answer is what a server gave for one request.
type answer struct {
	status int
	head   http.Header
	body   string
	length int64 // as declared; -1 if it was not
}

func (a *answer) String() string {
	return fmt.Sprintf("%d %v %s", a.status, a.head, cut(a.body))
}

// cut keeps what a person can read.
func cut(s string) string {
	const most = 2000
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s ... (%d bytes)", s[:most], len(s))
}

// do sends a request and waits for the whole answer. A server may have closed a connection that was idle, or that
// had an error on it: then it is asked on a new one.
func (s *side) do(q *request) (*answer, error) {
	for {
		fresh := s.conn == nil
		if fresh {
			var err error
			if s.conn, s.in, err = dial(s.server.Addr, s.from); err != nil {
				return nil, err
			}
		}
		a, err := s.ask(q)
		if err == nil {
			return a, nil
		}
		s.hangUp()
		if fresh || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
			return nil, fmt.Errorf("%s: %w", s.server.Program.Kind, err)
		}
	}
}

func isReset(err error) bool {
	var e *net.OpError
	return errors.As(err, &e) && !e.Timeout()
}

func (s *side) ask(q *request) (*answer, error) {
	if err := s.conn.SetDeadline(time.Now().Add(callLimit)); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(q.bytes()); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(s.in, &http.Request{Method: q.method})
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.Close {
		s.hangUp()
	}
	return &answer{status: resp.StatusCode, head: resp.Header, body: string(b), length: resp.ContentLength}, nil
}

// pair are the two servers that are compared.
type pair struct{ etcd, cairn *side }

// do asks both at the same time.
func (p *pair) do(q *request) (etcd, cairn *answer, err error) {
	got := make(chan error, 1)
	go func() {
		var err error
		etcd, err = p.etcd.do(q)
		got <- err
	}()
	cairn, err = p.cairn.do(q)
	return etcd, cairn, errors.Join(<-got, err)
}
