package cluster

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3)
	c := g.connect()
	_, err := c.Put(within(t, patience), "k", "v")
	require.NoError(t, err)
	d := newMember(t, "d")
	_, err = c.MemberAdd(within(t, patience), []string{d.peerURL()})
	require.ErrorIs(t, err, rpctypes.ErrUnhealthy, "the members have not been connected for long enough")
	require.Eventually(t, func() bool {
		_, err = c.MemberAddAsLearner(within(t, patience), []string{d.peerURL()})
		return err == nil
	}, patience, 200*time.Millisecond)
	_, err = c.MemberAddAsLearner(within(t, patience), []string{"http://127.0.0.1:1"})
	require.ErrorIs(t, err, rpctypes.ErrTooManyLearners)
	_, err = c.MemberAdd(within(t, patience), []string{"http://127.0.0.1:1", d.peerURL()})
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
	d.start("--initial-cluster-state", "existing", "--initial-cluster", g.initial(d))
	own := g.connect(d)
	r, err := own.Get(within(t, patience), "k", clientv3.WithSerializable())
	require.NoError(t, err)
	require.Len(t, r.Kvs, 1)
	_, err = own.Put(within(t, patience), "k", "w")
	require.ErrorContains(t, err, "rpc not supported for learner")
	for _, m := range g.followers()[:1] { // a member that does not lead passes it on
		_, err = g.connect(m).MemberPromote(within(t, patience), id)
		require.NoError(t, err)
	}
	_, err = own.Put(within(t, patience), "k", "w")
	require.NoError(t, err)
	g.members = append(g.members, d)
	g.agree()

	_, err = c.MemberPromote(within(t, patience), id)
	require.ErrorIs(t, err, rpctypes.ErrMemberNotLearner)
	_, err = c.MemberPromote(within(t, patience), 77)
	require.ErrorIs(t, err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberRemove(within(t, patience), 77)
	require.ErrorIs(t, err, rpctypes.ErrMemberNotFound)
	_, err = c.MemberUpdate(within(t, patience), id, []string{"nonsense"})
	require.Error(t, err)

	// The one that leads goes, and nobody waits for an election.
	lead := g.leader()
	s := g.status(lead)
	require.Eventually(t, func() bool {
		_, err = g.connect(g.followers()[0]).MemberRemove(within(t, patience), s.Header.MemberId)
		return err == nil
	}, patience, 200*time.Millisecond, "%v", err)
	began := time.Now()
	lead.awaitEnd()
	require.Equal(t, 0, lead.cmd.ProcessState.ExitCode(), lead.out)
	for i, m := range g.members {
		if m == lead {
			g.members = append(g.members[:i:i], g.members[i+1:]...)
		}
	}
	_, err = g.connect().Put(within(t, patience), "k", "x")
	require.NoError(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
	g.agree()
	lead.launch()
	lead.awaitEnd()
	require.Contains(t, lead.out.String(), "the member has been permanently removed from the cluster")
}

// A learner that was added to become a voter becomes one without anybody's doing.
func TestCandidateIsPromotedOnceItHasCaughtUp(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1)
	c := g.connect()
	for range 50 {
		_, err := c.Put(within(t, patience), "k", "v")
		require.NoError(t, err)
	}
	b := newMember(t, "b")
	ctx := metadata.AppendToOutgoingContext(within(t, patience), "cairn-auto-promote", "true")
	_, err := c.MemberAddAsLearner(ctx, []string{b.peerURL()})
	require.NoError(t, err)
	b.start("--initial-cluster-state", "existing", "--initial-cluster", g.initial(b))
	g.members = append(g.members, b)
	require.Eventually(t, func() bool { s := g.status(b); return s != nil && !s.IsLearner }, patience, 50*time.Millisecond)
	_, err = g.connect(b).Put(within(t, patience), "k", "w")
	require.NoError(t, err)
	g.agree()
}

func TestLeadershipMoves(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3)
	lead, to := g.leader(), g.followers()[1]
	id := g.status(to).Header.MemberId
	_, err := g.connect(to).MoveLeader(within(t, patience), id)
	require.ErrorIs(t, err, rpctypes.ErrNotLeader)
	_, err = g.connect(lead).MoveLeader(within(t, patience), 77)
	require.ErrorIs(t, err, rpctypes.ErrBadLeaderTransferee)
	_, err = g.connect(lead).MoveLeader(within(t, patience), id)
	require.NoError(t, err)
	require.Equal(t, to, g.leader())
}

// One member that is left starts a new cluster with everything that was acknowledged, and others join it.
func TestOneSurvivorStartsANewCluster(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 3)
	c := g.connect()
	for i := range 100 {
		_, err := c.Put(within(t, patience), fmt.Sprint("k", i), "v")
		require.NoError(t, err)
	}
	g.agree()
	old := g.status(g.members[0])
	for _, m := range g.members {
		m.kill()
	}
	left := g.members[0]
	left.start("--force-new-cluster")
	g.members = g.members[:1]
	s := g.status(left)
	require.Equal(t, old.Header.ClusterId, s.Header.ClusterId)
	r, err := g.connect().Get(within(t, patience), "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 100, r.Count)
	list, err := g.connect().MemberList(within(t, patience))
	require.NoError(t, err)
	require.Len(t, list.Members, 1)
	left.stop()
	left.start()
	b := newMember(t, "b2")
	_, err = g.connect().MemberAdd(within(t, patience), []string{b.peerURL()})
	require.NoError(t, err)
	b.start("--initial-cluster-state", "existing", "--initial-cluster", g.initial(b))
	g.members = append(g.members, b)
	g.agree()
}

// What cannot begin says what to change.
func TestWhatCannotBegin(t *testing.T) {
	t.Parallel()
	g := newGroup(t, 1)
	running := g.members[0]
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--initial-cluster", "x=http://127.0.0.1:1"}, `couldn't find local name "m" in the initial cluster configuration`},
		{[]string{"--initial-cluster", "m=http://127.0.0.1:1"}, "missing from --initial-advertise-peer-urls"},
		{[]string{"--initial-cluster", "m=PEER,b=PEER"}, "has duplicate url"},
		{[]string{"--initial-cluster", "m=PEER,b"}, "is not name=url"},
		{[]string{"--initial-cluster", "m=PEER,b=http://127.0.0.1:1/x"}, "must not contain a path"},
		{[]string{"--initial-cluster", "m=PEER,a=" + running.peerURL(), "--initial-cluster-state", "existing"}, "member count is unequal"},
		{[]string{"--initial-cluster", "m=PEER,b=http://127.0.0.1:1", "--initial-cluster-state", "existing"}, "cannot fetch cluster info from peer urls"},
		{[]string{"--initial-cluster", "m=PEER", "--initial-cluster-state", "existing"}, "names no other member to ask"},
		{[]string{"--initial-cluster", "m=PEER", "--initial-cluster-state", "old"}, `unexpected clusterState "old"`},
	} {
		m := newMember(t, "m")
		for i := range c.args {
			c.args[i] = strings.ReplaceAll(c.args[i], "PEER", m.peerURL())
		}
		m.launch(c.args...)
		m.awaitEnd()
		require.NotZero(t, m.cmd.ProcessState.ExitCode(), c.args)
		require.Contains(t, m.out.String(), c.want)
		require.NoDirExists(t, m.dir, c.args)
	}
	// A member that has lost its data must not come back under its old name: it may have voted.
	g3 := newGroup(t, 3)
	lost := g3.members[2]
	lost.kill()
	require.NoError(t, os.RemoveAll(lost.dir))
	lost.launch("--initial-cluster", g3.initial())
	lost.awaitEnd()
	require.Contains(t, lost.out.String(), "has already been bootstrapped")
	_, err := g3.connect(g3.members[:2]...).Put(within(t, patience), "k", "v")
	require.NoError(t, err)
}

// Members that know nobody find each other in a registry; who comes too late is told so.
func TestMembersFindEachOtherInARegistry(t *testing.T) {
	t.Parallel()
	registry := newGroup(t, 1)
	c := registry.connect()
	flags := []string{"--discovery-token", "tok", "--discovery-endpoints", registry.members[0].url()}
	early := newMember(t, "early")
	early.launch(flags...)
	early.awaitEnd()
	require.Contains(t, early.out.String(), "discovery: size key not found")
	_, err := c.Put(within(t, patience), "/_etcd/registry/tok/_config/size", "3")
	require.NoError(t, err)
	g := &group{t: t}
	for _, name := range []string{"a", "b", "c"} {
		g.members = append(g.members, newMember(t, name))
	}
	for i, m := range g.members {
		if i == 2 {
			time.Sleep(500 * time.Millisecond)
			g.members[0].kill() // and comes back before the cluster is complete
			g.members[0].launch(flags...)
		}
		m.launch(flags...)
	}
	for _, m := range g.members {
		m.await()
	}
	_, err = g.connect().Put(within(t, patience), "k", "v")
	require.NoError(t, err)
	g.agree()
	late := newMember(t, "late")
	late.launch(flags...)
	late.awaitEnd()
	require.Contains(t, late.out.String(), "discovery token was already used")
	require.Contains(t, late.out.String(), "discovery: cluster is full")
	require.NotZero(t, late.cmd.ProcessState.ExitCode())
	g.members[1].stop()
	g.members[1].start(flags...) // it does not ask again
	g.agree()
}
