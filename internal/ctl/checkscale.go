package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

// scaleLoad is one size of check datascale.
type scaleLoad struct{ pairs, clients int }

var scaleLoads = map[string]scaleLoad{
	"s": {10000, 50}, "m": {100000, 200}, "l": {1000000, 500}, "xl": {3000000, 1000},
}

const (
	memoryMetric   = "process_resident_memory_bytes"
	metricsTimeout = 10 * time.Second
)

func (a *app) checkScale() *cobra.Command {
	var o checkFlags
	cmd := &cobra.Command{
		Use:   "datascale [options]",
		Short: "Check the memory usage of holding data for different workloads on a given server endpoint.",
		Long: `Writes pairs of about 1 KiB and compares the memory of the first endpoint's
process before and after, as its /metrics tell it. Run it on a cluster that has
nothing else to do.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := loadName(o.load)
			if err != nil {
				return err
			}
			r, err := a.beginCheck(cmd, &o)
			if err != nil {
				return err
			}
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			return r.scale(ctx, scaleLoads[name])
		},
	}
	o.addTo(cmd, "/etcdctl-check-datascale/")
	return cmd
}

func (r *checkRun) scale(ctx context.Context, load scaleLoad) error {
	out := r.a.Stdout
	before, err := r.memory(ctx)
	if err != nil {
		r.writes.Close()
		fmt.Fprintf(out, "FAIL: Could not read %s before the put operations.\n", memoryMetric)
		return silently(exitFailure)
	}
	fmt.Fprintf(out, "Start data scale check for work load [%d key-value pairs, %d bytes per key-value, %d concurrent clients].\n",
		load.pairs, checkValueBytes, load.clients)
	step, end := r.a.progress(load.pairs)
	t := r.write(ctx, load.clients, load.pairs, 0, func() (string, string) {
		return r.flags.prefix + randomText(checkKeyBytes), randomText(checkValueBytes)
	}, step)
	end()
	after, memErr := r.memory(ctx)
	if err := r.cleanUp(); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case memErr != nil:
		fmt.Fprintf(out, "FAIL: Could not read %s after the put operations.\n", memoryMetric)
		return silently(exitFailure)
	case t.reportErrors(out):
		return silently(exitFailure)
	}
	fmt.Fprintf(out, "PASS: Approximate system memory used : %.2f MB.\n", (after-before)/(1024*1024))
	return nil
}

// memory reads the resident memory of the first endpoint's process, in bytes.
func (r *checkRun) memory(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, metricsURL(r.cfg), nil)
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{TLSClientConfig: r.cfg.TLS}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return findMetric(resp.Body, memoryMetric)
}

// metricsURL is where the first endpoint tells its metrics: over plain HTTP
// unless the endpoint says https.
func metricsURL(cfg client.Config) string {
	ep := cfg.Endpoints[0]
	if !strings.HasPrefix(ep, "http://") && !strings.HasPrefix(ep, "https://") {
		ep = "http://" + ep
	}
	return strings.TrimSuffix(ep, "/") + "/metrics"
}

// findMetric reads one value from the text format of Prometheus.
func findMetric(r io.Reader, name string) (float64, error) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		if value, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	if err := s.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("no metric %s", name)
}
