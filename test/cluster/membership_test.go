package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	_, err := c.Put(within(t, patience), "k", "v")
	require.NoError(t, err)
	d := process.NewMember(t, "d")
	_, err = c.MemberAdd(within(t, patience), []string{d.PeerURL()})
	// M-16: of both APIs, which change members by the same way.
	require.ErrorIs(t, err, rpctypes.ErrUnhealthy, "the members have not been connected for long enough")
	require.Eventually(t, func() bool {
		_, err = c.MemberAddAsLearner(within(t, patience), []string{d.PeerURL()})
		return err == nil
	}, patience, 200*time.Millisecond)
	_, err = c.MemberAddAsLearner(within(t, patience), []string{"http://127.0.0.1:1"})
	require.ErrorIs(t, err, rpctypes.ErrTooManyLearners)
	_, err = c.MemberAdd(within(t, patience), []string{"http://127.0.0.1:1", d.PeerURL()})
	require.ErrorIs(t, err, rpctypes.ErrPeerURLExist)
	list, err := c.MemberList(within(t, patience))
	require.NoError(t, err)
	require.Len(t, list.Members, 4)
	var id uint64
	for _, m := range list.Members {
		if m.IsLearner {
			id = m.ID
		}
	}
	_, err = c.MemberPromote(within(t, patience), id)
	require.ErrorIs(t, err, rpctypes.ErrMemberLearnerNotReady)
	d.Start("--initial-cluster-state", "existing", "--initial-cluster", g.Initial(d))
	own := g.Connect(d)
	r, err := own.Get(within(t, patience), "k", clientv3.WithSerializable())
	require.NoError(t, err)
	require.Len(t, r.Kvs, 1)
	_, err = own.Put(within(t, patience), "k", "w")
	require.ErrorContains(t, err, "rpc not supported for learner")
	for _, m := range g.Followers()[:1] { // a member that does not lead passes it on
		_, err = g.Connect(m).MemberPromote(within(t, patience), id)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { // it hears of its promotion a moment later
		_, err = own.Put(within(t, patience), "k", "w")
		return err == nil
	}, patience, 20*time.Millisecond, "%v", err)
	g.Members = append(g.Members, d)
	g.Agree()

	_, err = c.MemberPromote(within(t, patience), id)
	require.ErrorIs(t, err, rpctypes.ErrMemberNotLearner)
	_, err = c.MemberPromote(within(t, patience), 77)
	require.ErrorIs(t, err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberRemove(within(t, patience), 77)
	require.ErrorIs(t, err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberUpdate(within(t, patience), id, []string{"nonsense"})
	require.Error(t, err)

	// The one that leads goes, and nobody waits for an election.
	lead := g.Leader()
	s := g.Status(lead)
	require.Eventually(t, func() bool {
		_, err = g.Connect(g.Others(lead)[0]).MemberRemove(within(t, patience), s.Header.MemberId)
		if err != nil {
			t.Logf("the leader is not removed: %v", err)
		}
		return err == nil || errors.Is(err, rpctypes.ErrMemberNotFound)
	}, 2*patience, 200*time.Millisecond)
	began := time.Now()
	lead.AwaitEnd()
	require.Equal(t, 0, lead.Cmd.ProcessState.ExitCode(), lead.Out)
	for i, m := range g.Members {
		if m == lead {
			g.Members = append(g.Members[:i:i], g.Members[i+1:]...)
		}
	}
	_, err = g.Connect().Put(within(t, patience), "k", "x")
	require.NoError(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
	g.Agree()
	lead.Launch()
	lead.AwaitEnd()
	require.Contains(t, lead.Out.String(), "the member has been permanently removed from the cluster")
}

// A learner that was added to become a voter becomes one without anybody's doing.
func TestCandidateIsPromotedOnceItHasCaughtUp(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 1)
	c := g.Connect()
	for range 50 {
		_, err := c.Put(within(t, patience), "k", "v")
		require.NoError(t, err)
	}
	b := process.NewMember(t, "b")
	ctx := metadata.AppendToOutgoingContext(within(t, patience), "cairn-auto-promote", "true")
	_, err := c.MemberAddAsLearner(ctx, []string{b.PeerURL()})
	require.NoError(t, err)
	b.Start("--initial-cluster-state", "existing", "--initial-cluster", g.Initial(b))
	g.Members = append(g.Members, b)
	require.Eventually(t, func() bool { s := g.Status(b); return s != nil && !s.IsLearner }, patience, 50*time.Millisecond)
	_, err = g.Connect(b).Put(within(t, patience), "k", "w")
	require.NoError(t, err)
	g.Agree()
}

func TestLeadershipMoves(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	lead, to := g.Leader(), g.Followers()[1]
	id := g.Status(to).Header.MemberId
	_, err := g.Connect(to).MoveLeader(within(t, patience), id)
	require.ErrorIs(t, err, rpctypes.ErrNotLeader)
	_, err = g.Connect(lead).MoveLeader(within(t, patience), 77)
	require.ErrorIs(t, err, rpctypes.ErrBadLeaderTransferee)
	_, err = g.Connect(lead).MoveLeader(within(t, patience), id)
	require.NoError(t, err)
	require.Equal(t, to, g.Leader())
}

// One member that is left starts a new cluster with everything that was acknowledged, and others join it.
func TestOneSurvivorStartsANewCluster(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	for i := range 100 {
		_, err := c.Put(within(t, patience), fmt.Sprint("k", i), "v")
		require.NoError(t, err)
	}
	g.Agree()
	old := g.Status(g.Members[0])
	for _, m := range g.Members {
		m.Kill()
	}
	left := g.Members[0]
	left.Start("--force-new-cluster")
	g.Members = g.Members[:1]
	s := g.Status(left)
	require.Equal(t, old.Header.ClusterId, s.Header.ClusterId)
	r, err := g.Connect().Get(within(t, patience), "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 100, r.Count)
	list, err := g.Connect().MemberList(within(t, patience))
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	left.Stop()
	left.Start()
	b := process.NewMember(t, "b2")
	_, err = g.Connect().MemberAdd(within(t, patience), []string{b.PeerURL()})
	require.NoError(t, err)
	b.Start("--initial-cluster-state", "existing", "--initial-cluster", g.Initial(b))
	g.Members = append(g.Members, b)
	g.Agree()
}

// What cannot begin says what to change.
func TestWhatCannotBegin(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 1)
	running := g.Members[0]
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--initial-cluster", "x=http://127.0.0.1:1"}, `couldn't find local name "m" in the initial cluster configuration`},
		{[]string{"--initial-cluster", "m=http://127.0.0.1:1"}, "missing from --initial-advertise-peer-urls"},
		{[]string{"--initial-cluster", "m=PEER,b=PEER"}, "has duplicate url"},
		{[]string{"--initial-cluster", "m=PEER,b"}, "is not name=url"},
		{[]string{"--initial-cluster", "m=PEER,b=http://127.0.0.1:1/x"}, "must not contain a path"},
		{[]string{"--initial-cluster", "m=PEER,a=" + running.PeerURL(), "--initial-cluster-state", "existing"}, "member count is unequal"},
		{[]string{"--initial-cluster", "m=PEER,b=http://127.0.0.1:1", "--initial-cluster-state", "existing"}, "cannot fetch cluster info from peer urls"},
		{[]string{"--initial-cluster", "m=PEER", "--initial-cluster-state", "existing"}, "names no other member to ask"},
		{[]string{"--initial-cluster", "m=PEER", "--initial-cluster-state", "old"}, `unexpected clusterState "old"`},
	} {
		m := process.NewMember(t, "m")
		for i := range c.args {
			c.args[i] = strings.ReplaceAll(c.args[i], "PEER", m.PeerURL())
		}
		m.Launch(c.args...)
		m.AwaitEnd()
		require.NotZero(t, m.Cmd.ProcessState.ExitCode(), c.args)
		require.Contains(t, m.Out.String(), c.want)
		require.NoDirExists(t, m.Dir, c.args)
	}
	// A member that has lost its data must not come back under its old name: it may have voted.
	g3 := process.NewGroup(t, 3)
	lost := g3.Members[2]
	lost.Kill()
	require.NoError(t, os.RemoveAll(lost.Dir))
	lost.Launch("--initial-cluster", g3.Initial())
	lost.AwaitEnd()
	require.Contains(t, lost.Out.String(), "has already been bootstrapped")
	_, err := g3.Connect(g3.Members[:2]...).Put(within(t, patience), "k", "v")
	require.NoError(t, err)
}

// Members that know nobody find each other in a registry; who comes too late is told so.
func TestMembersFindEachOtherInARegistry(t *testing.T) {
	t.Parallel()
	registry := process.NewGroup(t, 1)
	c := registry.Connect()
	flags := []string{"--discovery-token", "tok", "--discovery-endpoints", registry.Members[0].URL()}
	early := process.NewMember(t, "early")
	early.Launch(flags...)
	early.AwaitEnd()
	require.Contains(t, early.Out.String(), "discovery: size key not found")
	_, err := c.Put(within(t, patience), "/_etcd/registry/tok/_config/size", "3")
	require.NoError(t, err)
	g := &process.Group{T: t}
	for _, name := range []string{"a", "b", "c"} {
		g.Members = append(g.Members, process.NewMember(t, name))
	}
	for i, m := range g.Members {
		if i == 2 {
			time.Sleep(500 * time.Millisecond)
			g.Members[0].Kill() // and comes back before the cluster is complete
			g.Members[0].Launch(flags...)
		}
		m.Launch(flags...)
	}
	for _, m := range g.Members {
		m.Await()
	}
	_, err = g.Connect().Put(within(t, patience), "k", "v")
	require.NoError(t, err)
	g.Agree()
	late := process.NewMember(t, "late")
	late.Launch(flags...)
	late.AwaitEnd()
	require.Contains(t, late.Out.String(), "discovery token was already used")
	require.Contains(t, late.Out.String(), "discovery: cluster is full")
	require.NotZero(t, late.Cmd.ProcessState.ExitCode())
	g.Members[1].Stop()
	g.Members[1].Start(flags...) // it does not ask again
	g.Agree()
}
