//go:build linux

package network

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// giveUp is how long a leader that cannot do its work may go on.
const giveUp = 1500 * time.Millisecond

// reconnect is how long members may take to find each other again: a connection that was cut is not known to be lost
// before its deadline for reading, which is etcd's 5 s.
const reconnect = 6 * time.Second

// among is the load of most tests.
var among = crowd{staying: 2, free: 4}

func TestLeaderIsCutOff(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	time.Sleep(500 * time.Millisecond)
	lead := s.Leader()
	others := s.Others(lead)
	s.lab.part(lead, others...)
	gaveUp := s.watchGaveUp(lead)
	measured(t, "leader cut off: writes resume", 2*electionTimeout+500*time.Millisecond, s.resumed(others...))
	measured(t, "leader cut off: it gives up", giveUp, gaveUp())
	time.Sleep(2 * time.Second)
	s.lab.heal()
	measured(t, "leader cut off, healed: writes through it", reconnect, s.resumed(lead))
	s.end()
}

func TestFollowerIsCutOff(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	time.Sleep(500 * time.Millisecond)
	lead := s.Leader()
	cut := s.Others(lead)[0]
	term := s.Status(lead).RaftTerm
	from := s.now()
	s.lab.part(cut, s.Others(cut)...)
	time.Sleep(4 * time.Second)
	s.lab.heal()
	measured(t, "follower cut off, healed: writes through it", reconnect, s.resumed(cut))
	time.Sleep(time.Second)
	measured(t, "follower cut off: longest gap in the others' writes", 500*time.Millisecond, s.load.gap(from, s.now(), s.Others(cut)...))
	require.Equal(t, lead, s.Leader(), "the leader has changed")
	require.Equal(t, term, s.Status(lead).RaftTerm, "the term has changed")
	s.end()
}

// Two members that do not hear each other, but both the third, do not disturb each other either.
func TestTwoLoseEachOther(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	time.Sleep(500 * time.Millisecond)
	lead := s.Leader()
	lost, third := s.Others(lead)[0], s.Others(lead)[1]
	from := s.now()
	s.lab.part(lead, lost)
	time.Sleep(4 * time.Second)
	measured(t, "leader and follower apart: longest gap in writes", 500*time.Millisecond, s.load.gap(from, s.now(), lead, third))
	require.Equal(t, lead, s.Leader(), "the leader has changed")
	s.lab.heal()
	measured(t, "leader and follower apart, healed: writes through it", reconnect, s.resumed(lost))
	s.end()
}

func TestAllApart(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	time.Sleep(500 * time.Millisecond)
	lead := s.Leader()
	for i, m := range s.Members {
		s.lab.part(m, s.Members[i+1:]...)
	}
	from := s.now()
	measured(t, "all apart: the leader gives up", giveUp, s.gaveUp(lead))
	time.Sleep(3 * time.Second)
	require.Empty(t, s.load.answeredWrites(from, s.now()), "a write was acknowledged by a minority")
	s.lab.heal()
	measured(t, "all apart, healed: writes resume", reconnect, s.resumed(s.Members...))
	s.end()
}

// A network that keeps changing must not do more harm than make clients wait.
func TestPartitionsFlap(t *testing.T) {
	s := newScene(t)
	s.load = startLoad(s, among)
	t.Logf("seed %d", s.seed)
	rounds := 24
	if *long {
		rounds = 200
	}
	from := s.now()
	for range rounds {
		m := s.Members[s.rng.IntN(3)]
		others := s.Others(m)
		switch s.rng.IntN(5) {
		case 0:
			s.lab.part(m, others...)
		case 1:
			s.lab.part(m, others[0])
		case 2:
			s.lab.cut(m, others...)
		case 3:
			for _, o := range others {
				s.lab.cut(o, m)
			}
		case 4:
			s.lab.cut(others[0], others[1])
		}
		time.Sleep(time.Duration(150+s.rng.IntN(300)) * time.Millisecond)
		s.lab.heal()
		time.Sleep(time.Duration(50+s.rng.IntN(150)) * time.Millisecond)
	}
	measured(t, "flapping partitions: longest gap in writes", 0, s.load.gap(from, s.now()))
	measured(t, "flapping partitions, healed: writes resume", reconnect, s.resumed(s.Members...))
	s.end()
}

// A leader whose network works in one direction only gives up by itself.
func TestLeaderIsHeardOneWay(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(*lab, *process.Member, []*process.Member)
	}{
		{"leader cannot send", func(l *lab, lead *process.Member, others []*process.Member) { l.cut(lead, others...) }},
		{"leader is not answered", func(l *lab, lead *process.Member, others []*process.Member) {
			for _, o := range others {
				l.cut(o, lead)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t)
			s.load = startLoad(s, among)
			rounds := 3
			if *long {
				rounds = 20
			}
			var gaps, resumes []time.Duration
			for range rounds {
				time.Sleep(700 * time.Millisecond)
				lead := s.Leader()
				others := s.Others(lead)
				gaveUp := s.watchGaveUp(lead)
				c.cut(s.lab, lead, others)
				resumes = append(resumes, s.resumed(others...))
				gaps = append(gaps, gaveUp())
				time.Sleep(300 * time.Millisecond)
				s.lab.heal()
				s.ready()
			}
			measured(t, c.name+": writes resume", 2*electionTimeout+500*time.Millisecond, resumes...)
			measured(t, c.name+": it gives up", giveUp, gaps...)
			s.end()
		})
	}
}
