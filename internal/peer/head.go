package peer

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// The headers that members send each other, in the spelling that net/http gives them.
const (
	headFrom       = "X-Server-From"
	headVersion    = "X-Server-Version"
	headMinVersion = "X-Min-Cluster-Version"
	headCluster    = "X-Etcd-Cluster-Id"
	headTo         = "X-Raft-To"
	headPeerURLs   = "X-Peerurls"
	// headV2 is cairn's own: its sender knows entries of the v2 API. etcd does until version 3.5.
	headV2 = "X-Cairn-V2"
	// headLimits is cairn's own, too: its sender holds to the quotas that are set.
	headLimits = "X-Cairn-Limits"
)

// The bodies by which members tell each other why they do not talk.
var (
	errIncompatible = errors.New("incompatible version")
	errOtherCluster = errors.New("cluster ID mismatch")
	errRemoved      = errors.New("the member has been permanently removed from the cluster")
	errNotKnown     = errors.New("peer does not know this member yet")
	errOtherMember  = errors.New("another member listens at the address of this peer")
)

// release is what decides whether two versions understand each other.
type release struct{ major, minor uint64 }

// parseRelease reads a semantic version. A version that is absent is that of the members who did not send one.
func parseRelease(s string) (release, error) {
	if s == "" {
		return release{2, 0}, nil
	}
	core, _, _ := strings.Cut(s, "+")
	core, _, _ = strings.Cut(core, "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return release{}, fmt.Errorf("peer: malformed version %q", s)
	}
	var n [3]uint64
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return release{}, fmt.Errorf("peer: malformed version %q", s)
		}
		n[i] = v
	}
	return release{n[0], n[1]}, nil
}

func (r release) less(o release) bool {
	return r.major < o.major || r.major == o.major && r.minor < o.minor
}

// identity is what a member says of itself in every request, and compares the other's with.
type identity struct {
	id, cluster  cluster.ID
	version, min release
	head         http.Header // of requests; never changed
}

func newIdentity(cfg *Config) (*identity, error) {
	me := &identity{id: cfg.ID, cluster: cfg.ClusterID}
	var err error
	if me.version, err = parseRelease(cfg.Version); err != nil {
		return nil, err
	}
	if me.min, err = parseRelease(cfg.MinClusterVersion); err != nil {
		return nil, err
	}
	me.head = http.Header{
		headFrom: {cfg.ID.String()}, headVersion: {cfg.Version}, headMinVersion: {cfg.MinClusterVersion},
		headCluster: {cfg.ClusterID.String()}, headV2: {"1"}, headLimits: {"1"},
	}
	if len(cfg.PeerURLs) > 0 {
		me.head.Set(headPeerURLs, strings.Join(cfg.PeerURLs, ","))
	}
	return me, nil
}

// compatible compares versions and clusters.
func (me *identity) compatible(h http.Header) error {
	server, err1 := parseRelease(h.Get(headVersion))
	lowest, err2 := parseRelease(h.Get(headMinVersion))
	if err1 != nil || err2 != nil || server.less(me.min) || me.version.less(lowest) {
		return errIncompatible
	}
	if h.Get(headCluster) != me.cluster.String() {
		return errOtherCluster
	}
	return nil
}

// withoutV2 is the first minor of etcd whose members end at an entry of the v2 API.
var withoutV2 = release{3, 6}

// lacksV2 says that whoever has sent the headers does not know entries of the v2 API.
func lacksV2(h http.Header) bool {
	server, err := parseRelease(h.Get(headVersion))
	return err == nil && h.Get(headV2) == "" && !server.less(withoutV2)
}

// parseID reads an ID as it stands in paths and headers.
func parseID(s string) (cluster.ID, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	return cluster.ID(v), err
}

// maxURLs bounds the addresses of one peer.
const maxURLs = 64

// parseURLs reads peer URLs. Those that cannot be dialed are left out.
func parseURLs(list []string) (out []*url.URL) {
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "unix", "unixs"}, u.Scheme) {
			continue
		}
		if out = append(out, &url.URL{Scheme: u.Scheme, Host: u.Host}); len(out) == maxURLs {
			break
		}
	}
	return out
}
