package sim

import (
	"fmt"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wire"
)

// scenario is a cluster in which only what the test says goes wrong.
func scenario(t *testing.T, seed uint64, p plan) *system {
	cryptotest.SetGlobalRandom(t, seed)
	s := newSystem(Options{Seed: seed}, p)
	defer func() {
		if t.Failed() {
			for _, l := range s.w.log {
				t.Log(l)
			}
		}
	}()
	s.start()
	require.True(t, s.until(5*time.Second, func() bool { ok, _ := s.whole(); return ok }), "it becomes whole")
	return s
}

// do runs f at a member and waits for the result of what it has proposed.
func (s *system) do(t *testing.T, m *member, f func(done func(machine.Result))) (res machine.Result) {
	t.Helper()
	answered := false
	m.enter(m.life, func() error {
		f(func(r machine.Result) { res, answered = r, true })
		return m.pump()
	})
	require.True(t, s.until(requestTimeout, func() bool { return answered }), "no answer")
	return res
}

func (s *system) put(t *testing.T, m *member, key string) {
	t.Helper()
	s.do(t, m, func(done func(machine.Result)) {
		m.propose(wire.KindPut, &pb.PutRequest{Key: []byte(key), Value: []byte("v")}, done)
	})
}

func (s *system) follower(t *testing.T) *member {
	t.Helper()
	for _, m := range s.present() {
		if m != s.leader() {
			return m
		}
	}
	t.Fatal("there is no follower")
	return nil
}

func (s *system) alone(m *member) func(a, b *member) bool {
	return func(a, b *member) bool { return a == m || b == m }
}

// TestDeadlinesSurviveAnElection shows that a lease that nobody renews ends when it has to, within a second, though its
// leader is lost half way.
func TestDeadlinesSurviveAnElection(t *testing.T) {
	for seed := range uint64(5) {
		for name, lose := range map[string]func(s *system, l *member){
			"crash":     func(_ *system, l *member) { l.crash() },
			"pause":     func(_ *system, l *member) { l.pause(20 * time.Second) },
			"isolation": func(s *system, l *member) { s.cut("the leader", time.Minute, s.alone(l)) },
		} {
			s := scenario(t, seed, quiet(3))
			l := s.leader()
			granted := s.w.now
			s.do(t, l, func(done func(machine.Result)) {
				m := l
				m.propose(wire.KindLeaseGrant, &pb.LeaseGrantRequest{ID: 7, TTL: 8}, done)
			})
			s.run(4 * time.Second)
			lose(s, l)
			tenure := s.truth.leases.now[7]
			require.True(t, s.until(20*time.Second, func() bool { return tenure.ended > 0 }), name)
			require.Greater(t, tenure.ended-granted, 8*time.Second, name)
			require.Less(t, tenure.ended-granted, 9*time.Second+100*time.Millisecond, name)
		}
	}
}

// TestLeaderGivesUpInTime shows how long a leader that can do nothing stands in the way of another one.
func TestLeaderGivesUpInTime(t *testing.T) {
	for name, harm := range map[string]func(s *system, l *member){
		"disk":                  func(s *system, l *member) { l.stallUntil = s.w.now + time.Minute },
		"nothing reaches it":    func(s *system, l *member) { s.cut(name(l), time.Minute, func(_, b *member) bool { return b == l }) },
		"nothing comes from it": func(s *system, l *member) { s.cut(name(l), time.Minute, func(a, _ *member) bool { return a == l }) },
	} {
		t.Run(name, func(t *testing.T) {
			s := scenario(t, 1, quiet(3))
			l := s.leader()
			harm(s, l)
			l.enter(l.life, func() error { // work for the disk
				l.propose(wire.KindPut, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}, nil)
				return l.pump()
			})
			require.True(t, s.until(1500*time.Millisecond, func() bool { return l.leadTerm == 0 }), "it leads on")
			require.True(t, s.until(3*time.Second, func() bool { x := s.leader(); return x != nil && x != l && x.acts() }), "nobody takes over")
		})
	}
}

func name(m *member) string { return m.String() }

// TestMemberJoinsAndIsPromoted adds a member that has nothing, from the log and from a snapshot.
func TestMemberJoinsAndIsPromoted(t *testing.T) {
	for _, keep := range []uint64{3, 5000} {
		p := quiet(1)
		p.keepEntries = keep
		s := scenario(t, 1, p)
		for i := range 30 {
			s.put(t, s.leader(), fmt.Sprint("x", i%4))
		}
		m := s.newMember(true)
		l := s.leader()
		conf := func(kind raftpb.ConfChangeType, context any) {
			require.NoError(t, s.do(t, l, func(done func(machine.Result)) { l.proposeConf(confChange(kind, m, context), done) }).Err)
			require.True(t, s.until(10*time.Second, func() bool { ok, _ := s.whole(); return ok }))
		}
		conf(raftpb.ConfChangeAddLearnerNode, m.id)
		require.False(t, l.node.Status().Sole && l.alone(), "a learner counts")
		conf(raftpb.ConfChangeAddNode, promotion{ID: m.id.ID, IsPromote: true})
		require.Equal(t, keep == 3, s.rep.Snapshots > 0)
		s.put(t, m, "through the new one")
		conf(raftpb.ConfChangeRemoveNode, nil)
		require.True(t, l.alone())
		require.True(t, s.until(10*time.Second, func() bool { return m.gone }), "it stops")
		s.settle()
		s.checkEnd()
	}
}

// TestCrashAtEveryStepOfAnInstallation crashes a member that installs a snapshot, in the middle of each of its disk's
// operations and at many moments in between. It has to start again, with the old state or the new one.
func TestCrashAtEveryStepOfAnInstallation(t *testing.T) {
	p := quiet(3)
	p.keepEntries, p.flushEvery = 3, time.Minute
	prepare := func(seed uint64) (*system, *member) {
		s := scenario(t, seed, p)
		m := s.follower(t)
		s.cut("the follower", 2*time.Second, s.alone(m))
		for i := range 40 {
			s.put(t, s.leader(), fmt.Sprint("x", i%4))
		}
		require.True(t, s.until(10*time.Second, func() bool { return len(m.prepared) > 0 || m.preparing }), "no snapshot comes")
		return s, m
	}
	check := func(s *system) {
		s.settle()
		s.checkEnd()
	}
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		for skip := range 4 {
			s, m := prepare(uint64(skip))
			m.fs.Sleep(func(time.Duration) { panic(crashed{m}) })
			m.fs.Add(vfs.Rule{Op: op, Skip: skip, Times: 1, Delay: 1})
			s.until(time.Second, func() bool { return !m.up })
			check(s)
		}
	}
	for at := range 30 {
		s, m := prepare(uint64(at))
		s.run(time.Duration(at) * time.Millisecond)
		m.crash()
		check(s)
	}
}
