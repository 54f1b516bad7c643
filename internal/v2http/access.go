package v2http

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Access says who may use HTTP: CORS are the origins that browsers may call from, HostWhitelist the host names that clients
// may use. Empty or holding "*", either lets all pass.
type Access struct {
	CORS, HostWhitelist []string
	Logger              *slog.Logger
}

// Guard puts the rules of access before the handler (v3-gateway-http.md section 2).
func (a *Access) Guard(next http.Handler) http.Handler {
	hosts, origins := newNames(a.HostWhitelist), newNames(a.CORS)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = modern(r)
		if host := hostName(r.Host); r.TLS == nil && !hosts.has(host) {
			a.Logger.Warn("rejecting HTTP request from untrusted host", "host", host, "remote-addr", r.RemoteAddr)
			http.Error(w, misdirected(host), http.StatusMisdirectedRequest)
			return
		}
		allowOrigin(w.Header(), origins, r.Header.Get("Origin"))
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Trusted reports whether a request comes from no other site than those that browsers may call from. It guards what
// the browser does not guard itself: a WebSocket may be opened from any page.
func (a *Access) Trusted(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || newNames(a.CORS).has(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// names are a set in which an empty list or "*" stands for everything.
type names struct {
	all  bool
	list []string
}

func newNames(list []string) names {
	return names{all: len(list) == 0 || slices.Contains(list, "*"), list: list}
}

func (n names) has(s string) bool {
	return n.all || slices.ContainsFunc(n.list, func(o string) bool { return strings.EqualFold(o, s) })
}

func allowOrigin(h http.Header, origins names, origin string) {
	switch {
	case origins.all:
		origin = "*"
	case origins.has(origin):
		h.Add("Vary", "Origin")
	default:
		return
	}
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Headers", "accept, content-type, authorization")
}

// modern gives a request for a former prefix of the gateway the present one.
func modern(r *http.Request) *http.Request {
	rest, old := strings.CutPrefix(r.URL.Path, "/v3beta/")
	if !old {
		return r
	}
	n := new(http.Request)
	*n = *r
	u := *r.URL
	u.Path = "/v3/" + rest
	if raw, ok := strings.CutPrefix(u.RawPath, "/v3beta/"); ok {
		u.RawPath = "/v3/" + raw
	} else {
		u.RawPath = ""
	}
	n.URL = &u
	return n
}

// hostName is a Host header without its port.
func hostName(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

func misdirected(host string) string {
	return fmt.Sprintf(`The host name %q is not on this server's list.

A page in a browser can reach a local server under a name of its own (DNS rebinding, CVE-2018-5702). The server
therefore answers only under the names that it is given:

	--host-whitelist=%q
`, host, host)
}
