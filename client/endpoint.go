package client

import (
	"context"
	"net"
	"net/url"
	"path"
	"strings"
)

// security is what an endpoint's scheme demands of the transport.
type security int

const (
	securityAny security = iota // no scheme or unix: TLS iff configured
	securityPlain
	securitySecure
)

// endpoint is one configured server, split into what gRPC needs.
type endpoint struct {
	dial       string // host:port, or unix:path, or unix:///path
	serverName string // :authority header and name for TLS
	security   security
}

// parseEndpoint splits one endpoint of the forms Config.Endpoints documents.
// Anything else is passed on and fails at dialing with a clear error.
func parseEndpoint(s string) endpoint {
	for _, p := range []struct {
		prefix string
		sec    security
	}{{"unixs:", securitySecure}, {"unix:", securityAny}} {
		rest, ok := strings.CutPrefix(s, p.prefix)
		if !ok {
			continue
		}
		name := path.Base(rest)
		if strings.HasPrefix(rest, "///") {
			return endpoint{dial: "unix://" + rest[2:], serverName: name, security: p.sec}
		}
		return endpoint{dial: "unix:" + strings.TrimPrefix(rest, "//"), serverName: name, security: p.sec}
	}
	if !strings.Contains(s, "://") {
		return endpoint{dial: s, serverName: s}
	}
	u, err := url.Parse(s)
	if err != nil {
		return endpoint{dial: s, serverName: s}
	}
	switch u.Scheme {
	case "http":
		return endpoint{dial: u.Host, serverName: u.Host, security: securityPlain}
	case "https":
		return endpoint{dial: u.Host, serverName: u.Host, security: securitySecure}
	}
	return endpoint{dial: s, serverName: u.Host}
}

// parseEndpoints parses a whole list and says which security it agrees on.
func parseEndpoints(list []string) ([]endpoint, security, error) {
	eps := make([]endpoint, len(list))
	agreed := securityAny
	for i, s := range list {
		eps[i] = parseEndpoint(s)
		if eps[i].security == securityAny {
			continue
		}
		if agreed != securityAny && agreed != eps[i].security {
			return nil, agreed, ErrMixedEndpoints
		}
		agreed = eps[i].security
	}
	return eps, agreed, nil
}

// dialEndpoint is gRPC's dialer. Having one of our own also means that no proxy
// variable of the environment is ever consulted.
func dialEndpoint(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	if p, ok := strings.CutPrefix(addr, "unix:"); ok {
		return d.DialContext(ctx, "unix", strings.TrimPrefix(p, "//"))
	}
	return d.DialContext(ctx, "tcp", addr)
}
