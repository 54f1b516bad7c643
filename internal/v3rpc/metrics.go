package v3rpc

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Metrics counts calls under the names that etcd's dashboards know (v3-gateway-http.md section 7.6). All combinations
// exist from the start.
type Metrics struct {
	started, handledVec, received, sent *prometheus.CounterVec
	clients                             *prometheus.CounterVec
	watchSent                           prometheus.Counter
	bytesIn, bytesOut                   prometheus.Counter
	ranges, puts, deletes, txns         prometheus.Counter
	putBytes                            prometheus.Gauge
	durations                           *prometheus.HistogramVec
	hash, hashRev, snapshot, defrag     prometheus.Observer
	handling                            *prometheus.HistogramVec // nil if that is not asked for

	refused map[refusal]prometheus.Counter // by limits; not changed after NewMetrics

	readRanges, readTxns, writeTxns outcomes

	methods map[string]*methodMetrics // not changed after describe
	unknown *methodMetrics

	mu       sync.RWMutex
	versions map[clientKey]prometheus.Counter
}

// refusal is what kind of limit refuses a request, and which of its limits.
type refusal struct {
	kind limits.Kind
	what string
}

type clientKey struct {
	unary   bool
	version string
}

type methodMetrics struct {
	unary                   bool
	started, received, sent prometheus.Counter
	codes                   [codes.Unauthenticated + 1]prometheus.Counter
	took                    outcomes            // nil for methods that are not timed
	handling                prometheus.Observer // nil if that is not asked for
}

// outcomes time failures and successes.
type outcomes [2]prometheus.Observer

func outcomesOf(v *prometheus.HistogramVec, labels ...string) outcomes {
	return outcomes{v.WithLabelValues(append(labels, "false")...), v.WithLabelValues(append(labels, "true")...)}
}

func (o *outcomes) observe(took time.Duration, err error) {
	if err != nil {
		o[0].Observe(took.Seconds())
	} else {
		o[1].Observe(took.Seconds())
	}
}

// timed are the methods whose durations are observed, with the names they have there. Txns have two, and time themselves.
var timed = map[string]string{
	"/etcdserverpb.KV/Range": "Range", "/etcdserverpb.KV/Put": "Put", "/etcdserverpb.KV/DeleteRange": "DeleteRange",
	"/etcdserverpb.KV/Compact": "Compaction", "/etcdserverpb.Lease/LeaseGrant": "LeaseGrant",
	"/etcdserverpb.Lease/LeaseRevoke": "LeaseRevoke", "/etcdserverpb.Maintenance/Alarm": "Alarm",
}

func (m *methodMetrics) handled(c codes.Code) prometheus.Counter {
	if int(c) >= len(m.codes) {
		c = codes.Unknown
	}
	return m.codes[c]
}

// maxVersions bounds the client versions that are counted one by one.
const maxVersions = 64

// NewMetrics registers the counters. extensive adds a histogram of every method.
func NewMetrics(reg prometheus.Registerer, extensive bool) *Metrics {
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
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, start float64, n int) prometheus.Observer {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, n)})
		reg.MustRegister(h)
		return h
	}
	m.bytesIn = counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from grpc clients.")
	m.bytesOut = counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients.")
	m.ranges = counter("etcd_mvcc_range_total", "Total number of ranges seen by this member.")
	m.puts = counter("etcd_mvcc_put_total", "Total number of puts seen by this member.")
	m.deletes = counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member.")
	m.txns = counter("etcd_mvcc_txn_total", "Total number of txns seen by this member.")
	m.putBytes = prometheus.NewGauge(prometheus.GaugeOpts{Name: "etcd_debugging_mvcc_total_put_size_in_bytes", Help: "The total size of keys and values put through this member."})
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_server_request_duration_seconds",
		Help: "How long requests take.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}, []string{"type", "success"})
	ranges := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_server_range_duration_seconds",
		Help: "How long ranges take to read, without the wait for their turn.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20)}, []string{"success"})
	reg.MustRegister(m.putBytes, m.durations, ranges)
	m.readRanges = outcomesOf(ranges)
	m.readTxns, m.writeTxns = outcomesOf(m.durations, "ReadonlyTxn"), outcomesOf(m.durations, "Txn")
	refused := vec("cairn_limit_refused_total", "Requests that this member has refused because of a limit.", "kind", "limit")
	m.refused = map[refusal]prometheus.Counter{}
	for _, kind := range []limits.Kind{limits.User, limits.Prefix} {
		for _, what := range []string{limits.Writes, limits.Reads, limits.Keys, limits.Bytes} {
			if kind == limits.Prefix || what == limits.Writes || what == limits.Reads {
				m.refused[refusal{kind, what}] = refused.WithLabelValues(string(kind), what)
			}
		}
	}
	if extensive {
		m.handling = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "grpc_server_handling_seconds",
			Help: "How long calls are handled by the server.", Buckets: prometheus.DefBuckets}, labels)
		reg.MustRegister(m.handling)
	}
	m.hash = histogram("etcd_mvcc_hash_duration_seconds", "How long a hash of the whole database takes.", 0.01, 15)
	m.hashRev = histogram("etcd_mvcc_hash_rev_duration_seconds", "How long a hash of the records at a revision takes.", 0.01, 15)
	m.snapshot = histogram("etcd_disk_backend_snapshot_duration_seconds", "How long sending a database snapshot takes.", 0.01, 17)
	m.defrag = histogram("etcd_disk_backend_defrag_duration_seconds", "How long answering a defragment request takes.", 0.1, 13)
	return m
}

// refusedBy counts an error if it is the refusal of a limit.
func (m *Metrics) refusedBy(err error) {
	if err == nil {
		return
	}
	var e *limits.Exceeded
	if errors.As(err, &e) {
		m.refused[refusal{e.Rule.Kind, e.What}].Inc()
	}
}

// countOps counts the operations of a txn.
func (m *Metrics) countOps(t *wire.TxnRequest) {
	n := 0
	for _, branch := range [][]wire.Op{t.Success, t.Failure} {
		for i := range branch {
			n++
			switch op := &branch[i]; {
			case op.Range != nil:
				m.ranges.Inc()
			case op.Put != nil:
				m.countPut(op.Put)
			case op.Delete != nil:
				m.deletes.Inc()
			}
		}
	}
	if n > 1 {
		m.txns.Inc()
	}
}

func (m *Metrics) countPut(p *wire.PutRequest) {
	m.puts.Inc()
	m.putBytes.Add(float64(len(p.Key) + len(p.Value)))
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
	if name := timed["/"+service+"/"+method]; name != "" {
		mm.took = outcomesOf(m.durations, name)
	}
	if m.handling != nil {
		mm.handling = m.handling.WithLabelValues(kind, service, method)
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
