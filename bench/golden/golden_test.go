package golden

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-kv/cairn/bench/process"
)

var (
	seeds = flag.Uint64("seed", 1, "first seed")
	runs  = flag.Int("runs", 1, "how many seeds")
	keep  = flag.Bool("keep", false, "keep the data and logs of servers of failed tests")
	crash = flag.Int("crash", 2000, "requests between two crashes of both servers")
	ops   = flag.Int("ops", 3000, "requests per seed")
)

var etcdProgram, cairnProgram process.Program

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "golden-bin-")
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

// both are the two programs, etcd first.
func both() []process.Program { return []process.Program{etcdProgram, cairnProgram} }

// tempDir is a folder in memory where there is one: these tests compare answers, not disks.
func tempDir(t *testing.T) string {
	base := "/dev/shm"
	if fi, err := os.Stat(base); err != nil || !fi.IsDir() {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "golden-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() || !*keep {
			os.RemoveAll(dir)
		}
	})
	return dir
}

func start(t *testing.T, p process.Program, args ...string) *side {
	t.Helper()
	s, err := startSide(p, filepath.Join(tempDir(t), string(p.Kind)), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestRandomRequests(t *testing.T) {
	for i := range *runs {
		seed := *seeds + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r, err := newRun(seed, start(t, etcdProgram), start(t, cairnProgram), settings{}, knownDifferences)
			if err != nil {
				t.Fatal(err)
			}
			r.crashEvery = *crash
			compareRun(t, r, *ops)
		})
	}
}

func compareRun(t *testing.T, r *run, ops int) {
	t.Helper()
	var err error
	for r.index < ops && err == nil {
		err = r.step()
	}
	if err == nil {
		err = r.finish()
	} else {
		r.watches.close()
	}
	t.Logf("seed %d: %d requests, %d events of watchers", r.seed, r.index, r.watches.compared)
	for _, k := range slices.Sorted(maps.Keys(r.done)) {
		t.Logf("  %-40s %d", k, r.done[k])
	}
	for _, k := range slices.Sorted(maps.Keys(r.seen)) {
		t.Logf("  known difference %s: %d", k, r.seen[k])
	}
	for _, d := range r.differences {
		t.Errorf("%s", d)
	}
	if err != nil {
		t.Error(err)
	}
	if t.Failed() {
		for _, l := range r.last {
			t.Log(l)
		}
	}
}
