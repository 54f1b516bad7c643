package host

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Metrics are the figures of a host, under etcd's names (v3-gateway-http.md section 7).
type Metrics struct {
	reg prometheus.Registerer

	LeaderChanges   prometheus.Counter
	ProposalsFailed prometheus.Counter
	LeaseGranted    prometheus.Counter
	LeaseRevoked    prometheus.Counter
	LeaseRenewed    prometheus.Counter
	LeaseExpired    prometheus.Counter
	LeaseTTL        prometheus.Observer
	SlowApply       prometheus.Counter
	Apply           prometheus.Observer
	WALWrite        prometheus.Observer
	WALBytes        prometheus.Gauge
	Fsync           prometheus.Observer
	BackendCommit   prometheus.Observer
	CompactPause    prometheus.Observer
	CompactTotal    prometheus.Observer
	CompactLast     prometheus.Gauge
	CompactKeys     prometheus.Counter
	Events          prometheus.Counter

	SlowReads, FailedReads, HeartbeatFailures, Promoted prometheus.Counter
	Installing                                          prometheus.Gauge
}

const slowApply = 100 * time.Millisecond

// NewMetrics registers the figures that do not depend on a running host.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{reg: reg}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, start float64, n int) prometheus.Observer {
		c := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, n)})
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	m.LeaderChanges = counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen.")
	m.ProposalsFailed = counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen.")
	m.LeaseGranted = counter("etcd_debugging_lease_granted_total", "The total number of granted leases.")
	m.LeaseRevoked = counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases.")
	m.LeaseRenewed = counter("etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader.")
	m.LeaseExpired = counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases.")
	m.SlowApply = counter("etcd_server_slow_apply_total", "The total number of slow apply batches.")
	// Entries are applied in batches: the time of one operation alone is not known.
	apply := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_server_apply_duration_seconds",
		Help: "How long a batch of entries takes to apply.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20)}, []string{"version", "op", "success"})
	reg.MustRegister(apply)
	m.Apply = apply.WithLabelValues("v3", "Batch", "true")
	m.WALWrite = histogram("etcd_disk_wal_write_duration_seconds", "How long a write to the log takes, without its sync.", 0.001, 14)
	m.WALBytes = gauge("etcd_disk_wal_write_bytes_total", "The bytes written to the log since the start.")
	m.Fsync = histogram("etcd_disk_wal_fsync_duration_seconds", "How long a sync of the log takes.", 0.001, 14)
	m.BackendCommit = histogram("etcd_disk_backend_commit_duration_seconds", "How long it takes to make the database durable.", 0.001, 14)
	m.CompactPause = histogram("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "How long one step of a compaction takes.", 1, 13)
	m.CompactTotal = histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "How long a compaction takes.", 100, 14)
	m.CompactLast = gauge("etcd_debugging_mvcc_db_compaction_last", "The unix time of the last compaction.")
	m.CompactKeys = counter("etcd_debugging_mvcc_db_compaction_keys_total", "The number of records removed by compactions.")
	m.LeaseTTL = histogram("etcd_debugging_lease_ttl_total", "The granted TTLs in seconds.", 1, 24)
	m.SlowReads = counter("etcd_server_slow_read_indexes_total", "The number of linearizable reads that waited for long for the leader to confirm itself.")
	m.FailedReads = counter("etcd_server_read_indexes_failed_total", "The number of linearizable reads that waited in vain.")
	m.HeartbeatFailures = counter("etcd_server_heartbeat_send_failures_total", "The number of times that messages to a member were dropped while this one led.")
	m.Promoted = counter("etcd_server_learner_promote_successes", "The number of learners promoted while this member led.")
	m.Installing = gauge("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot from another member is installed.")
	gauge("etcd_disk_defrag_inflight", "Always 0: defragmenting stops nothing.")
	gauge("etcd_debugging_auth_revision", "The revision of the users and roles.").Set(1)
	m.Events = counter("etcd_debugging_mvcc_events_total", "The number of changes handed to watchers.")
	return m
}

// observe registers the figures that are read off a running host.
func (m *Metrics) observe(h *Host) {
	gauge := func(name, help string, f func() float64) {
		m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f))
	}
	constant := func(name, label, value string) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Which one it is; the value is 1.", ConstLabels: prometheus.Labels{label: value}})
		g.Set(1)
		m.reg.MustRegister(g)
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("etcd_server_has_leader", "Whether a leader is known.", func() float64 { return flag(h.Leader() != 0) })
	gauge("etcd_server_is_leader", "Whether this member leads.", func() float64 { return flag(h.IsLeader()) })
	gauge("etcd_server_is_learner", "Whether this member is a learner.", func() float64 {
		me, _ := h.View().Cluster.Member(h.cfg.MemberID)
		return flag(me.IsLearner)
	})
	gauge("etcd_server_proposals_pending", "The current number of pending proposals.", func() float64 { return float64(h.queue.pending()) })
	gauge("etcd_server_proposals_committed_total", "The last committed log index.", func() float64 { return float64(h.Committed()) })
	gauge("etcd_server_proposals_applied_total", "The last applied log index.", func() float64 { return float64(h.View().Applied) })
	gauge("etcd_server_quota_backend_bytes", "The database's quota in bytes.", func() float64 { return float64(h.cfg.QuotaBytes) })
	gauge("etcd_mvcc_db_total_size_in_bytes", "The database's size on disk in bytes.", func() float64 { return float64(h.size.Load()) })
	gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "The part of the database's size that is in use.", func() float64 { return float64(h.sizeInUse.Load()) })
	gauge("etcd_debugging_mvcc_keys_total", "The number of keys.", func() float64 { return float64(h.KV().Keys()) })
	gauge("etcd_debugging_mvcc_current_revision", "The store's current revision.", func() float64 { return float64(h.KV().Rev()) })
	gauge("etcd_debugging_mvcc_compact_revision", "The store's compaction revision.", func() float64 { return float64(h.KV().CompactRev()) })
	gauge("etcd_debugging_mvcc_watch_stream_total", "The number of watch streams.", func() float64 { return float64(h.hub.Stats().Streams) })
	gauge("etcd_debugging_mvcc_watcher_total", "The number of watchers.", func() float64 { return float64(h.hub.Stats().Watchers) })
	gauge("etcd_debugging_mvcc_slow_watcher_total", "The number of watchers that read from history.", func() float64 { return float64(h.hub.Stats().Slow) })
	gauge("etcd_debugging_mvcc_pending_events_total", "The number of changes that wait to be sent.", func() float64 { return float64(h.hub.Stats().Pending) })
	m.reg.MustRegister(alarmCollector{h}, memberCollector{h}, versionCollector{h})
	constant("etcd_server_version", "server_version", h.cfg.Version)
	constant("etcd_server_go_version", "server_go_version", runtime.Version())
	constant("etcd_server_id", "server_id", h.cfg.MemberID.String())
}

func (m *Metrics) observeApply(took time.Duration, entries int) {
	m.Apply.Observe(took.Seconds())
	if took > slowApply*time.Duration(max(1, entries/100)) {
		m.SlowApply.Inc()
	}
}

var alarmDesc = prometheus.NewDesc("etcd_debugging_server_alarms", "1 for every alarm that is active.", []string{"server_id", "alarm_type"}, nil)

// alarmCollector shows the alarms as they are when it is asked.
type alarmCollector struct{ host *Host }

func (c alarmCollector) Describe(ch chan<- *prometheus.Desc) { ch <- alarmDesc }

func (c alarmCollector) Collect(ch chan<- prometheus.Metric) {
	for _, a := range c.host.View().Alarms {
		ch <- prometheus.MustNewConstMetric(alarmDesc, prometheus.GaugeValue, 1, a.Member.String(), a.Type.String())
	}
}

var memberDesc = prometheus.NewDesc("etcd_network_known_peers", "1 for every member that is known, this one too.", []string{"Local", "Remote"}, nil)

// memberCollector shows the members as they are when it is asked.
type memberCollector struct{ host *Host }

func (c memberCollector) Describe(ch chan<- *prometheus.Desc) { ch <- memberDesc }

func (c memberCollector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.host.View().Cluster.Members() {
		ch <- prometheus.MustNewConstMetric(memberDesc, prometheus.GaugeValue, 1, c.host.cfg.MemberID.String(), m.ID.String())
	}
}

var versionDesc = prometheus.NewDesc("etcd_cluster_version", "Which version the members have agreed on; the value is 1.", []string{"cluster_version"}, nil)

// versionCollector shows the cluster's version as it is when it is asked.
type versionCollector struct{ host *Host }

func (c versionCollector) Describe(ch chan<- *prometheus.Desc) { ch <- versionDesc }

func (c versionCollector) Collect(ch chan<- prometheus.Metric) {
	if major, minor, _, ok := wire.ParseVersion(c.host.View().Cluster.Version()); ok {
		ch <- prometheus.MustNewConstMetric(versionDesc, prometheus.GaugeValue, 1, fmt.Sprintf("%d.%d", major, minor))
	}
}
