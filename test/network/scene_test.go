//go:build linux

package network

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

const (
	heartbeat       = 100 * time.Millisecond
	electionTimeout = time.Second // etcd's default
)

// quick is the configuration that is documented for short failovers.
var quick = []string{"--heartbeat-interval", "100", "--election-timeout", "500"}

// scene is a cluster of three in a lab.
type scene struct {
	*process.Group
	t     testing.TB
	lab   *lab
	seed  uint64
	rng   *rand.Rand
	began time.Time
	disks map[*process.Member]*disk
	load  *load

	inside, outside map[*process.Member]*clientv3.Client // one for each member, on its machine and elsewhere
}

// diskBytes is how large a disk is: a member refuses writes when it has less than three log segments of room.
const diskBytes = 1 << 30

// onDisk is what of a member is on a disk of its own.
type onDisk int

const (
	nothing onDisk = iota
	everything
	onlyLog
)

// newScene starts three members. It skips the test where there can be no lab.
func newScene(t testing.TB, flags ...string) *scene { return stage(t, nothing, flags...) }

func stage(t testing.TB, own onDisk, flags ...string) *scene {
	t.Helper()
	if unable != "" {
		t.Skip("SKIP: " + unable)
	}
	s := &scene{t: t, seed: uint64(time.Now().UnixNano()), began: time.Now(), disks: map[*process.Member]*disk{},
		inside: map[*process.Member]*clientv3.Client{}, outside: map[*process.Member]*clientv3.Client{}}
	s.rng = rand.New(rand.NewPCG(s.seed, 0))
	s.lab = newLab(t)
	s.Group = &process.Group{T: t, Place: place(s.lab.router)}
	for i, name := range []string{"a", "b", "c"} {
		m := &process.Member{T: t, Name: name, Dir: filepath.Join(t.TempDir(), name), Flags: flags}
		s.lab.machine(m, i+1)
		if own != nothing {
			s.disks[m] = newDisk(t, s.lab.name+name, diskBytes)
		}
		switch own {
		case everything:
			m.Dir = filepath.Join(s.disks[m].path, "data")
		case onlyLog:
			m.Flags = append([]string{"--wal-dir", filepath.Join(s.disks[m].path, "wal")}, flags...)
		}
		s.Members = append(s.Members, m)
	}
	t.Cleanup(s.clear)
	s.Start()
	for _, m := range s.Members {
		s.inside[m], s.outside[m] = s.Inside(m), s.Connect(m)
	}
	s.ready()
	return s
}

// clear ends all processes, whatever state they are in.
func (s *scene) clear() {
	for _, d := range s.disks {
		d.thaw()
	}
	for _, m := range s.Members {
		m.Kill()
		if s.t.Failed() && m.Out != nil {
			name := strings.ReplaceAll(fmt.Sprintf("%s%s-%s.log", prefix, s.t.Name(), m.Name), "/", "-")
			path := filepath.Join(os.TempDir(), name)
			_ = os.WriteFile(path, []byte(m.Out.String()), 0o600)
			s.t.Logf("what member %s said is in %s", m.Name, path)
		}
	}
}

// now is the time since the scene began.
func (s *scene) now() time.Duration { return time.Since(s.began) }

// ready waits until writes through every member succeed.
func (s *scene) ready() {
	s.t.Helper()
	s.resumed(s.Members...)
}

// probeTimeout is short, for servers that lose what was under way when a leader goes.
const probeTimeout = 250 * time.Millisecond

// resumed is how long it takes from now until writes through all of some members have succeeded.
func (s *scene) resumed(through ...*process.Member) time.Duration {
	s.t.Helper()
	began := time.Now()
	took := make(chan time.Duration)
	for _, m := range through {
		go func() {
			for time.Since(began) < patience {
				ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
				_, err := s.outside[m].Put(ctx, "probe/"+m.Name, "x")
				cancel()
				if err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			took <- time.Since(began)
		}()
	}
	var longest time.Duration
	for range through {
		longest = max(longest, <-took)
	}
	require.Less(s.t, longest, patience, "writes do not resume")
	return longest
}

// gaveUp is how long it takes from now until a member says that it does not lead.
func (s *scene) gaveUp(m *process.Member) time.Duration {
	s.t.Helper()
	began := time.Now()
	for time.Since(began) < patience {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		st, err := s.inside[m].Status(ctx, m.URL())
		cancel()
		if err == nil && st.Leader != st.Header.MemberId {
			return time.Since(began)
		}
		time.Sleep(2 * time.Millisecond)
	}
	s.t.Fatalf("member %s goes on to lead", m.Name)
	return 0
}

// watchGaveUp is gaveUp while other things happen: the result comes when it is asked for.
func (s *scene) watchGaveUp(m *process.Member) func() time.Duration {
	result := make(chan time.Duration, 1)
	go func() {
		defer close(result)
		result <- s.gaveUp(m)
	}()
	return func() time.Duration {
		d, ok := <-result
		require.True(s.t, ok, "member %s goes on to lead", m.Name)
		return d
	}
}

// stop stops a member's process until it is sent SIGCONT.
func (s *scene) stop(m *process.Member) {
	s.t.Helper()
	m.Signal(syscall.SIGSTOP)
	// A thread that waits for a disk stops later, and the first to stop tells the others.
	require.Eventually(s.t, func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", m.Cmd.Process.Pid))
		for _, path := range stats {
			b, _ := os.ReadFile(path)
			if _, state, ok := strings.Cut(string(b), ") "); ok && state[0] != 'T' {
				return false
			}
		}
		return err == nil
	}, patience, time.Millisecond)
}

// settle ends all faults and waits until the cluster is whole.
func (s *scene) settle() {
	s.t.Helper()
	s.lab.heal()
	for _, m := range s.Members {
		s.lab.plug(m)
		if d := s.disks[m]; d != nil {
			d.thaw()
		}
		select {
		case <-m.Ended:
			m.Start()
		default:
			m.Signal(syscall.SIGCONT)
		}
	}
	s.ready()
}

// end settles the cluster, lets the load go on for a moment, and checks everything.
func (s *scene) end() {
	s.t.Helper()
	s.settle()
	if s.load != nil {
		time.Sleep(300 * time.Millisecond)
		s.load.end()
	}
	s.Agree()
	for _, m := range s.Members {
		require.NotContains(s.t, m.Out.String(), "panic", "member %s", m.Name)
	}
}
