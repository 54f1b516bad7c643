//go:build linux

package network

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// configurations are what failovers are measured with.
var configurations = []struct {
	name     string
	election time.Duration
	flags    []string
}{
	{"defaults", electionTimeout, nil},
	{"100/500", 500 * time.Millisecond, quick},
}

// A leader that is killed is replaced at once: its connections tell.
func TestLeaderIsKilled(t *testing.T) {
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, c.flags...)
			s.load = startLoad(s, among)
			rounds := 6
			if *long {
				rounds = 20
			}
			var took []time.Duration
			for range rounds {
				time.Sleep(400 * time.Millisecond)
				lead := s.Leader()
				others := s.Others(lead)
				killed := time.Now()
				lead.Kill()
				s.resumed(others...)
				took = append(took, time.Since(killed))
				time.Sleep(200 * time.Millisecond)
				lead.Start()
				s.ready()
			}
			bound := 500 * time.Millisecond
			if c.flags == nil {
				bound = 2*c.election + 500*time.Millisecond // etcd's own
			}
			measured(t, "leader killed, "+c.name+": writes resume", bound, took...)
			s.end()
		})
	}
}

// A leader whose machine goes without a word is missed after the election timeout.
func TestLeadersMachineGoes(t *testing.T) {
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, c.flags...)
			s.load = startLoad(s, among)
			rounds := 3
			if *long {
				rounds = 20
			}
			var took []time.Duration
			for range rounds {
				time.Sleep(400 * time.Millisecond)
				lead := s.Leader()
				others := s.Others(lead)
				gone := time.Now()
				s.lab.unplug(lead)
				s.resumed(others...)
				took = append(took, time.Since(gone))
				lead.Kill()
				s.lab.plug(lead)
				lead.Start()
				s.ready()
			}
			measured(t, "leader's machine gone, "+c.name+": writes resume", 2*c.election+500*time.Millisecond, took...)
			s.end()
		})
	}
}

// A process that stops and goes on does not know that time has passed. It must not answer from what was.
func TestLeaderIsStopped(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	time.Sleep(500 * time.Millisecond)
	lead := s.Leader()
	others := s.Others(lead)
	from := s.now()
	s.stop(lead)
	measured(t, "leader stopped: writes resume", 2*electionTimeout+500*time.Millisecond, s.resumed(others...))
	time.Sleep(3*time.Second - (s.now() - from))
	lead.Signal(syscall.SIGCONT)
	measured(t, "leader stopped and going on: it gives up", giveUp, s.gaveUp(lead))
	measured(t, "leader stopped and going on: writes through it", reconnect, s.resumed(lead))
	s.end()
}

func TestFollowerIsStopped(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	time.Sleep(500 * time.Millisecond)
	lead := s.Leader()
	stopped := s.Others(lead)[0]
	from := s.now()
	s.stop(stopped)
	time.Sleep(3 * time.Second)
	stopped.Signal(syscall.SIGCONT)
	measured(t, "follower stopped and going on: writes through it", reconnect, s.resumed(stopped))
	time.Sleep(500 * time.Millisecond)
	measured(t, "follower stopped: longest gap in the others' writes", 500*time.Millisecond, s.load.gap(from, s.now(), s.Others(stopped)...))
	require.Equal(t, lead, s.Leader(), "the leader has changed")
	s.end()
}

// A rolling restart fails no call of clients that know all members.
func TestRollingRestart(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, crowd{free: 8})
	from := s.now()
	rounds := 2
	if *long {
		rounds = 10
	}
	for range rounds {
		for _, m := range s.Members {
			time.Sleep(300 * time.Millisecond)
			m.Stop()
			time.Sleep(200 * time.Millisecond)
			m.Start()
			require.Eventually(t, func() bool { st := s.Status(m); return st != nil && st.Leader != 0 }, patience, 20*time.Millisecond)
		}
	}
	measured(t, "rolling restart: longest gap in writes", 0, s.load.gap(from, s.now()))
	s.end()
	require.Empty(t, s.load.failed)
}

// On a network that loses and delays packets everything is slower, and nothing else.
func TestNetworkIsBad(t *testing.T) {
	for _, how := range [][]string{{"delay", "20ms", "10ms"}, {"delay", "5ms", "loss", "3%"}} {
		t.Run(how[len(how)-2], func(t *testing.T) {
			if unable == "" && !canNetem(how...) {
				t.Skip("SKIP: the kernel has no netem")
			}
			s := newScene(t)
			s.lab.netem(s.Members, how...)
			s.load = startLoad(s, among)
			from := s.now()
			time.Sleep(5 * time.Second)
			lead := s.Leader()
			killed := time.Now()
			lead.Kill()
			s.resumed(s.Others(lead)...)
			measured(t, "leader killed on a bad network: writes resume", 2*electionTimeout+500*time.Millisecond, time.Since(killed))
			time.Sleep(2 * time.Second)
			measured(t, "bad network: longest gap in writes", 0, s.load.gap(from, s.now()))
			s.end()
		})
	}
}
