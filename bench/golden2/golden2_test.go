package golden2

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-kv/cairn/bench/process"
)

var (
	seed  = flag.Uint64("seed", 1, "first seed")
	runs  = flag.Int("runs", 1, "how many seeds")
	ops   = flag.Int("ops", 2500, "requests per seed")
	every = flag.Int("users", 4000, "requests between two phases with users, which take etcd seconds each")
	keep  = flag.Bool("keep", false, "keep the data and logs of servers of failed tests")
)

const debianEtcd = "/usr/bin/etcd"

var cairnProgram process.Program

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "golden2-bin-")
	if err == nil {
		cairnProgram, err = process.BuildCairn(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// start starts both servers, or skips where there is no etcd with a v2 API.
func start(t *testing.T, args ...string) pair {
	t.Helper()
	if _, err := os.Stat(debianEtcd); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(debianEtcd, "--version").Output()
	if err != nil || !strings.Contains(string(out), "etcd Version: 3.4.") {
		t.Skipf("%s is not of version 3.4: %s %v", debianEtcd, out, err)
	}
	base := "/dev/shm" // answers are compared, not disks
	if fi, err := os.Stat(base); err != nil || !fi.IsDir() {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "golden2-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() || !*keep {
			os.RemoveAll(dir)
		}
	})
	one := func(p process.Program) *side {
		s, err := startSide(p, filepath.Join(dir, string(p.Kind)), args...)
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
	return pair{etcd: one(process.Program{Kind: process.Etcd, Path: debianEtcd}), cairn: one(cairnProgram)}
}

// begin waits until a member has written all that it writes by itself (K-08).
func (r *run) begin() error {
	if err := r.awaitIndex(3); err != nil {
		return err
	}
	a, err := r.ask(&request{method: "GET", target: "/v2/members"})
	if err != nil {
		return err
	}
	id := regexp.MustCompile(`"id":"([0-9a-f]+)"`).FindStringSubmatch(a.body)
	if id == nil {
		return fmt.Errorf("no member in %s", a.body)
	}
	r.gen.member = id[1]
	return r.count.begin()
}

func TestRandomRequests(t *testing.T) {
	for i := range *runs {
		n := *seed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", n), func(t *testing.T) {
			r := newRun(n, start(t))
			r.everyUsers = *every
			err := r.begin()
			for r.index < *ops && err == nil {
				err = r.step()
			}
			if err == nil {
				err = r.finish()
			}
			r.watches.closeAll()
			t.Logf("seed %d: %d requests, %d watches, %d events of watches", n, r.index, r.watches.begun, r.watches.compared)
			for _, k := range slices.Sorted(maps.Keys(r.done)) {
				t.Logf("  %-40s %d", k, r.done[k])
			}
			for _, k := range slices.Sorted(maps.Keys(r.seen)) {
				t.Logf("  known difference: %s: %d (%s)", k, r.seen[k], reasons[k])
			}
			for _, w := range r.wrong {
				t.Error(w)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
