package cairn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/peer"
	"github.com/cairn-kv/cairn/internal/wire"
)

// origin is how a member without data begins.
type origin struct {
	me      cluster.Member
	id      cluster.ID       // of the cluster
	members []cluster.Member // as far as they are known
	join    bool             // the cluster exists and will send what it holds
}

const (
	askWithin     = 5 * time.Second // for all peers together
	freshWithin   = 2 * time.Second // for those that may be starting as well
	askAgainAfter = 200 * time.Millisecond
	resolveWithin = 30 * time.Second // for a name in a URL
)

// origin decides how a member begins (server-config.md section 7).
func (c *Config) origin(ctx context.Context, ask *peer.Client) (*origin, error) {
	members, err := c.initialMembers()
	if err != nil {
		return nil, err
	}
	if err := c.checkOwnURLs(ctx, members); err != nil {
		return nil, err
	}
	if c.InitialClusterState == clusterExisting {
		return c.joining(ctx, ask, members)
	}
	o := &origin{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		m := cluster.Member{ID: cluster.MemberID(members[name], c.InitialClusterToken, 0), PeerURLs: members[name], Name: name}
		if name == c.Name {
			o.me = m
		}
		o.members = append(o.members, m)
	}
	o.id = cluster.ClusterID(o.members)
	return o, o.checkFresh(ctx, ask)
}

// initialMembers reads --initial-cluster: peer URLs by name.
func (c *Config) initialMembers() (map[string][]string, error) {
	s := c.InitialCluster
	if s == "" {
		if c.given["initial-cluster"] {
			return nil, errors.New("initial cluster unset and no discovery endpoints found")
		}
		return map[string][]string{c.Name: slices.Sorted(slices.Values(urlStrings(c.InitialAdvertisePeerURLs)))}, nil
	}
	members, err := parseCluster(s)
	if err != nil {
		return nil, err
	}
	if members[c.Name] == nil {
		return nil, fmt.Errorf("couldn't find local name %q in the initial cluster configuration %q: --name must be one of the names in --initial-cluster", c.Name, s)
	}
	return members, nil
}

// parseCluster reads a list of name=url: peer URLs by name.
func parseCluster(s string) (map[string][]string, error) {
	members := map[string][]string{}
	seen := map[string]bool{}
	for _, part := range strings.Split(s, ",") {
		name, u, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--initial-cluster has %q, which is not name=url", part)
		}
		parsed, err := parseURLs(u)
		if err != nil {
			return nil, fmt.Errorf("--initial-cluster: %w", err)
		}
		if seen[u] {
			return nil, fmt.Errorf("initial cluster %s has duplicate url", s)
		}
		seen[u] = true
		members[name] = append(members[name], parsed[0].String())
	}
	for _, urls := range members {
		slices.Sort(urls)
	}
	return members, nil
}

// checkOwnURLs compares what the member says of itself with what the list of members says of it.
func (c *Config) checkOwnURLs(ctx context.Context, members map[string][]string) error {
	listed, own := members[c.Name], urlStrings(c.InitialAdvertisePeerURLs)
	same, err := sameURLs(ctx, listed, own)
	switch {
	case err != nil:
		return fmt.Errorf("failed to resolve %s to match --initial-cluster=%s (%w)", strings.Join(own, ","), named(c.Name, listed), err)
	case same:
		return nil
	}
	for _, u := range listed {
		if !slices.Contains(own, u) {
			return fmt.Errorf("--initial-cluster has %s but missing from --initial-advertise-peer-urls=%s", named(c.Name, listed), strings.Join(own, ","))
		}
	}
	return fmt.Errorf("--initial-advertise-peer-urls has %s but missing from --initial-cluster=%s", strings.Join(own, ","), named(c.Name, listed))
}

func named(name string, urls []string) string { return name + "=" + strings.Join(urls, ","+name+"=") }

// sameURLs reports whether two lists name the same places, if need be after their names are resolved.
func sameURLs(ctx context.Context, a, b []string) (bool, error) {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	if slices.Equal(a, b) {
		return true, nil
	}
	if len(a) != len(b) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWithin)
	defer cancel()
	ra, err := resolveAll(ctx, a)
	if err != nil {
		return false, err
	}
	rb, err := resolveAll(ctx, b)
	return slices.Equal(ra, rb), err
}

func resolveAll(ctx context.Context, urls []string) ([]string, error) {
	var out []string
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		if isTCP(*u) && net.ParseIP(u.Hostname()) == nil {
			addrs, err := resolveHost(ctx, u.Hostname())
			if err != nil {
				return nil, err
			}
			u.Host = net.JoinHostPort(addrs[0], u.Port())
		}
		out = append(out, u.String())
	}
	slices.Sort(out)
	return out, nil
}

// resolveHost asks until there is an answer or the time is over: names of members often come up with them.
func resolveHost(ctx context.Context, host string) ([]string, error) {
	for {
		addrs, err := net.DefaultResolver.LookupHost(ctx, host)
		if err == nil && len(addrs) > 0 {
			slices.Sort(addrs)
			return addrs, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// others are the URLs of all members but one.
func others(members []cluster.Member, me cluster.ID) (urls []string) {
	for _, m := range members {
		if m.ID != me {
			urls = append(urls, m.PeerURLs...)
		}
	}
	return urls
}

// checkFresh refuses a member that has lost its data: the others know it already, and what it has voted for.
func (o *origin) checkFresh(ctx context.Context, ask *peer.Client) error {
	ctx, cancel := context.WithTimeout(ctx, freshWithin)
	defer cancel()
	urls := others(o.members, o.me.ID)
	answers := make([][]cluster.Member, len(urls))
	var wg sync.WaitGroup
	for i, u := range urls {
		wg.Go(func() {
			if id, members, err := ask.Members(ctx, u); err == nil && id == o.id { // else it may not be up yet
				answers[i] = members
			}
		})
	}
	wg.Wait()
	for _, members := range answers {
		for _, m := range members {
			if m.ID == o.me.ID && len(m.ClientURLs) > 0 {
				return fmt.Errorf("member %s has already been bootstrapped: its data is gone; remove it from the cluster, add it again, and start it with --initial-cluster-state=existing and an empty data directory", m.ID)
			}
		}
	}
	return nil
}

// joining asks a running cluster who this member is.
func (c *Config) joining(ctx context.Context, ask *peer.Client, listed map[string][]string) (*origin, error) {
	var urls []string
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if name != c.Name {
			urls = append(urls, listed[name]...)
		}
	}
	if len(urls) == 0 {
		return nil, errors.New("cannot fetch cluster info from peer urls: --initial-cluster names no other member to ask; with --initial-cluster-state=existing it has to list all members of the running cluster and this one")
	}
	o := &origin{join: true}
	var err error
	for until := time.Now().Add(askWithin); ; {
		var u string
		if u, err = o.askAny(ctx, ask, urls); err == nil {
			if err = checkVersion(ctx, ask, u); err != nil {
				return nil, err
			}
			break
		}
		if ctx.Err() != nil || time.Now().After(until) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(askAgainAfter): // it may just be starting
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot fetch cluster info from peer urls: none of %s answers: %w", strings.Join(urls, ","), err)
	}
	if len(o.members) != len(listed) {
		return nil, fmt.Errorf("error validating peerURLs: member count is unequal: the cluster has %d members (was this one added with `etcdctl member add`?), --initial-cluster has %d", len(o.members), len(listed))
	}
	for _, m := range o.members {
		name, err := match(ctx, m, listed)
		if err != nil {
			return nil, err
		}
		if name == c.Name {
			o.me = m
			o.me.Name = c.Name
		}
		delete(listed, name)
	}
	return o, nil
}

// askAny asks one after the other who the members are, until one answers.
func (o *origin) askAny(ctx context.Context, ask *peer.Client, urls []string) (answered string, err error) {
	for _, u := range urls {
		if o.id, o.members, err = askMembers(ctx, ask, u); err == nil {
			return u, nil
		}
	}
	return "", err
}

func askMembers(ctx context.Context, ask *peer.Client, u string) (cluster.ID, []cluster.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return ask.Members(ctx, u)
}

func match(ctx context.Context, m cluster.Member, listed map[string][]string) (name string, err error) {
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		same, err := sameURLs(ctx, m.PeerURLs, listed[name])
		if err != nil {
			return "", fmt.Errorf("error validating peerURLs of %s: %w", named(name, listed[name]), err)
		}
		if same {
			return name, nil
		}
	}
	return "", fmt.Errorf("error validating peerURLs: PeerURLs: no match found for existing member (%s, %v): --initial-cluster has to list the peer URLs that the cluster knows", m.ID, m.PeerURLs)
}

// checkVersion refuses to join a cluster that runs at a later version than this server.
func checkVersion(ctx context.Context, ask *peer.Client, u string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	_, of, err := ask.Version(ctx, u)
	if err != nil {
		return nil // a member that is just starting does not know yet
	}
	if wire.CompareVersions(of, wire.MinorVersion(Version)) > 0 {
		return fmt.Errorf("incompatible with current running cluster: it is at version %s, this server at %s", of, Version)
	}
	return nil
}
