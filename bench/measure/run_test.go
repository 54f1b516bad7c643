package measure

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cairn-kv/cairn/bench/process"
	"github.com/cairn-kv/cairn/bench/report"
)

var etcdProgram, cairnProgram process.Program

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "measure-bin-")
	if err == nil {
		etcdProgram, cairnProgram, err = process.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// TestEveryRow measures a little of everything. The measurements themselves check what they are answered: how many keys
// there are, and that each watcher gets each event once.
func TestEveryRow(t *testing.T) {
	r := &Run{Etcd: etcdProgram, Cairn: cairnProgram, Dir: t.TempDir(), Plan: Tiny(), Log: t.Logf, Want: func(string) bool { return true }}
	r.EtcdV2, _ = process.V2Etcd()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	rep, err := r.Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var works []string
	for _, row := range rep.Rows {
		works = append(works, row.Work)
		if len(row.Etcd) != 1 || len(row.Cairn) != 1 {
			t.Errorf("%s: %d samples of etcd, %d of cairn", row.Work, len(row.Etcd), len(row.Cairn))
			continue
		}
		for _, target := range row.Targets {
			for _, s := range []report.Sample{row.Etcd[0], row.Cairn[0]} {
				if _, ok := s[target.Metric]; !ok {
					t.Errorf("%s: no %s", row.Work, target.Metric)
				}
			}
		}
	}
	if all := r.Works(); !slices.Equal(works, all) {
		t.Errorf("measured:\n%q\nof:\n%q", works, all)
	}
	left, err := os.ReadDir(r.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestStride(t *testing.T) {
	for _, n := range []int{1, 2, 10, 500, 2000} {
		seen := make([]bool, n)
		for i, k := 0, stride(n); i < n; i++ {
			seen[i*k%n] = true
		}
		if slices.Contains(seen, false) {
			t.Errorf("%d: not every number", n)
		}
	}
}
