package v3rpc

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Metrics counts calls under the names that etcd's dashboards know (v3-gateway-http.md section 7.6). All combinations
// exist from the start.
type Metrics struct {
	started, handledVec, received, sent *prometheus.CounterVec
	clients                             *prometheus.CounterVec
	watchSent                           prometheus.Counter

	methods map[string]*methodMetrics // not changed after describe
	unknown *methodMetrics

	mu       sync.RWMutex
	versions map[clientKey]prometheus.Counter
}

type clientKey struct {
	unary   bool
	version string
}

type methodMetrics struct {
	unary                   bool
	started, received, sent prometheus.Counter
	codes                   [codes.Unauthenticated + 1]prometheus.Counter
}

func (m *methodMetrics) handled(c codes.Code) prometheus.Counter {
	if int(c) >= len(m.codes) {
		c = codes.Unknown
	}
	return m.codes[c]
}

// maxVersions bounds the client versions that are counted one by one.
const maxVersions = 64

// NewMetrics registers the counters.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	m := &Metrics{
		started:    vec("grpc_server_started_total", "Total number of RPCs started on the server.", labels...),
		handledVec: vec("grpc_server_handled_total", "Total number of RPCs completed on the server, regardless of success or failure.", append(labels, "grpc_code")...),
		received:   vec("grpc_server_msg_received_total", "Total number of RPC messages received on the server.", labels...),
		sent:       vec("grpc_server_msg_sent_total", "Total number of RPC messages sent by the server.", labels...),
		clients:    vec("etcd_server_client_requests_total", "The total number of client requests per client version.", "type", "client_api_version"),
		watchSent:  prometheus.NewCounter(prometheus.CounterOpts{Name: "cairn_watch_responses_total", Help: "Watch responses handed to gRPC."}),
		versions:   map[clientKey]prometheus.Counter{},
	}
	reg.MustRegister(m.watchSent)
	return m
}

func (m *Metrics) describe(s *grpc.Server) {
	m.methods = map[string]*methodMetrics{}
	for service, info := range s.GetServiceInfo() {
		for _, mi := range info.Methods {
			m.methods["/"+service+"/"+mi.Name] = m.make(kindOf(mi), service, mi.Name)
		}
	}
	m.unknown = m.make("unary", "unknown", "unknown")
}

func kindOf(mi grpc.MethodInfo) string {
	switch {
	case mi.IsClientStream && mi.IsServerStream:
		return "bidi_stream"
	case mi.IsServerStream:
		return "server_stream"
	case mi.IsClientStream:
		return "client_stream"
	}
	return "unary"
}

func (m *Metrics) make(kind, service, method string) *methodMetrics {
	mm := &methodMetrics{unary: kind == "unary",
		started:  m.started.WithLabelValues(kind, service, method),
		received: m.received.WithLabelValues(kind, service, method),
		sent:     m.sent.WithLabelValues(kind, service, method)}
	for c := range mm.codes {
		name := codes.Code(c).String()
		mm.codes[c] = m.handledVec.WithLabelValues(kind, service, method, name)
	}
	return mm
}

func (m *Metrics) method(full string) *methodMetrics {
	if mm := m.methods[full]; mm != nil {
		return mm
	}
	return m.unknown
}

func (m *Metrics) client(unary bool, version string) prometheus.Counter {
	k := clientKey{unary, version}
	m.mu.RLock()
	c := m.versions[k]
	m.mu.RUnlock()
	if c != nil {
		return c
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.versions) >= maxVersions {
		k.version = "other"
	}
	kind := "stream"
	if unary {
		kind = "unary"
	}
	c = m.clients.WithLabelValues(kind, strings.ToValidUTF8(k.version, ""))
	m.versions[k] = c
	return c
}
