package v2

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// C-C10 to C-C13, and the health of a cluster that has an unstarted, then a dead member.
func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	m := start(t, "--strict-reconfig-check=false") // else, a member has to be there for 5 s before the next change
	c := newTool(t, m)
	r := c.run("", "member", "list")
	require.Regexp(t, `^[0-9a-f]+: name=infra0 peerURLs=`+m.PeerURL()+` clientURLs=`+m.URL()+" isLeader=true\n$", r.out)
	first, _, _ := strings.Cut(r.out, ":")

	second := process.NewMember(t, "infra1", "--enable-v2", "--strict-reconfig-check=false")
	r = c.run("", "member", "add", "infra1", second.PeerURL())
	require.Equal(t, 0, r.code, r.err)
	added := regexp.MustCompile(`^Added member named infra1 with ID ([0-9a-f]+) to cluster\n\nETCD_NAME="infra1"\nETCD_INITIAL_CLUSTER="(.*)"\nETCD_INITIAL_CLUSTER_STATE="existing"\n$`).FindStringSubmatch(r.out)
	require.NotNil(t, added, r.out)
	id, initial := added[1], added[2]
	require.ElementsMatch(t, []string{"infra0=" + m.PeerURL(), "infra1=" + second.PeerURL()}, strings.Split(initial, ","))

	// Nobody leads until the second member is there.
	second.Start("--initial-cluster", initial, "--initial-cluster-state", "existing")
	require.Eventually(t, func() bool {
		r := c.run("", "member", "list")
		return strings.Count(r.out, "isLeader=true") == 1 && strings.Contains(r.out, id+": name=infra1 peerURLs="+second.PeerURL()+" clientURLs="+second.URL())
	}, process.Patience, poll)
	c.story([]step{
		{"set /k v", out("v\n")},
		{"member add x " + m.PeerURL(), result{err: "membership: peerURL exists\n", code: 1}},
		{"member remove infra1", result{err: "Found a member named infra1; if this is correct, please use its ID, eg:\n\tetcdctl member remove " + id +
			"\nFor more details, read https://github.com/cairn-kv/cairn/blob/main/docs/guide/cluster.md\n\nCouldn't find a member in the cluster with an ID of infra1.\n", code: 1}},
		{"member update " + id + " " + second.PeerURL(), out("Updated member with ID " + id + " in cluster\n")},
	})
	r = c.run("", "cluster-health")
	require.Equal(t, 0, r.code, r.out+r.err)
	require.Equal(t, 3, strings.Count(r.out, "is healthy"), r.out)
	require.True(t, strings.HasSuffix(r.out, "cluster is healthy\n"), r.out)

	require.Equal(t, out("Removed member "+id+" from cluster\n"), c.run("", "member", "remove", id))
	second.AwaitEnd()
	require.Eventually(t, func() bool { return c.run("", "set", "/k", "w").code == 0 }, process.Patience, poll)
	require.Contains(t, c.run("", "member", "list").out, first+": name=infra0 ")
}

// C-C02, C-C03: a cluster that has lost most of its members.
func TestUnhealthyCluster(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--enable-v2")
	leader := g.Leader()
	others := g.Others(leader)
	c := newTool(t, leader)
	r := c.run("", "cluster-health")
	require.Equal(t, 0, r.code, r.out)
	require.Equal(t, 3, strings.Count(r.out, " is healthy: got healthy result from http://"), r.out)

	others[0].Kill()
	r = c.run("", "cluster-health")
	require.Equal(t, 0, r.code, r.out)
	require.Contains(t, r.out, "is unreachable: ["+others[0].URL()+"] are all unreachable\n")
	require.Contains(t, r.out, "failed to check the health of member ")

	others[1].Kill()
	r = c.run("", "cluster-health") // the first one waits until the leader gives up, or its read does
	require.Equal(t, 5, r.code, r.out)
	require.Regexp(t, `member [0-9a-f]+ is unhealthy: got unhealthy result from `+leader.URL(), r.out)
	require.True(t, strings.HasSuffix(r.out, "cluster is unhealthy\n"), r.out)
	require.Regexp(t, "^Failed to get leader:  client: etcd cluster is unavailable or misconfigured; error #0: ", c.run("", "--no-sync", "member", "list").err)
}
