package v2http

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-kv/cairn/internal/tree"
)

// readCounts count what was read by this member.
type readCounts struct {
	plain, recursive struct{ ok, failed atomic.Uint64 }
	watches          atomic.Uint64 // requests to watch
}

func (c *readCounts) read(recursive, ok bool) {
	of := &c.plain
	if recursive {
		of = &c.recursive
	}
	if ok {
		of.ok.Add(1)
	} else {
		of.failed.Add(1)
	}
}

func (c *readCounts) all() tree.Counts {
	return tree.Counts{Success: c.plain.ok.Load() + c.recursive.ok.Load(), Fail: c.plain.failed.Load() + c.recursive.failed.Load()}
}

// keyMetrics are the figures of /v2/keys under the names that etcd has for them (H-05).
type keyMetrics struct {
	received *prometheus.CounterVec
	failed   *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newKeyMetrics() *keyMetrics {
	return &keyMetrics{
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_http_received_total",
			Help: "Counter of requests received into the system (successfully parsed and authd)."}, []string{"method"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_http_failed_total",
			Help: "Counter of handle failures of requests (non-watches), by method (GET/PUT etc.) and code (400, 500 etc.)."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_http_successful_duration_seconds",
			Help:    "Bucketed histogram of processing time (s) of successfully handled requests (non-watches), by method (GET/PUT etc.).",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 13)}, []string{"method"}),
	}
}

// begun counts a request that waits for nothing; the function returned counts its end.
func (m *keyMetrics) begun(method string, quorum bool) func(error) {
	if method == http.MethodGet && quorum {
		method = "QGET"
	}
	m.received.WithLabelValues(method).Inc()
	began := time.Now()
	return func(err error) {
		if err != nil {
			m.failed.WithLabelValues(method, strconv.Itoa(keyStatus(err))).Inc()
			return
		}
		m.seconds.WithLabelValues(method).Observe(time.Since(began).Seconds())
	}
}

// Register adds the figures of the keys to those of the member.
func (k *Keys) Register(reg prometheus.Registerer) {
	reg.MustRegister(k.metrics.received, k.metrics.failed, k.metrics.seconds, storeMetrics{k})
}

// storeMetrics reads the counts of the tree when they are asked for.
type storeMetrics struct{ *Keys }

var (
	storeReads = prometheus.NewDesc("etcd_debugging_store_reads_total",
		"Total number of reads action by (get/getRecursive), local to this member.", []string{"action"}, nil)
	storeReadsFailed = prometheus.NewDesc("etcd_debugging_store_reads_failed_total",
		"Failed read actions by (get/getRecursive), local to this member.", []string{"action"}, nil)
	storeWrites = prometheus.NewDesc("etcd_debugging_store_writes_total",
		"Total number of writes (e.g. set/compareAndDelete) seen by this member.", []string{"action"}, nil)
	storeWritesFailed = prometheus.NewDesc("etcd_debugging_store_writes_failed_total",
		"Failed write actions (e.g. set/compareAndDelete), seen by this member.", []string{"action"}, nil)
	storeExpires = prometheus.NewDesc("etcd_debugging_store_expires_total", "Total number of expired keys.", nil, nil)
	storeWatches = prometheus.NewDesc("etcd_debugging_store_watch_requests_total",
		"Total number of incoming watch requests (new or reestablished).", nil, nil)
	storeWatchers = prometheus.NewDesc("etcd_debugging_store_watchers", "Count of currently active watchers.", nil, nil)
)

// Describe is for prometheus.Collector.
func (storeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storeReads, storeReadsFailed, storeWrites, storeWritesFailed, storeExpires, storeWatches, storeWatchers} {
		to <- d
	}
}

// Collect is for prometheus.Collector.
func (s storeMetrics) Collect(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(storeReads, s.reads.plain.ok.Load(), "get")
	counter(storeReads, s.reads.recursive.ok.Load(), "getRecursive")
	counter(storeReadsFailed, s.reads.plain.failed.Load(), "get")
	counter(storeReadsFailed, s.reads.recursive.failed.Load(), "getRecursive")
	st := s.View().TreeStats
	for _, w := range writesOf(st) {
		counter(storeWrites, w.n.Success, w.action.String())
		counter(storeWritesFailed, w.n.Fail, w.action.String())
	}
	counter(storeExpires, st.Expired)
	counter(storeWatches, s.reads.watches.Load())
	to <- prometheus.MustNewConstMetric(storeWatchers, prometheus.GaugeValue, float64(s.log.Paths().Len()))
}

type writeCount struct {
	action tree.Action
	n      tree.Counts
}

// writesOf are the counts of writes in the order in which /v2/stats/store has them.
func writesOf(st tree.Stats) []writeCount {
	return []writeCount{{tree.Set, st.Sets}, {tree.Delete, st.Deletes}, {tree.Update, st.Updates}, {tree.Create, st.Creates},
		{tree.CompareAndSwap, st.Swaps}, {tree.CompareAndDelete, st.DeleteIfs}}
}
