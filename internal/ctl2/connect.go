package ctl2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/prompt"
	"github.com/cairn-kv/cairn/internal/tlsfiles"
	"github.com/cairn-kv/cairn/internal/v2client"
)

// longestDial bounds how long a connection takes to be made when the whole command may take longer.
const longestDial = 30 * time.Second

// endpoints are those that the DNS knows, or those that were given (G-40, G-43).
func (a *app) endpoints(ctx context.Context) ([]string, error) {
	if domain, insecure := a.discovery(); domain != "" {
		found, err := v2client.Discover(ctx, a.Resolver, domain)
		if err != nil {
			return nil, err
		}
		var usable []string
		for _, e := range found {
			if strings.HasPrefix(e, "http://") && !insecure {
				a.warn("ignoring discovered insecure endpoint %q", e)
				continue
			}
			usable = append(usable, e)
		}
		if len(usable) > 0 {
			return usable, nil
		}
	}
	given := cmp.Or(a.g.endpoints, a.env("ETCDCTL_ENDPOINTS"), a.g.endpoint, a.env("ETCDCTL_ENDPOINT"), a.g.peers, a.env("ETCDCTL_PEERS"), defaultEndpoints)
	return strings.Split(given, ","), nil
}

// discovery is the domain to look in, and whether endpoints without TLS may come from there.
func (a *app) discovery() (domain string, insecure bool) {
	return cmp.Or(a.g.discoverySRV, a.env("ETCDCTL_DISCOVERY_SRV")), a.g.insecureDiscovery || a.env("ETCDCTL_INSECURE_DISCOVERY") != ""
}

// client makes a client that uses the endpoints as they are.
func (a *app) client() (*v2client.Client, error) {
	ctx, done := a.timed()
	endpoints, err := a.endpoints(ctx)
	done()
	if err != nil {
		return nil, refused(err)
	}
	files := tlsfiles.Files{
		Cert: cmp.Or(a.g.cert, a.env("ETCDCTL_CERT_FILE")),
		Key:  cmp.Or(a.g.key, a.env("ETCDCTL_KEY_FILE")),
		CA:   cmp.Or(a.g.ca, a.env("ETCDCTL_CA_FILE")),
	}
	tlsConfig, err := files.Config()
	if err != nil {
		return nil, refused(err)
	}
	if domain, insecure := a.discovery(); !insecure {
		tlsConfig.ServerName = domain // G-44
	}
	cfg := v2client.Config{Endpoints: endpoints, TLS: tlsConfig, HeaderTimeout: a.g.timeout, DialTimeout: longestDial}
	if a.g.totalTimeout > 0 {
		cfg.DialTimeout = min(cfg.DialTimeout, a.g.totalTimeout)
	}
	if a.g.debug {
		cfg.Trace = a.trace
	}
	if user := cmp.Or(a.g.username, a.env("ETCDCTL_USERNAME")); user != "" {
		if cfg.Username, cfg.Password, err = a.credentials(user, "Password: "); err != nil {
			return nil, refused(err)
		}
	}
	c, err := v2client.New(cfg)
	return c, refused(err)
}

// credentials splits name[:password], or asks for the password on stdout. Without any input it is empty.
func (a *app) credentials(s, question string) (name, password string, err error) {
	name, password, ok := strings.Cut(s, ":")
	if ok {
		return name, password, nil
	}
	password, err = a.askPassword(question)
	return name, password, err
}

func (a *app) askPassword(question string) (string, error) {
	password, err := prompt.Secret(a.Stdin, a.Stdout, question)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return password, err
}

// trace tells a request in the words of curl (G-80).
func (a *app) trace(s v2client.Sent) {
	line := fmt.Sprintf("cURL Command: curl -X %s %s", s.Method, s.URL)
	if s.HasBody {
		line += fmt.Sprintf(" -d %q", s.Body)
	}
	a.warn("%s", line)
}

// connect makes a client that uses the endpoints that the cluster publishes, unless that is not wanted. The caller closes it.
func (a *app) connect() (*v2client.Client, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	if !a.g.noSync {
		if err := a.sync(c); err != nil {
			c.Close()
			return nil, err
		}
	}
	a.showEndpoints(c)
	return c, nil
}

// sync fails where nobody can be asked, or nobody can be found. What else goes wrong leaves the endpoints as they are.
func (a *app) sync(c *v2client.Client) error {
	given := strings.Join(c.Endpoints(), ",")
	if a.g.debug {
		a.warn("start to sync cluster using endpoints(%s)", given)
	}
	ctx, done := a.timed()
	err := c.Sync(ctx)
	done()
	switch {
	case errors.Is(err, v2client.ErrNoEndpoints):
		a.warn("etcd cluster has no published client endpoints.")
		a.warn("Try '--no-sync' if you want to access non-published client endpoints(%s).", given)
		return failed(exitServer, err)
	case err != nil && v2client.Unreachable(err):
		return failed(exitBadConnection, err)
	}
	if a.g.debug {
		a.warn("got endpoints(%s) after sync", strings.Join(c.Endpoints(), ","))
	}
	return nil
}

func (a *app) showEndpoints(c *v2client.Client) {
	if a.g.debug {
		a.warn("Cluster-Endpoints: %s", strings.Join(c.Endpoints(), ", "))
	}
}

// call connects and makes one call, which has to end in time.
func (a *app) call(f func(context.Context, *v2client.Client) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, done := a.timed()
	defer done()
	return f(ctx, c)
}
