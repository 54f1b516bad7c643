// Package proxy forwards the v2 HTTP API to the members of a cluster (v2-http.md section 16): it finds them through their
// peers, follows them as they change, and goes on to the next when one cannot be reached.
//
// It must never know what a request means, and keeps no keys.
package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// mostBody is the longest body of a request, in bytes: it is kept until a member has answered.
const mostBody = 16 << 20

// Config says what is forwarded, and where to.
type Config struct {
	Peers []string // URLs to ask first
	File  string   // where the peers that are known are kept
	// Ask asks a peer who the members are.
	Ask func(ctx context.Context, peerURL string) (clientURLs, peerURLs []string, err error)

	TLS             func() *tls.Config // to dial a member with once, which may change it; nil for what Go does by itself
	ReadOnly        bool
	FailureWait     time.Duration // that an endpoint stays out after a failure
	RefreshInterval time.Duration // between two questions
	DialTimeout     time.Duration // 0 for none, as for the next two
	WriteTimeout    time.Duration // of one piece
	ReadTimeout     time.Duration // of one piece; any breaks long polls
	Own             []string      // URLs that this proxy listens on: it must not forward to itself

	Registry *prometheus.Registry
	Logger   *slog.Logger
}

// Proxy is a handler for everything that is forwarded. Close ends it.
type Proxy struct {
	cfg       Config
	endpoints *endpoints
	transport *http.Transport
	reverse   *httputil.ReverseProxy
	metrics   *metrics
	cancel    context.CancelFunc
	wg        sync.WaitGroup
}

// New makes a proxy, asks who the members are, and goes on asking in the background.
func New(ctx context.Context, cfg Config) (*Proxy, error) {
	e, err := newEndpoints(cfg)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, endpoints: e, metrics: newMetrics(cfg.Registry), transport: newTransport(cfg)}
	p.reverse = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: road{p}, FlushInterval: -1, // events go out as they come
		ErrorHandler: p.fail, ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	p.endpoints.refresh(ctx)
	own, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() { p.endpoints.follow(own) })
	return p, nil
}

// Close ends what goes on in the background.
func (p *Proxy) Close() {
	p.cancel()
	p.wg.Wait()
	p.transport.CloseIdleConnections()
}

// rewrite makes of a request the one that is forwarded. ReverseProxy has taken out what belongs to the connection alone,
// but would pass on the wish to change the protocol.
func rewrite(r *httputil.ProxyRequest) {
	for _, h := range []string{"Connection", "Upgrade", "Te"} {
		r.Out.Header.Del(h)
	}
	r.Out.Header["X-Forwarded-For"] = slices.Clone(r.In.Header["X-Forwarded-For"])
	if client, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		before := append(r.In.Header["X-Forwarded-For"], client)
		r.Out.Header.Set("X-Forwarded-For", strings.Join(before, ", "))
	}
	r.Out.URL.Scheme, r.Out.URL.Host = "http", "cluster" // road fills in whose turn it is
	r.Out.URL.RawQuery = r.In.URL.RawQuery               // as it was sent, whatever it is
}

// ServeHTTP forwards a request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	p.metrics.requests.WithLabelValues(method(r)).Inc()
	if p.cfg.ReadOnly && r.Method != http.MethodGet {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	if r.Body != nil && r.Body != http.NoBody {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
		if err != nil {
			p.message(w, r, http.StatusInternalServerError, "failed_sending_request", fmt.Sprintf("httpproxy: failed to read request body: %v", err))
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	}
	s := &seen{ResponseWriter: w}
	p.reverse.ServeHTTP(s, r)
	if s.status != 0 && !s.own {
		p.metrics.handled.WithLabelValues(method(r), strconv.Itoa(s.status)).Inc()
		p.metrics.took.WithLabelValues(method(r)).Observe(time.Since(began).Seconds())
	}
}

// method is a request's method where it may be a label: clients can make up others.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions, http.MethodPatch:
		return r.Method
	}
	return "other"
}

// seen remembers the status of an answer, and whether it is the proxy's own.
type seen struct {
	http.ResponseWriter
	status int
	own    bool
}

func (s *seen) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the answer be flushed.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// errNone says that there is nobody to forward to, a failedError that nobody took it.
var errNone = errors.New("httpproxy: zero endpoints currently available")

type failedError int // how many were tried

func (n failedError) Error() string {
	return fmt.Sprintf("httpproxy: unable to get response from %d endpoint(s)", int(n))
}

// fail answers a request that could not be forwarded.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	var failed failedError
	switch {
	case errors.Is(err, errNone):
		p.message(w, r, http.StatusServiceUnavailable, "zero_endpoints", err.Error())
	case errors.As(err, &failed):
		p.message(w, r, http.StatusBadGateway, "failed_getting_response", err.Error())
	case r.Context().Err() != nil: // nobody reads it
	default:
		p.message(w, r, http.StatusBadGateway, "failed_sending_request", "httpproxy: "+err.Error())
	}
}

func (p *Proxy) message(w http.ResponseWriter, r *http.Request, status int, why, text string) {
	p.metrics.dropped.WithLabelValues(method(r), why).Inc()
	if s, ok := w.(*seen); ok {
		s.own = true
	}
	b, err := json.Marshal(map[string]string{"message": text})
	if err != nil {
		panic(err) // a string has a JSON form
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// road takes a request to the first endpoint that can be reached.
type road struct{ *Proxy }

func (p road) RoundTrip(r *http.Request) (*http.Response, error) {
	turn := p.endpoints.available()
	if len(turn) == 0 {
		return nil, errNone
	}
	body := r.GetBody
	for _, e := range turn {
		q := r.Clone(r.Context())
		q.URL.Scheme, q.URL.Host, q.Host = e.url.Scheme, e.url.Host, e.url.Host
		q.URL.Path, q.URL.RawPath = join(e.url, r.URL)
		if body != nil {
			q.Body, _ = body()
		}
		resp, err := p.transport.RoundTrip(q)
		switch {
		case err == nil:
			return resp, nil
		case r.Context().Err() != nil:
			return nil, r.Context().Err()
		}
		p.cfg.Logger.Warn("failed to forward a request", "endpoint", e.url.String(), "error", err.Error())
		p.endpoints.failed(e)
	}
	return nil, failedError(len(turn))
}

// join is a request's path under that of an endpoint, as it was escaped.
func join(e, r *url.URL) (path, raw string) {
	base := strings.TrimSuffix(e.Path, "/")
	if r.RawPath != "" {
		raw = base + r.RawPath
	}
	return base + r.Path, raw
}

// ServeConfig serves /v2/config/local/proxy: the endpoints in their order.
func (p *Proxy) ServeConfig(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	out := struct {
		Endpoints []string `json:"endpoints"`
	}{[]string{}}
	for _, e := range p.endpoints.available() {
		out.Endpoints = append(out.Endpoints, e.url.String())
	}
	b, err := json.Marshal(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}
