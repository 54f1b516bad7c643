package peer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Metrics are the figures of the connections with peers, under etcd's names.
type Metrics struct {
	sentBytes, receivedBytes       *prometheus.CounterVec
	sentFailures, receivedFailures *prometheus.CounterVec
	roundTrip                      *prometheus.HistogramVec
	active                         *prometheus.GaugeVec
	disconnected                   *prometheus.CounterVec
	send, receive                  transfers
}

// transfers are the figures of snapshots in one direction.
type transfers struct {
	success, failures *prometheus.CounterVec
	inflights         *prometheus.GaugeVec
	seconds           *prometheus.HistogramVec
}

// NewMetrics registers the figures.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "etcd", Subsystem: "network", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
		reg.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
		reg.MustRegister(v)
		return v
	}
	histogram := func(name, help string, start float64, n int, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "etcd", Subsystem: "network", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(start, 2, n)}, labels)
		reg.MustRegister(v)
		return v
	}
	return &Metrics{
		sentBytes:        counter("peer_sent_bytes_total", "The total number of bytes sent to peers.", "To"),
		receivedBytes:    counter("peer_received_bytes_total", "The total number of bytes received from peers.", "From"),
		sentFailures:     counter("peer_sent_failures_total", "The total number of send failures from peers.", "To"),
		receivedFailures: counter("peer_received_failures_total", "The total number of receive failures from peers.", "From"),
		roundTrip:        histogram("peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers.", 0.0001, 16, "To"),
		active:           gauge("active_peers", "The current number of active peer connections.", "Local", "Remote"),
		disconnected:     counter("disconnected_peers_total", "The total number of disconnected peers.", "Local", "Remote"),
		send: transfers{
			success:   counter("snapshot_send_success", "Total number of successful snapshot sends.", "To"),
			failures:  counter("snapshot_send_failures", "Total number of snapshot send failures.", "To"),
			inflights: gauge("snapshot_send_inflights_total", "Total number of inflight snapshot sends.", "To"),
			seconds:   histogram("snapshot_send_total_duration_seconds", "Total latency distributions of v3 snapshot sends.", 0.1, 10, "To"),
		},
		receive: transfers{
			success:   counter("snapshot_receive_success", "Total number of successful snapshot receives.", "From"),
			failures:  counter("snapshot_receive_failures", "Total number of snapshot receive failures.", "From"),
			inflights: gauge("snapshot_receive_inflights_total", "Total number of inflight snapshot receives.", "From"),
			seconds:   histogram("snapshot_receive_total_duration_seconds", "Total latency distributions of v3 snapshot receives.", 0.1, 10, "From"),
		},
	}
}

// figures are the metrics of one peer, looked up once. The zero value counts nothing.
type figures struct {
	all                            *Metrics
	local, remote                  string
	sentBytes, receivedBytes       prometheus.Counter
	sentFailures, receivedFailures prometheus.Counter
	roundTrip                      prometheus.Observer
}

func (m *Metrics) of(self, other cluster.ID) figures {
	if m == nil {
		return figures{}
	}
	to := other.String()
	return figures{
		all: m, local: self.String(), remote: to,
		sentBytes: m.sentBytes.WithLabelValues(to), receivedBytes: m.receivedBytes.WithLabelValues(to),
		sentFailures: m.sentFailures.WithLabelValues(to), receivedFailures: m.receivedFailures.WithLabelValues(to),
		roundTrip: m.roundTrip.WithLabelValues(to),
	}
}

func (f *figures) sent(bytes int) {
	if f.all != nil {
		f.sentBytes.Add(float64(bytes))
	}
}

func (f *figures) received(bytes int) {
	if f.all != nil {
		f.receivedBytes.Add(float64(bytes))
	}
}

func (f *figures) notSent(messages int) {
	if f.all != nil {
		f.sentFailures.Add(float64(messages))
	}
}

func (f *figures) notReceived() {
	if f.all != nil {
		f.receivedFailures.Inc()
	}
}

func (f *figures) probed(seconds float64) {
	if f.all != nil {
		f.roundTrip.Observe(seconds)
	}
}

// active counts a peer that became active, or stopped being so.
func (f *figures) active(is bool) {
	if f.all == nil {
		return
	}
	g := f.all.active.WithLabelValues(f.local, f.remote)
	if is {
		g.Inc()
	} else {
		g.Dec()
	}
}

// lost counts a peer that stopped being active without having been let go.
func (f *figures) lost() {
	if f.all != nil {
		f.all.disconnected.WithLabelValues(f.local, f.remote).Inc()
	}
}

// begun counts a transfer; the function it returns counts its end.
func (t *transfers) begun(who string) func(seconds float64, err error) {
	if t == nil || t.success == nil {
		return func(float64, error) {}
	}
	t.inflights.WithLabelValues(who).Inc()
	return func(seconds float64, err error) {
		t.inflights.WithLabelValues(who).Dec()
		if err != nil {
			t.failures.WithLabelValues(who).Inc()
			return
		}
		t.success.WithLabelValues(who).Inc()
		t.seconds.WithLabelValues(who).Observe(seconds)
	}
}
