// Package v2client speaks the v2 HTTP API of etcd: keys, watches, members, users and roles, statistics.
//
// A Client has a list of endpoints in random order. A request goes to the one that answered last; where that cannot be
// reached or answers that it cannot serve, it goes to the next. Requests that must not happen twice are not repeated once
// they may have arrived.
//
// It must never know of command lines, of what is printed, or of cairn's server.
package v2client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is what a Client is made from.
type Config struct {
	Endpoints []string // at least one; without a scheme they are of http
	// Username, if there is one, goes with every request.
	Username, Password string
	TLS                *tls.Config // for https endpoints; nil means the system's roots
	// DialTimeout bounds how long a connection takes to be made, HeaderTimeout how long the first byte of an answer takes,
	// but for watches, which wait. 0 is no bound.
	DialTimeout, HeaderTimeout time.Duration
	// Trace, if not nil, is called before each request is sent.
	Trace func(Sent)
}

// Sent is a request on its way to an endpoint.
type Sent struct {
	Method, URL string
	Body        string // without passwords
	HasBody     bool
}

// Client is safe for concurrent use. Close it to give its connections back.
type Client struct {
	cfg       Config
	transport *http.Transport

	mu        sync.Mutex
	endpoints []url.URL
	first     int // the endpoint that is asked first
}

const keepAlive = 30 * time.Second

// New makes a client. It does not connect.
func New(cfg Config) (*Client, error) {
	dialer := &net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: keepAlive}
	c := &Client{cfg: cfg, transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     cfg.TLS,
	}}
	if err := c.setEndpoints(cfg.Endpoints); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// setEndpoints takes endpoints in random order, so that not all clients ask the same member.
func (c *Client) setEndpoints(endpoints []string) error {
	if len(endpoints) == 0 {
		return ErrNoEndpoints
	}
	urls := make([]url.URL, len(endpoints))
	for i, e := range endpoints {
		e = strings.TrimSpace(e)
		if !strings.Contains(e, "://") {
			e = "http://" + e
		}
		u, err := url.Parse(e)
		if err != nil {
			return err
		}
		if u.Host == "" {
			return fmt.Errorf("client: endpoint %q has no host", endpoints[i])
		}
		urls[i] = *u
	}
	rand.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoints, c.first = urls, 0
	return nil
}

// Endpoints are those in use, in the order in which they are tried.
func (c *Client) Endpoints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]string, len(c.endpoints))
	for i := range c.endpoints {
		out[i] = c.endpoints[i].String()
	}
	return out
}

// Sync replaces the endpoints by those that the cluster's members publish.
func (c *Client) Sync(ctx context.Context) error {
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	var published []string
	for _, m := range members {
		published = append(published, m.ClientURLs...)
	}
	slices.Sort(published)
	if now := c.Endpoints(); slices.Equal(published, slices.Sorted(slices.Values(now))) {
		return nil // and the one that answered stays first
	}
	return c.setEndpoints(published)
}

// do sends a request to one endpoint after the other until one answers.
func (c *Client) do(ctx context.Context, r *request) (*response, error) {
	c.mu.Lock()
	endpoints, first := slices.Clone(c.endpoints), c.first
	c.mu.Unlock()
	var failed []error
	for i := range endpoints {
		k := (first + i) % len(endpoints)
		resp, err := c.ask(ctx, &endpoints[k], r)
		if err == nil {
			err = resp.unable(&endpoints[k])
		}
		if err == nil {
			c.mu.Lock()
			if k < len(c.endpoints) && c.endpoints[k] == endpoints[k] {
				c.first = k
			}
			c.mu.Unlock()
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if r.once && !isDial(err) {
			return nil, err // it may have taken effect
		}
		failed = append(failed, err)
	}
	return nil, &ClusterError{failed}
}

// isDial says that a request was not sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
