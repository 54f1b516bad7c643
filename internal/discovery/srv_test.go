package discovery

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// zone is a DNS of a few names.
type zone struct {
	srv   map[string][]*net.SRV
	hosts map[string][]string
}

var errNoHost = errors.New("no such host")

func (z zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if r, ok := z.srv["_"+service+"._"+proto+"."+name]; ok {
		return "", r, nil
	}
	return "", nil, errNoHost
}

func (z zone) LookupHost(_ context.Context, host string) ([]string, error) {
	if a, ok := z.hosts[host]; ok {
		return a, nil
	}
	return nil, errNoHost
}

// D-40 D-43 D-44 D-45 D-46 D-47: what is asked, and what is made of the answers.
func TestServiceRecords(t *testing.T) {
	z := zone{
		srv: map[string][]*net.SRV{
			"_etcd-server._tcp.x.org":     {{Target: "a.x.org.", Port: 2380}, {Target: "b.x.org.", Port: 2380}},
			"_etcd-server-ssl._tcp.x.org": {{Target: "c.x.org.", Port: 2380}},
			"_etcd-server-q._tcp.x.org":   {{Target: "b.x.org.", Port: 1}},
			"_etcd-server._tcp.gone.org":  {{Target: "gone.x.org.", Port: 1}},
		},
		hosts: map[string][]string{"a.x.org": {"10.0.0.1"}, "b.x.org": {"10.0.0.2", "fd00::2"}, "c.x.org": {"10.0.0.3"}},
	}
	for _, c := range []struct{ domain, suffix, own, want, err string }{
		{domain: "x.org", own: "http://10.0.0.2:2380", want: "0=https://c.x.org:2380,1=http://a.x.org:2380,me=http://b.x.org:2380"},
		{domain: "x.org", own: "http://[fd00::2]:2380", want: "0=https://c.x.org:2380,1=http://a.x.org:2380,me=http://b.x.org:2380"},
		{domain: "x.org", own: "http://a.x.org:2380", want: "0=https://c.x.org:2380,me=http://a.x.org:2380,1=http://b.x.org:2380"},
		{domain: "x.org", own: "https://c.x.org:2380", want: "me=https://c.x.org:2380,0=http://a.x.org:2380,1=http://b.x.org:2380"},
		{domain: "x.org", suffix: "q", own: "http://10.0.0.2:1", want: "me=http://b.x.org:1"},
		{domain: "x.org", own: "https://10.0.0.2:2380", err: "is advertised with the scheme https"},
		{domain: "x.org", own: "http://10.0.0.2:2381", err: `cannot find local etcd member "me" in SRV records`},
		{domain: "x.org", own: "http://d.x.org:2380", err: "couldn't resolve host d.x.org:2380"},
		{domain: "y.org", own: "http://10.0.0.2:2380", err: "dns lookup errors: no such host and no such host"},
		{domain: "gone.org", own: "http://10.0.0.2:2380", err: "couldn't resolve host gone.x.org"},
	} {
		u, err := url.Parse(c.own)
		require.NoError(t, err)
		s := SRV{Domain: c.domain, Suffix: c.suffix, Resolver: z}
		got, err := s.Members(context.Background(), "me", []url.URL{*u})
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	// D-49: a proxy is none of them.
	got, err := (&SRV{Domain: "x.org", Resolver: z}).Members(context.Background(), "", nil)
	require.NoError(t, err)
	require.Equal(t, "0=https://c.x.org:2380,1=http://a.x.org:2380,2=http://b.x.org:2380", got)
}
