package discovery

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Resolver is the part of net.Resolver that is asked.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
}

// SRV finds members in the service records of a domain.
type SRV struct {
	Domain   string
	Suffix   string // of the service names
	Resolver Resolver
}

// Members returns the members in the form of --initial-cluster. The member whose address is one of own gets name, the
// others get numbers. Nobody need be there if there is no own.
func (s *SRV) Members(ctx context.Context, name string, own []url.URL) (string, error) {
	mine := map[string]url.URL{}
	for _, u := range own {
		addrs, err := s.addresses(ctx, u.Hostname(), u.Port())
		if err != nil {
			return "", fmt.Errorf("couldn't resolve host %s of --initial-advertise-peer-urls: %w", u.Host, err)
		}
		for _, a := range addrs {
			mine[a] = u
		}
	}
	var parts []string
	var failed []string
	found := false
	number := 0
	for _, service := range []struct{ name, scheme string }{{"etcd-server-ssl", "https"}, {"etcd-server", "http"}} {
		n := service.name
		if s.Suffix != "" {
			n += "-" + s.Suffix
		}
		_, records, err := s.Resolver.LookupSRV(ctx, n, "tcp", s.Domain)
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		for _, r := range records {
			host, port := strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))
			u := service.scheme + "://" + net.JoinHostPort(host, port)
			as := ""
			addrs, err := s.addresses(ctx, host, port)
			if err != nil {
				return "", fmt.Errorf("couldn't resolve host %s of the service records of %s: %w", host, s.Domain, err)
			}
			for _, a := range addrs {
				if me, ok := mine[a]; ok {
					if me.Scheme != service.scheme {
						return "", fmt.Errorf("%s is found at %s in the service records of %s, but is advertised with the scheme %s", u, a, s.Domain, me.Scheme)
					}
					as, found = name, true
				}
			}
			if as == "" {
				as = strconv.Itoa(number)
				number++
			}
			parts = append(parts, as+"="+u)
		}
	}
	if len(failed) == 2 {
		return "", fmt.Errorf("dns lookup errors: %s", strings.Join(failed, " and "))
	}
	if !found && len(own) > 0 {
		return "", fmt.Errorf("cannot find local etcd member %q in SRV records of %s: one of its --initial-advertise-peer-urls has to be there", name, s.Domain)
	}
	return strings.Join(parts, ","), nil
}

func (s *SRV) addresses(ctx context.Context, host, port string) ([]string, error) {
	ips := []string{host}
	if net.ParseIP(host) == nil {
		var err error
		if ips, err = s.Resolver.LookupHost(ctx, host); err != nil {
			return nil, err
		}
	}
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = net.JoinHostPort(ip, port)
	}
	slices.Sort(out)
	return out, nil
}
