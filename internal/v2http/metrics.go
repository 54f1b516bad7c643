package v2http

import (
	"net/http"
	"os"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the figures of the pages themselves (v3-gateway-http.md section 7.1).
type metrics struct {
	healthy, unhealthy prometheus.Counter
	check              *prometheus.GaugeVec
	checks             *prometheus.CounterVec
}

func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{
		healthy: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_success",
			Help: "The total number of successful health checks."}),
		unhealthy: prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_failures",
			Help: "The total number of failed health checks."}),
		check: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "etcd_server_healthcheck",
			Help: "The last result of a check: 1 passed, 0 failed."}, []string{"type", "name"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_server_healthchecks_total",
			Help: "The total number of results of a check."}, []string{"type", "name", "status"}),
	}
	reg.MustRegister(m.healthy, m.unhealthy, m.check, m.checks)
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "os_fd_used", Help: "The number of open file descriptors."}, openFiles),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "os_fd_limit", Help: "The limit of open file descriptors."}, fileLimit),
	)
	return m
}

// declare makes the counters of the checks exist before the first probe.
func (m *metrics) declare(kind string, checks []check) {
	for _, c := range checks {
		m.checks.WithLabelValues(kind, c.name, "success")
		m.checks.WithLabelValues(kind, c.name, "error")
	}
}

func (m *metrics) checked(kind, name string, ok bool) {
	value, status := 0.0, "error"
	if ok {
		value, status = 1, "success"
	}
	m.check.WithLabelValues(kind, name).Set(value)
	m.checks.WithLabelValues(kind, name, status).Inc()
}

// scrape serves the registry. OpenMetrics stays off: it would rename the counters whose names do not end in _total.
func scrape(reg *prometheus.Registry) http.Handler {
	return promhttp.InstrumentMetricHandler(reg, promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
}

func openFiles() float64 {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return float64(len(names) - 1) // without the directory itself
}

func fileLimit() float64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return float64(l.Cur)
}
