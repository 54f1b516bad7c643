package cairn

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// identity is the member and the cluster that the options describe.
func (c *Config) identity() (cluster.Member, cluster.ID, error) {
	peers := urlStrings(c.InitialAdvertisePeerURLs)
	if c.InitialCluster != "" {
		var mine []string
		for _, part := range strings.Split(c.InitialCluster, ",") {
			name, u, ok := strings.Cut(strings.TrimSpace(part), "=")
			if !ok {
				return cluster.Member{}, 0, fmt.Errorf("--initial-cluster has %q, which is not name=url", part)
			}
			if name != c.Name {
				return cluster.Member{}, 0, fmt.Errorf("--initial-cluster names the member %q beside %q: clusters of several members are not supported", name, c.Name)
			}
			mine = append(mine, u)
		}
		slices.Sort(mine)
		if want := slices.Sorted(slices.Values(peers)); !slices.Equal(mine, want) {
			return cluster.Member{}, 0, fmt.Errorf("--initial-cluster has %s=%s but missing from --initial-advertise-peer-urls=%s", c.Name, strings.Join(mine, ","), strings.Join(want, ","))
		}
	}
	if c.InitialClusterState == "existing" {
		return cluster.Member{}, 0, errors.New("--initial-cluster-state=existing: joining a cluster is not supported")
	}
	m := cluster.Member{PeerURLs: peers, Name: c.Name}
	m.ID = cluster.MemberID(peers, c.InitialClusterToken, 0)
	return m, cluster.ClusterID([]cluster.Member{m}), nil
}
