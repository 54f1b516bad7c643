package lane

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// road is a listener whose connections go to a lane, and from there to net/http.
type road struct {
	t    *testing.T
	lane *Server
	addr string

	mu     sync.Mutex
	passed []string
}

func newRoad(t *testing.T, h http.Handler) *road {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &road{t: t, addr: l.Addr().String()}
	r.lane = New(Config{Prefix: "/v2/keys", Handler: h, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Pass: func(c net.Conn, read []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.passed = append(r.passed, string(read))
		_ = c.Close()
	}})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.lane.Serve(c, nil)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-ended
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.lane.Shutdown(ctx)
	})
	return r
}

func (r *road) dial() (net.Conn, *bufio.Reader) {
	c, err := net.Dial("tcp", r.addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	require.NoError(r.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c, bufio.NewReader(c)
}

// given is what was passed on, once something was.
func (r *road) given() string {
	r.t.Helper()
	var s string
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.passed) == 0 {
			return false
		}
		s = r.passed[0]
		r.passed = r.passed[1:]
		return true
	}, 10*time.Second, time.Millisecond)
	return s
}

// mirror tells what it was asked, in the way that the request says.
func mirror(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	text := fmt.Sprintf("%s %s %s %s %q %q %q %d", r.Method, r.URL.Path, r.URL.RawQuery, r.Host, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), b, r.ContentLength)
	switch q := r.URL.Query(); {
	case q.Has("length"):
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	case q.Has("flush"):
		w.Header().Set("X-Early", "1")
		_ = http.NewResponseController(w).Flush()
	case q.Has("much"):
		text += strings.Repeat("x", 100_000)
	case q.Has("status"):
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Evil", "a\r\nb: c")
		w.WriteHeader(http.StatusTeapot)
		w.WriteHeader(http.StatusOK) // too late
	case q.Has("empty"):
		return
	}
	for len(text) > 0 {
		n := min(len(text), 7000)
		_, _ = io.WriteString(w, text[:n])
		text = text[n:]
	}
}

// TestAnswersAreThoseOfNetHTTP compares answers with those of net/http to the same requests, on one connection, whole and
// in pieces.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(mirror))
	defer other.Close()
	r := newRoad(t, http.HandlerFunc(mirror))
	var requests []string
	for _, q := range []string{"", "?length", "?flush", "?much", "?status", "?empty", "?much&flush", "?a=b%20c&d=%zz"} {
		requests = append(requests,
			"GET /v2/keys/a/b_c-d.e~f:g@h"+q+" HTTP/1.1\r\nHost: h:1\r\n\r\n",
			"PUT /v2/keys/k"+q+" HTTP/1.1\r\nhost:\th \r\nCONTENT-TYPE: application/x-www-form-urlencoded\r\nContent-Length: 7\r\nAuthorization: Basic x\r\nUser-Agent: y\r\n\r\nvalue=v",
			"POST /v2/keys"+q+" HTTP/1.1\r\nHost: [::1]:2379\r\nConnection: Keep-Alive\r\n\r\n",
			"DELETE /v2/keys/"+q+" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nAccept: */*\r\n\r\n",
			"PUT /v2/keys/large"+q+" HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n"+strings.Repeat("y", 60000))
	}
	oc, err := net.Dial("tcp", other.Listener.Addr().String())
	require.NoError(t, err)
	defer oc.Close()
	or := bufio.NewReader(oc)
	for _, pieces := range []int{1, 3, 1000000} {
		c, in := r.dial()
		for _, q := range requests {
			_, err := io.WriteString(oc, q)
			require.NoError(t, err)
			want, body := readAnswer(t, or, q)
			for b := []byte(q); len(b) > 0; {
				n := min(len(b), max(1, len(q)/pieces), 5000)
				_, err := c.Write(b[:n])
				require.NoError(t, err)
				b = b[n:]
			}
			got, gotBody := readAnswer(t, in, q)
			require.Equal(t, want.StatusCode, got.StatusCode, q)
			require.Equal(t, body, gotBody, q)
			require.NotEmpty(t, got.Header.Get("Date"))
			for _, h := range []*http.Response{want, got} {
				h.Header.Del("Date")
				h.Header.Del("Content-Length") // known to one of them
			}
			require.Equal(t, want.Header, got.Header, q)
		}
		if pieces > 3 {
			break
		}
	}
}

func readAnswer(t *testing.T, r *bufio.Reader, q string) (*http.Response, string) {
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err, "%.200s", q)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(b)
}

// TestPipeline: requests that come in one piece are answered in turn, and the first foreign one is passed on with what
// follows.
func TestPipeline(t *testing.T) {
	r := newRoad(t, http.HandlerFunc(mirror))
	c, in := r.dial()
	one := "GET /v2/keys/%d?flush HTTP/1.1\r\nHost: h\r\n\r\n"
	var b bytes.Buffer
	for i := range 50 {
		_, _ = fmt.Fprintf(&b, one, i)
	}
	rest := "GET /health HTTP/1.1\r\nHost: h\r\n\r\nGET /v2/keys/x HTTP/1.1\r\n"
	b.WriteString(rest)
	_, err := c.Write(b.Bytes())
	require.NoError(t, err)
	for i := range 50 {
		_, body := readAnswer(t, in, "")
		require.Contains(t, body, fmt.Sprintf("GET /v2/keys/%d flush", i))
	}
	require.Equal(t, rest, r.given())
}

// TestForeign: what is not plain is not taken.
func TestForeign(t *testing.T) {
	r := newRoad(t, http.HandlerFunc(mirror))
	for _, q := range foreignRequests {
		c, _ := r.dial()
		_, err := io.WriteString(c, q)
		require.NoError(t, err)
		require.Equal(t, q, r.given())
		require.NoError(t, c.Close())
	}
}

var foreignRequests = []string{
	"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keysx HTTP/1.1\r\nHost: h\r\n\r\n",
	"HEAD /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"OPTIONS /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"get /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.0\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1 \r\nHost: h\r\n\r\n",
	"GET  /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET http://h/v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys//k HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/../k HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/a%2fb HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k#f HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k?a#f HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost:\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: a b\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost : h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\n Host: h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nX-Else: 1\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nOrigin: http://x\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, upgrade\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nUser-Agent: \x01\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nnothing\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\nx",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\nx",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: 0000001\r\n\r\nx",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
	"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\nHost: h\n\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\n\r\n",
	"\r\nGET /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET /v2/keys/k HTTP/1.1\r\nHost: h\r\nUser-Agent: " + strings.Repeat("x", mostHead) + "\r\n\r\n",
	"\n",
}

// TestClientLeaves: who waits for an answer and goes away ends the wait; who sends the next request meanwhile does not.
func TestClientLeaves(t *testing.T) {
	ended, release := make(chan error, 10), make(chan struct{})
	r := newRoad(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
		case <-release:
			_, _ = io.WriteString(w, "event")
		}
		ended <- r.Context().Err()
	}))
	q := "GET /v2/keys/k?wait=true HTTP/1.1\r\nHost: h\r\n\r\n"
	c, in := r.dial()
	_, err := io.WriteString(c, q)
	require.NoError(t, err)
	resp, err := http.ReadResponse(in, nil) // the head comes before there is an event
	require.NoError(t, err)
	require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-ended, context.Canceled)

	c, in = r.dial()
	_, err = io.WriteString(c, q)
	require.NoError(t, err)
	resp, err = http.ReadResponse(in, nil)
	require.NoError(t, err)
	_, err = io.WriteString(c, q[:10]) // and the rest later
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond)
	release <- struct{}{}
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "event", string(b))
	require.NoError(t, <-ended)
	_, err = io.WriteString(c, q[10:])
	require.NoError(t, err)
	release <- struct{}{}
	_, body := readAnswer(t, in, q)
	require.Equal(t, "event", body)
}

// TestSlowRequest: a request has one limit for all of it, whether its head or its body comes byte by byte. The next one has its own.
func TestSlowRequest(t *testing.T) {
	for _, q := range []string{"GET /v2/keys/" + strings.Repeat("k", 3000) + " HTTP/1.1\r\nHost: h\r\n\r\n",
		"PUT /v2/keys/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("v", 3000)} {
		r := newRoad(t, http.HandlerFunc(mirror))
		r.lane.requestWithin = 300 * time.Millisecond
		c, in := r.dial()
		for range 2 {
			_, err := io.WriteString(c, "GET /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			readAnswer(t, in, "")
		}
		ended := make(chan time.Time, 1)
		go func() {
			_, _ = io.Copy(io.Discard, in)
			ended <- time.Now()
		}()
		began := time.Now()
		for _, b := range []byte(q) {
			if _, err := c.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		require.Less(t, (<-ended).Sub(began), 3*time.Second) // of six that the whole request takes
	}
}

// TestShutdown lets what is under way end, and ends what is idle.
func TestShutdown(t *testing.T) {
	began, release := make(chan struct{}, 2), make(chan struct{})
	r := newRoad(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "wait" {
			began <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, "done")
	}))
	idle, idleIn := r.dial()
	_, err := io.WriteString(idle, "GET /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	_, body := readAnswer(t, idleIn, "")
	require.Equal(t, "done", body)
	fresh, freshIn := r.dial()
	busy, busyIn := r.dial()
	stuck, stuckIn := r.dial()
	for _, c := range []net.Conn{busy, stuck} {
		_, err = io.WriteString(c, "GET /v2/keys/k?wait HTTP/1.1\r\nHost: h\r\n\r\n")
		require.NoError(t, err)
		<-began
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		r.lane.Shutdown(ctx)
		close(ended)
	}()
	_, err = idleIn.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	_, err = freshIn.ReadByte()
	require.Error(t, err)
	_ = fresh.Close()
	release <- struct{}{}
	first, second := busyIn, stuckIn
	if resp, err := http.ReadResponse(first, nil); err == nil {
		require.True(t, resp.Close)
	} else {
		resp, err := http.ReadResponse(second, nil)
		require.NoError(t, err)
		require.True(t, resp.Close)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not end")
	}
	c, in := r.dial()
	_, _ = io.WriteString(c, "GET /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n")
	_, err = in.ReadByte()
	require.Error(t, err)
}

// TestPanic ends the connection and nothing else.
func TestPanic(t *testing.T) {
	r := newRoad(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			panic("oops")
		}
	}))
	c, in := r.dial()
	_, err := io.WriteString(c, "GET /v2/keys/k HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	c, in = r.dial()
	_, err = io.WriteString(c, "GET /v2/keys/k?x HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	resp, _ := readAnswer(t, in, "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// FuzzParse: what the lane takes for plain, net/http understands in the same way.
func FuzzParse(f *testing.F) {
	for _, q := range foreignRequests {
		f.Add([]byte(q))
	}
	f.Add([]byte("PUT /v2/keys/k?a=b HTTP/1.1\r\nHost: h:1\r\nContent-Type: t\r\nAuthorization: Basic x\r\nContent-Length: 3\r\n\r\nabcGET"))
	f.Add([]byte("GET /v2/keys HTTP/1.1\r\nHost: [::1]\r\nConnection: Keep-Alive\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h head
		if parse(b, "/v2/keys", &h) != plain {
			return
		}
		in := bytes.NewReader(b)
		buffered := bufio.NewReader(in)
		r, err := http.ReadRequest(buffered)
		require.NoError(t, err)
		require.Equal(t, r.Method, string(h.method))
		require.Equal(t, r.RequestURI, string(h.target))
		path, query, _ := strings.Cut(string(h.target), "?")
		require.Equal(t, r.URL.Path, path)
		require.Empty(t, r.URL.RawPath)
		require.Equal(t, r.URL.RawQuery, query)
		require.Empty(t, r.URL.Fragment)
		require.Equal(t, r.Host, string(h.host))
		require.Equal(t, r.Header.Get("Content-Type"), string(h.contentType))
		require.Equal(t, r.Header.Get("Authorization"), string(h.authorization))
		require.Equal(t, r.ContentLength, int64(h.length))
		require.Empty(t, r.TransferEncoding)
		require.False(t, r.Close)
		require.Equal(t, len(b)-h.size, in.Len()+buffered.Buffered(), "the head ends elsewhere")
	})
}
