package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// crowd are members behind one peer that lists them.
type crowd struct {
	mu      sync.Mutex
	clients []string
	peers   []string
	err     error
	asked   []string
}

func (c *crowd) ask(_ context.Context, peer string) ([]string, []string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, peer)
	if peer == "http://dead:1" {
		return nil, nil, errors.New("refused")
	}
	return c.clients, c.peers, c.err
}

func (c *crowd) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func newProxy(t *testing.T, c *crowd, change func(*Config)) (*Proxy, *httptest.Server) {
	cfg := Config{
		Peers: []string{"http://dead:1", "http://p:1"}, File: filepath.Join(t.TempDir(), "proxy", "cluster"), Ask: c.ask,
		FailureWait: time.Hour, RefreshInterval: time.Hour, DialTimeout: time.Second, WriteTimeout: 5 * time.Second,
		Registry: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	p, err := New(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s
}

func send(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	q, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		q.Header.Add(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(b)
}

// deadURL is one that nobody listens at.
func deadURL(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

// TestForwarding covers X-08: what passes, and what does not.
func TestForwarding(t *testing.T) {
	var got *http.Request
	var body string
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		w.Header().Set("X-Etcd-Index", "7")
		w.Header().Set("Keep-Alive", "timeout=1")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "answer")
	}))
	defer member.Close()
	p, s := newProxy(t, &crowd{clients: []string{member.URL + "/under/"}, peers: []string{"http://p:1"}}, nil)
	resp, answer := send(t, http.MethodPut, s.URL+"/v2/keys/a%2Fb//c?x=1;y&prevValue=%zz", "value=v", "Authorization", "Basic x", "Te", "trailers",
		"Proxy-Authorization", "secret", "Upgrade", "h2c", "Connection", "upgrade, x-hop", "X-Hop", "1", "X-Forwarded-For", "10.0.0.1", "X-Else", "2")
	require.Equal(t, http.StatusTeapot, resp.StatusCode)
	require.Equal(t, "answer", answer)
	require.Equal(t, "7", resp.Header.Get("X-Etcd-Index"))
	require.Empty(t, resp.Header.Get("Keep-Alive"))
	require.Equal(t, "/under/v2/keys/a%2Fb//c?x=1;y&prevValue=%zz", got.RequestURI)
	require.Equal(t, "value=v", body)
	require.Equal(t, "Basic x", got.Header.Get("Authorization"))
	require.Equal(t, "2", got.Header.Get("X-Else"))
	require.Equal(t, "10.0.0.1, 127.0.0.1", got.Header.Get("X-Forwarded-For"))
	for _, h := range []string{"Te", "Proxy-Authorization", "Upgrade", "Connection", "X-Hop"} {
		require.Empty(t, got.Header.Get(h), h)
	}
	require.InDelta(t, 1, testutil.ToFloat64(p.metrics.requests.WithLabelValues("PUT")), 0)
	require.Eventually(t, func() bool { // counted when the answer has gone
		return testutil.ToFloat64(p.metrics.handled.WithLabelValues("PUT", "418")) == 1
	}, 10*time.Second, time.Millisecond)

	// Methods that clients make up do not make up time series.
	_, _ = send(t, "BREW", s.URL, "")
	require.InDelta(t, 1, testutil.ToFloat64(p.metrics.requests.WithLabelValues("other")), 0)
}

// TestNextEndpoint covers: an endpoint that cannot be reached is left out, and the next gets the same body.
func TestNextEndpoint(t *testing.T) {
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusInternalServerError) // an answer all the same
		_, _ = w.Write(b)
	}))
	defer member.Close()
	c := &crowd{clients: []string{deadURL(t), deadURL(t), deadURL(t), member.URL}, peers: []string{"http://p:1"}}
	p, s := newProxy(t, c, nil)
	for range 3 {
		resp, body := send(t, http.MethodPut, s.URL, "value=v")
		require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		require.Equal(t, "value=v", body)
	}
	require.Contains(t, endpointsOf(t, p), member.URL)

	member.Close()
	resp, body := send(t, http.MethodGet, s.URL, "")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	require.Regexp(t, `^{"message":"httpproxy: unable to get response from [1-4] endpoint\(s\)"}$`, body)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	resp, body = send(t, http.MethodGet, s.URL, "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, `{"message":"httpproxy: zero endpoints currently available"}`, body)
	require.Empty(t, endpointsOf(t, p))
	require.InDelta(t, 1, testutil.ToFloat64(p.metrics.dropped.WithLabelValues("GET", "failed_getting_response")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(p.metrics.dropped.WithLabelValues("GET", "zero_endpoints")), 0)

	// A question makes all of them available again.
	p.endpoints.refresh(context.Background())
	require.Len(t, endpointsOf(t, p), 4)
	// Nobody to ask is nobody to forward to.
	c.set(func() { c.err = errors.New("refused") })
	p.endpoints.refresh(context.Background())
	require.Empty(t, endpointsOf(t, p))

	resp, body = send(t, http.MethodPut, s.URL, strings.Repeat("x", mostBody+1))
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, `{"message":"httpproxy: failed to read request body: http: request body too large"}`, body)
}

// endpointsOf is what /v2/config/local/proxy says.
func endpointsOf(t *testing.T, p *Proxy) []string {
	w := httptest.NewRecorder()
	p.ServeConfig(w, httptest.NewRequest(http.MethodGet, "/v2/config/local/proxy", nil))
	require.Equal(t, http.StatusOK, w.Code)
	var out struct{ Endpoints []string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
	require.True(t, bytes.HasSuffix(w.Body.Bytes(), []byte("]}\n")), w.Body.String())
	return out.Endpoints
}

func TestConfigIsRead(t *testing.T) {
	p, _ := newProxy(t, &crowd{}, nil)
	w := httptest.NewRecorder()
	p.ServeConfig(w, httptest.NewRequest(http.MethodPut, "/v2/config/local/proxy", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "GET", w.Header().Get("Allow"))
}

// TestReadOnly covers X-11.
func TestReadOnly(t *testing.T) {
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "read") }))
	defer member.Close()
	_, s := newProxy(t, &crowd{clients: []string{member.URL}}, func(c *Config) { c.ReadOnly = true })
	for _, m := range []string{http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodHead, http.MethodOptions} {
		resp, body := send(t, m, s.URL, "")
		require.Equal(t, http.StatusNotImplemented, resp.StatusCode, m)
		require.Empty(t, body)
	}
	resp, body := send(t, http.MethodGet, s.URL, "")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "read", body)
}

// TestLongPoll covers: what a member sends arrives at once, and who goes away is not waited for.
func TestLongPoll(t *testing.T) {
	gone := make(chan struct{})
	next := make(chan string)
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Etcd-Index", "1")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for {
			select {
			case s := <-next:
				_, _ = io.WriteString(w, s)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				close(gone)
				return
			}
		}
	}))
	defer member.Close()
	_, s := newProxy(t, &crowd{clients: []string{member.URL}}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v2/keys/k?wait=true&stream=true", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(q) // the head comes before there is an event
	require.NoError(t, err)
	defer resp.Body.Close()
	for i := range 3 {
		want := fmt.Sprintf("event %d\n", i)
		next <- want
		b := make([]byte, len(want))
		_, err := io.ReadFull(resp.Body, b)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	cancel()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the member still waits for a client that has gone")
	}
}

// TestTimeouts: a limit for reading ends what takes longer; none ends nothing.
func TestTimeouts(t *testing.T) {
	release := make(chan struct{})
	member := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer member.Close()
	defer close(release)
	_, s := newProxy(t, &crowd{clients: []string{member.URL}}, func(c *Config) { c.ReadTimeout = 20 * time.Millisecond })
	resp, body := send(t, http.MethodGet, s.URL, "")
	require.Equal(t, http.StatusBadGateway, resp.StatusCode, body)
}

// TestPeersAreKept covers.
func TestPeersAreKept(t *testing.T) {
	c := &crowd{clients: []string{"http://b:1", "http://a:1", "http://b:1"}, peers: []string{"http://q:1", "http://p:1"}}
	p, _ := newProxy(t, c, nil)
	require.Equal(t, []string{"http://dead:1", "http://p:1"}, c.asked)
	require.ElementsMatch(t, []string{"http://a:1", "http://b:1"}, endpointsOf(t, p))
	b, err := os.ReadFile(p.cfg.File)
	require.NoError(t, err)
	require.JSONEq(t, `{"PeerURLs":["http://p:1","http://q:1"]}`, string(b))
	peers, err := Known(p.cfg.File)
	require.NoError(t, err)
	require.Equal(t, []string{"http://p:1", "http://q:1"}, peers)
	left, err := os.ReadDir(filepath.Dir(p.cfg.File))
	require.NoError(t, err)
	require.Len(t, left, 1, "temporary files are left")

	// The file has precedence over what the options say.
	c.set(func() { c.asked = nil })
	newProxy(t, c, func(cfg *Config) { cfg.File, cfg.Peers = p.cfg.File, []string{"http://other:1"} })
	require.Equal(t, []string{"http://p:1"}, c.asked)

	// One that is damaged is not passed over.
	require.NoError(t, os.WriteFile(p.cfg.File, []byte("{"), 0o600))
	cfg := p.cfg
	cfg.Registry = prometheus.NewRegistry()
	_, err = New(context.Background(), cfg)
	require.ErrorContains(t, err, "is no file of peers")
	_, err = Known(filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
	cfg.File, cfg.Peers = filepath.Join(t.TempDir(), "none"), nil
	_, err = New(context.Background(), cfg)
	require.ErrorContains(t, err, "no peer URLs")
}

// TestShuffle covers X-05: many proxies do not all go to the same member.
func TestShuffle(t *testing.T) {
	c := &crowd{clients: []string{"http://a:1", "http://b:1", "http://c:1"}, peers: []string{"http://p:1"}}
	p, _ := newProxy(t, c, nil)
	first := map[string]bool{}
	for range 200 {
		p.endpoints.refresh(context.Background())
		first[endpointsOf(t, p)[0]] = true
	}
	require.Len(t, first, 3)
}

// TestRefresh covers X-05: the list is followed as it changes, soon when nobody is there.
func TestRefresh(t *testing.T) {
	c := &crowd{clients: []string{"http://a:1"}, peers: []string{"http://p:1"}}
	p, _ := newProxy(t, c, func(cfg *Config) { cfg.RefreshInterval = 10 * time.Millisecond })
	c.set(func() { c.clients = []string{"http://z:1"} })
	require.Eventually(t, func() bool { l := endpointsOf(t, p); return len(l) == 1 && l[0] == "http://z:1" }, 10*time.Second, 5*time.Millisecond)

	late := &crowd{err: errors.New("not yet"), peers: []string{"http://p:1"}}
	p, _ = newProxy(t, late, nil)
	require.Empty(t, endpointsOf(t, p))
	late.set(func() { late.err, late.clients = nil, []string{"http://a:1"} })
	require.Eventually(t, func() bool { return len(endpointsOf(t, p)) == 1 }, 10*time.Second, 20*time.Millisecond, "an hour is not waited for")
}

// TestItself covers X-15.
func TestItself(t *testing.T) {
	c := &crowd{clients: []string{"http://me:2379", "http://a:1", "mailto:x", "http://", "%"}, peers: []string{"http://p:1"}}
	p, _ := newProxy(t, c, func(cfg *Config) { cfg.Own = []string{"http://me:2379"} })
	require.Equal(t, []string{"http://a:1"}, endpointsOf(t, p))
}
