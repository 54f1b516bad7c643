// Package v2http is what a member serves over plain HTTP beside the JSON gateway: its health, version, metrics and
// debugging pages, and the rules of access that hold for all of HTTP.
//
// It must never know how a command is replicated or what gRPC is: it sees the member through Backend.
package v2http

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
)

// Backend is the member behind the pages.
type Backend interface {
	// View is the state after the last applied batch.
	View() *machine.View
	// Read waits until the view holds everything acknowledged before the call.
	Read(ctx context.Context) error
	// Failed is why the member cannot write any more, nil if it can.
	Failed() error

	MemberID() cluster.ID
	Leader() cluster.ID // 0 if none is known
	IsLeader() bool
	Committed() uint64
	RequestTimeout() time.Duration
}

// Config is what the pages are made from.
type Config struct {
	Version string // of the server, x.y.z
	Access
	Registry *prometheus.Registry
	Pprof    bool // serve profiles
	Traces   bool // serve /debug/requests and /debug/events
}

// API serves the pages of one member.
type API struct {
	Backend
	*Access
	cfg     Config
	metrics *metrics
	scrape  http.Handler
}

// New makes the pages and registers their metrics. It is called once for a registry.
func New(b Backend, cfg Config) *API {
	return &API{Backend: b, Access: &cfg.Access, cfg: cfg, metrics: newMetrics(cfg.Registry), scrape: scrape(cfg.Registry)}
}

// Routes adds everything that clients are served.
func (a *API) Routes(mux *http.ServeMux) {
	a.MetricsRoutes(mux)
	mux.HandleFunc("/version", onlyGet(a.version))
	a.debugRoutes(mux)
}

// MetricsRoutes adds what the metrics listeners serve: metrics and health.
func (a *API) MetricsRoutes(mux *http.ServeMux) {
	mux.Handle("/metrics", a.scrape)
	mux.HandleFunc("/health", onlyGet(a.health))
	a.probe(mux, "livez", a.livez())
	a.probe(mux, "readyz", a.readyz())
}

func onlyGet(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}
