package proxy

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
)

const (
	idleEach   = 128 // connections kept to each member
	idleWithin = 90 * time.Second
	aliveEvery = 30 * time.Second
)

func newTransport(cfg Config) *http.Transport {
	d := &net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: aliveEvery}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil || cfg.WriteTimeout == 0 && cfg.ReadTimeout == 0 {
			return c, err
		}
		return &timed{c, cfg.WriteTimeout, cfg.ReadTimeout}, nil
	}
	t := &http.Transport{MaxIdleConnsPerHost: idleEach, IdleConnTimeout: idleWithin, DisableCompression: true, DialContext: dial}
	if cfg.TLS != nil {
		t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return tlsfiles.Secure(ctx, c, cfg.TLS(), addr)
		}
	}
	return t
}

// timed is a connection with a limit for each piece that goes over it.
type timed struct {
	net.Conn
	write, read time.Duration
}

func (t *timed) Write(b []byte) (int, error) {
	if t.write > 0 {
		if err := t.SetWriteDeadline(time.Now().Add(t.write)); err != nil {
			return 0, err
		}
	}
	return t.Conn.Write(b)
}

func (t *timed) Read(b []byte) (int, error) {
	if t.read > 0 {
		if err := t.SetReadDeadline(time.Now().Add(t.read)); err != nil {
			return 0, err
		}
	}
	return t.Conn.Read(b)
}

// metrics are those of etcd's proxy.
type metrics struct {
	requests, handled, dropped *prometheus.CounterVec
	took                       *prometheus.HistogramVec
}

func newMetrics(r *prometheus.Registry) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "etcd", Subsystem: "proxy", Name: name, Help: help}, labels)
	}
	m := &metrics{
		requests: counter("requests_total", "Requests that came in.", "method"),
		handled:  counter("handled_total", "Requests that a member has answered.", "method", "code"),
		dropped:  counter("dropped_total", "Requests that could not be forwarded.", "method", "proxying_error"),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "etcd", Subsystem: "proxy", Name: "handling_duration_seconds",
			Help: "How long forwarded requests take.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 13)}, []string{"method"}),
	}
	r.MustRegister(m.requests, m.handled, m.dropped, m.took)
	return m
}
