package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// perfLoad is one size of check perf.
type perfLoad struct{ rate, clients, seconds int }

var perfLoads = map[string]perfLoad{
	"s": {150, 50, 60}, "m": {1000, 200, 60}, "l": {8000, 500, 60}, "xl": {15000, 1000, 60},
}

// What a cluster has to reach.
const (
	perfShare     = 0.9 // of the target rate
	perfSlowest   = 0.5 // seconds
	perfDeviation = 0.1 // seconds
)

func (a *app) checkPerf() *cobra.Command {
	var o checkFlags
	cmd := &cobra.Command{
		Use:   "perf [options]",
		Short: "Check the performance of the etcd cluster",
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
			return r.perf(ctx, perfLoads[name])
		},
	}
	o.addTo(cmd, "/etcdctl-check-perf/")
	return cmd
}

// perf runs one load and judges it.
func (r *checkRun) perf(ctx context.Context, load perfLoad) error {
	limited, cancel := context.WithTimeout(ctx, time.Duration(load.seconds)*time.Second)
	defer cancel()
	value := randomText(checkValueBytes)
	total := load.rate * load.seconds
	step, end := r.a.progress(total)
	began := time.Now()
	t := r.write(limited, load.clients, total, load.rate, func() (string, string) {
		return r.flags.prefix + randomText(checkKeyBytes), value
	}, step)
	took := time.Since(began).Seconds()
	end()
	if err := r.cleanUp(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if !r.verdict(t, took, load.rate) {
		return silently(exitFailure)
	}
	return nil
}

// verdict prints the lines of the result and says whether all pass.
func (r *checkRun) verdict(t *tally, took float64, target int) bool {
	out := r.a.Stdout
	ok := !t.reportErrors(out)
	rate := 0.0
	if took > 0 {
		rate = float64(len(t.took)) / took
	}
	if rate/float64(target) > perfShare {
		fmt.Fprintf(out, "PASS: Throughput is %d writes/s\n", int(rate)+1)
	} else {
		fmt.Fprintf(out, "FAIL: Throughput too low: %d writes/s\n", int(rate)+1)
		ok = false
	}
	slowest, deviation := t.seconds()
	if slowest > perfSlowest {
		fmt.Fprintf(out, "Slowest request took too long: %fs\n", slowest)
		ok = false
	} else {
		fmt.Fprintf(out, "PASS: Slowest request took %fs\n", slowest)
	}
	if deviation > perfDeviation {
		fmt.Fprintf(out, "Stddev too high: %fs\n", deviation)
		ok = false
	} else {
		fmt.Fprintf(out, "PASS: Stddev is %fs\n", deviation)
	}
	if ok {
		fmt.Fprintln(out, "PASS")
	} else {
		fmt.Fprintln(out, "FAIL")
	}
	return ok
}
