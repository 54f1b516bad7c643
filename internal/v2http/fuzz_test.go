package v2http

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/lane"
)

// fuzzMethods are what the first byte of an input stands for; beyond them the input is all that is sent.
var fuzzMethods = []string{"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"}

// lastRequest ends a connection, so that its answers are known to be complete.
const lastRequest = "GET /v2/machines HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

const patience = 20 * time.Second

// FuzzConnection sends any bytes to two members: to one through the lane, as servers do, to the other through net/http
// alone. Both give the same answers and end with the same state, JSON is JSON, and who may not write has not written.
func FuzzConnection(f *testing.F) {
	form := "Content-Type: application/x-www-form-urlencoded\r\n"
	for _, q := range []struct{ method, target, head, body string }{
		{"GET", "/v2/keys/a", "", ""}, {"GET", "/v2/keys/?recursive=true&sorted=true", "Accept: */*\r\n", ""}, {"GET", "/v2/keys/a?wait=true&waitIndex=4", "", ""},
		{"GET", "/v2/keys/d?quorum=true", "", ""}, {"GET", "/v2/keys/none", "", ""}, {"GET", "/v2/keys/%61//../d/", "", ""}, {"GET", "/v2/keys/_hidden/x?recursive=x", "", ""},
		{"PUT", "/v2/keys/a", form, "value=x&ttl=5"}, {"PUT", "/v2/keys/a?prevValue=1&noValueOnSuccess=true", form, "value=%zz"}, {"PUT", "/v2/keys/a", form, "refresh=true&ttl=9&prevExist=true"},
		{"PUT", "/v2/keys/n?dir=true", form, "ttl="}, {"PUT", "/v2/keys/a?prevIndex=5&prevExist=false", form, "value=9;x"}, {"PUT", "/v2/keys/a?ttl=99999999999999", "", "value=1"},
		{"POST", "/v2/keys/q", form, "value=1"}, {"POST", "/v2/keys/a", "Content-Type: multipart/form-data; boundary=b\r\n", "--b\r\nContent-Disposition: form-data; name=\"value\"\r\n\r\n1\r\n--b--\r\n"},
		{"DELETE", "/v2/keys/a?prevValue=1", "", ""}, {"DELETE", "/v2/keys/d?dir=true", "", ""}, {"DELETE", "/v2/keys/d?recursive=true", "", ""}, {"DELETE", "/v2/keys/", "", ""},
		{"HEAD", "/v2/keys/a", "", ""}, {"OPTIONS", "/v2/keys/a", "Origin: http://x\r\n", ""}, {"PATCH", "/v2/keys/a", "", ""},
		{"GET", "/v2/members", "", ""}, {"POST", "/v2/members", "Content-Type: application/json\r\n", `{"peerURLs":["http://b:1"]}`}, {"PUT", "/v2/members/a1", "Content-Type: application/json\r\n", `{"peerURLs":["http://b:1"]}`},
		{"DELETE", "/v2/members/a1", "", ""}, {"GET", "/v2/members/leader", "", ""}, {"GET", "/v2/stats/store", "", ""}, {"GET", "/v2/stats/self", "", ""}, {"GET", "/v2/machines", "", ""},
		{"PUT", "/v2/auth/users/ann", "Content-Type: application/json\r\n", `{"user":"ann","password":"p","roles":["guest"]}`}, {"PUT", "/v2/auth/roles/r", "", `{"role":"r","permissions":{"kv":{"read":["/*"],"write":["/d/*"]}}}`},
		{"PUT", "/v2/auth/enable", "", ""}, {"DELETE", "/v2/auth/enable", "Authorization: Basic cm9vdDpw\r\n", ""}, {"GET", "/v2/auth/users", "", ""}, {"GET", "/v2/auth/roles/guest", "Authorization: Basic cm9vdDpw\r\n", ""},
		{"PUT", "/v2/auth/roles/guest", "Authorization: Basic cm9vdDpw\r\n", `{"role":"guest","grant":{"kv":{"read":["/a"],"write":[]}}}`},
		{"GET", "/health", "", ""}, {"GET", "/version", "", ""}, {"PUT", "/config/local/log", "", `{"Level":"DEBUG"}`},
	} {
		for i, m := range fuzzMethods {
			if m == q.method {
				f.Add(byte(i), q.target, q.head, q.body, false)
				f.Add(byte(i), q.target, q.head, q.body, true)
			}
		}
	}
	chunked := "PUT /v2/keys/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n7\r\nvalue=1\r\n0\r\n\r\n"
	plain := "PUT /v2/keys/p HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nvalue=1"
	f.Add(byte(255), plain, plain, chunked, false)
	f.Add(byte(255), "GET http://h/v2/keys/a HTTP/1.0\r\n\r\n", "GET /v2/keys/a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", plain[:60], true)

	l, err := net.Listen("unix", filepath.Join(f.TempDir(), "s"))
	require.NoError(f, err)
	f.Cleanup(func() { _ = l.Close() })
	f.Fuzz(func(t *testing.T, method byte, target, head, body string, protected bool) {
		sent := target + head + body
		if int(method) < len(fuzzMethods) {
			sent = fuzzMethods[method] + " " + target + " HTTP/1.1\r\nHost: h\r\n" + head
			if body != "" {
				sent += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
			}
			sent += "\r\n" + body
		}
		sides := [2]*fuzzSide{newFuzzSide(t, l, true, protected), newFuzzSide(t, l, false, protected)}
		before := sides[0].content()
		var answers [2][]byte
		for i, s := range sides {
			answers[i] = s.talk(sent + lastRequest)
		}
		for _, s := range sides {
			s.end()
		}
		if protected && !bytes.Contains(bytes.ToLower([]byte(sent)), []byte("authorization")) {
			require.Equal(t, before, sides[0].content(), "nobody in particular has changed something")
		}
		// Answers that wait depend on when the client leaves, and these pages on when they are asked.
		for _, word := range []string{"wait", "stats", "metrics", "debug"} {
			if strings.Contains(sent, word) {
				return
			}
		}
		if strings.Contains(sent, "%") && !bytes.Equal(answers[0], answers[1]) && regexp.MustCompile(`(?i)%[2-7][0-9a-f]`).MatchString(sent) {
			return // one of those words, spelled in another way
		}
		require.Equal(t, told(t, answers[1]), told(t, answers[0]))
		require.Equal(t, sides[1].content(), sides[0].content())
	})
}

// fuzzSide is a member that serves one connection.
type fuzzSide struct {
	*v2site
	client net.Conn
	server *http.Server
	lane   *lane.Server
	wg     sync.WaitGroup
}

func newFuzzSide(t *testing.T, l net.Listener, lanes, protected bool) *fuzzSide {
	s := &fuzzSide{v2site: newV2Site(t)}
	for _, q := range [][3]string{{"PUT", "/v2/keys/a", "value=1"}, {"PUT", "/v2/keys/d/x", "value=2"}, {"PUT", "/v2/keys/t", "value=3&ttl=100"}, {"POST", "/v2/keys/q", "value=4"}} {
		require.Less(t, s.send(q[0], q[1], "application/x-www-form-urlencoded", q[2]).Code, 300)
	}
	if protected {
		require.Equal(t, 201, s.send("PUT", "/v2/auth/users/root", "application/json", `{"user":"root","password":"p"}`).Code)
		require.Equal(t, 200, s.send("PUT", "/v2/auth/enable", "", "").Code)
		_, err := s.as("root", "p", "PUT", "/v2/auth/roles/guest", `{"role":"guest","revoke":{"kv":{"read":[],"write":["/*"]}}}`)
		require.NoError(t, err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	watched := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			h.ServeHTTP(w, r)
		})
	}
	s.server = &http.Server{Handler: watched(s.handler), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	one := &oneListener{Listener: l, conns: make(chan net.Conn, 1), quit: make(chan struct{})}
	s.wg.Go(func() { _ = s.server.Serve(one) })
	var err error
	s.client, err = net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	c, err := l.Accept()
	require.NoError(t, err)
	if !lanes {
		one.conns <- c
		return s
	}
	access := &Access{Logger: log}
	s.lane = lane.New(lane.Config{Prefix: KeysPath, Handler: watched(access.Guard(s.keys)), Logger: log, Pass: func(c net.Conn, read []byte) {
		one.conns <- &headed{Conn: c, head: bytes.Clone(read)}
	}})
	s.wg.Go(func() { s.lane.Serve(c, nil) })
	return s
}

// as sends a request with a name and a password.
func (s *fuzzSide) as(user, password, method, target, body string) (int, error) {
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.SetBasicAuth(user, password)
	w := &discarded{header: http.Header{}}
	s.handler.ServeHTTP(w, r)
	if w.status != 200 {
		return w.status, fmt.Errorf("status %d", w.status)
	}
	return w.status, nil
}

type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarded) WriteHeader(status int)      { d.status = status }

// talk sends all of the bytes, and is answered until the server ends the connection.
func (s *fuzzSide) talk(sent string) []byte {
	require.NoError(s.t, s.client.SetDeadline(time.Now().Add(patience)))
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.WriteString(s.client, sent) // the server may have heard enough
		_ = s.client.(*net.UnixConn).CloseWrite()
	})
	b, err := io.ReadAll(s.client)
	if ne, ok := err.(net.Error); ok {
		require.False(s.t, ne.Timeout(), "the connection does not end")
	}
	wg.Wait()
	_ = s.client.Close()
	return b
}

func (s *fuzzSide) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.lane != nil {
		s.lane.Shutdown(ctx)
	}
	_ = s.server.Close()
	s.wg.Wait()
}

// content is all that the member keeps.
func (s *fuzzSide) content() (out []string) {
	for _, sp := range engine.Spaces {
		require.NoError(s.t, s.b.machine.Engine().Scan(sp, nil, nil, func(k, v []byte) bool {
			if !passwordHash.Match(v) { // each has a salt of its own
				out = append(out, fmt.Sprintf("%s %q %q", sp, k, v))
			}
			return true
		}))
	}
	for _, m := range s.b.added {
		out = append(out, "member "+m)
	}
	return out
}

var passwordHash = regexp.MustCompile(`\$2[aby]?\$`)

var dateLine = regexp.MustCompile(`\r\nDate: [^\r]*`)

// told is what answers say, without how they were cut into pieces.
func told(t *testing.T, b []byte) (out []string) {
	r := bufio.NewReader(bytes.NewReader(dateLine.ReplaceAll(b, nil)))
	for {
		if _, err := r.Peek(1); err != nil {
			return out
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			rest, _ := io.ReadAll(r)
			return append(out, err.Error(), string(rest))
		}
		body, err := io.ReadAll(resp.Body)
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") && err == nil && len(body) > 0 && !bytes.HasPrefix(body, []byte("HTTP/")) {
			require.True(t, json.Valid(body), "%q", body)
		}
		resp.Header.Del("Content-Length")
		out = append(out, fmt.Sprint(resp.Status, resp.Header, resp.Close, err), string(body))
	}
}

// headed is a connection of which something was read before.
type headed struct {
	net.Conn
	head []byte
}

func (c *headed) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

func (c *headed) CloseWrite() error { return c.Conn.(*net.UnixConn).CloseWrite() }

// oneListener hands out the connections that it is given.
type oneListener struct {
	net.Listener
	conns chan net.Conn
	once  sync.Once
	quit  chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

func (l *oneListener) Close() error {
	l.once.Do(func() { close(l.quit) })
	return nil
}
