package ctl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// checking makes a run of a check without its command.
func checking(t *testing.T, s *fake.Server) (*checkRun, *syncBuffer) {
	p, out, _ := program(t, s, "")
	a := &app{Program: p}
	c, err := client.NewFromURL(s.Addr)
	require.NoError(t, err)
	return &checkRun{
		a: a, flags: &checkFlags{prefix: "/p/", autoCompact: true, autoDefrag: true},
		cfg: client.Config{Endpoints: []string{s.Addr}}, writes: c,
	}, out
}

func TestCheckPerfWritesAtItsRateAndCleansUp(t *testing.T) {
	s := fake.Start(t)
	r, out := checking(t, s)
	require.NoError(t, r.perf(context.Background(), perfLoad{rate: 100, clients: 5, seconds: 1}))
	require.Regexp(t, regexp.MustCompile(`^Compacting with revision \d+\nCompacted with revision \d+\n`+
		`Defragmenting "127.0.0.1:\d+"\nDefragmented "127.0.0.1:\d+"\n`+
		`PASS: Throughput is \d+ writes/s\nPASS: Slowest request took 0\.\d{6}s\nPASS: Stddev is 0\.\d{6}s\nPASS\n$`), out.String())
	put := s.Calls("KV/Put")[0].Req.(*pb.PutRequest)
	require.Len(t, put.Key, len("/p/")+256)
	require.Len(t, put.Value, 1024)
	require.Len(t, s.Calls("KV/DeleteRange"), 1)
}

func TestCheckVerdicts(t *testing.T) {
	seconds := func(list ...float64) *tally {
		tl := &tally{}
		for _, s := range list {
			tl.took = append(tl.took, time.Duration(s*float64(time.Second)))
		}
		return tl
	}
	withErrors := seconds(0.1, 0.1)
	withErrors.errors = map[string]int{"bad": 2, "awful": 1}
	for _, tc := range []struct {
		t    *tally
		took float64
		want string
		ok   bool
	}{
		{seconds(0.1, 0.1, 0.1), 1, "PASS: Throughput is 4 writes/s\nPASS: Slowest request took 0.100000s\nPASS: Stddev is 0.000000s\nPASS\n", true},
		{seconds(0.1, 0.1), 1, "FAIL: Throughput too low: 3 writes/s\nPASS: Slowest request took 0.100000s\nPASS: Stddev is 0.000000s\nFAIL\n", false},
		{seconds(0.1, 0.1, 0.8), 1, "PASS: Throughput is 4 writes/s\nSlowest request took too long: 0.800000s\nStddev too high: 0.329983s\nFAIL\n", false},
		{withErrors, 0.5, "FAIL: too many errors\nFAIL: ERROR(awful) -> 1\nFAIL: ERROR(bad) -> 2\nPASS: Throughput is 5 writes/s\nPASS: Slowest request took 0.100000s\nPASS: Stddev is 0.000000s\nFAIL\n", false},
		{seconds(), 0, "FAIL: Throughput too low: 1 writes/s\nPASS: Slowest request took 0.000000s\nPASS: Stddev is 0.000000s\nFAIL\n", false},
	} {
		out := newSyncBuffer()
		r := &checkRun{a: &app{Program: &Program{Stdout: out}}}
		require.Equal(t, tc.ok, r.verdict(tc.t, tc.took, 3))
		require.Equal(t, tc.want, out.String())
	}
}

func TestCheckRefusals(t *testing.T) {
	s := fake.Start(t)
	s.Set("/etcdctl-check-perf/x=1")
	require.Equal(t, result{err: "Error: prefix \"/etcdctl-check-perf/\" has keys. Delete with 'etcdctl del --prefix /etcdctl-check-perf/' first\n", code: 3},
		run(t, s, "", "check", "perf"))
	require.Equal(t, result{err: "Error: unknown load option x\n", code: 4}, run(t, s, "", "check", "perf", "--load", "x"))
	require.Equal(t, result{err: "Error: unknown load option x\n", code: 4}, run(t, s, "", "check", "datascale", "--load", "x"))
	for _, load := range []string{"s", "small", "m", "medium", "l", "large", "xl", "xLarge"} {
		name, err := loadName(load)
		require.NoError(t, err)
		require.NotZero(t, perfLoads[name])
		require.NotZero(t, scaleLoads[name])
	}
}

func TestCheckDatascale(t *testing.T) {
	s := fake.Start(t)
	resident := 64
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" || resident == 0 {
			http.Error(w, "no", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "# HELP process_resident_memory_bytes x\nprocess_resident_memory_bytes %d\n", resident<<20)
		resident *= 2
	}))
	defer metrics.Close()
	r, out := checking(t, s)
	r.cfg.Endpoints = []string{metrics.URL, s.Addr}
	r.flags.autoCompact, r.flags.autoDefrag = false, false
	require.NoError(t, r.scale(context.Background(), scaleLoad{pairs: 20, clients: 3}))
	require.Equal(t, "Start data scale check for work load [20 key-value pairs, 1024 bytes per key-value, 3 concurrent clients].\nPASS: Approximate system memory used : 64.00 MB.\n", out.String())
	require.Len(t, s.Calls("KV/Put"), 20)

	resident = 0
	r, out = checking(t, s)
	r.cfg.Endpoints = []string{strings.TrimPrefix(metrics.URL, "http://")}
	var exit *exitError
	require.True(t, errors.As(r.scale(context.Background(), scaleLoad{pairs: 1, clients: 1}), &exit))
	require.Equal(t, 1, exit.code)
	require.Equal(t, "FAIL: Could not read process_resident_memory_bytes before the put operations.\n", out.String())
}

func TestFindMetric(t *testing.T) {
	v, err := findMetric(strings.NewReader("a 1\nprocess_resident_memory_bytes 6.7108864e+07\n"), memoryMetric)
	require.NoError(t, err)
	require.Equal(t, 67108864.0, v)
	_, err = findMetric(strings.NewReader("process_resident_memory_bytes_total 1\n"), memoryMetric)
	require.Error(t, err)
	_, err = findMetric(broken{}, memoryMetric)
	require.ErrorIs(t, err, net.ErrClosed)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, net.ErrClosed }
