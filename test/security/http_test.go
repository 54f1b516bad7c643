package security

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairn-kv/cairn/test/certs"
)

func deadline() time.Time { return time.Now().Add(patience) }

const (
	secretBody = `{"key":"c2VjcmV0"}`                // secret
	allBody    = `{"key":"AA==","range_end":"AA=="}` // everything
	putBody    = `{"key":"c2VjcmV0","value":"ZXZl"}` // secret=eve
	txnBody    = `{"success":[{"request_range":` + secretBody + `}]}`
)

// httpAttempts come through the JSON gateway, the v2 API and what else is served over HTTP.
func httpAttempts() (out []attempt) {
	nobody := func(w *world, t *testing.T) certs.Pair { return w.nobody }
	as := func(name string) func(w *world, t *testing.T) certs.Pair {
		return func(w *world, t *testing.T) certs.Pair { return w.clientCA.Issue(t, name, nil) }
	}
	ask := func(name string, pair func(w *world, t *testing.T) certs.Pair, method, path, body string, header ...string) {
		out = append(out, attempt{name: name, run: func(w *world, t *testing.T) outcome {
			return w.http(t, w.Members[0], pair(w, t), method, path, body, header...).judged()
		}})
	}
	ask("gateway, nobody", nobody, "POST", "/v3/kv/range", secretBody)
	ask("gateway, everything", nobody, "POST", "/v3/kv/range", allBody)
	ask("gateway, put", nobody, "POST", "/v3/kv/put", putBody)
	ask("gateway, txn", nobody, "POST", "/v3/kv/txn", txnBody)
	ask("gateway, users", nobody, "POST", "/v3/auth/user/list", "{}")
	ask("gateway, switch users off", nobody, "POST", "/v3/auth/disable", "{}")
	ask("gateway, snapshot", nobody, "POST", "/v3/maintenance/snapshot", "{}")
	ask("gateway, members", nobody, "POST", "/v3/cluster/member/list", "{}")
	ask("gateway, lease", nobody, "POST", "/v3/lease/leases", "{}")
	// Who has a certificate is nobody there: a browser's user has not chosen what it sends.
	ask("gateway, root's certificate", as("root"), "POST", "/v3/kv/range", secretBody)
	for name, header := range map[string][]string{
		"no token":             {"Authorization", "nonsense"},
		"basic":                {"Authorization", "Basic " + basic("root", "root")},
		"a bearer":             {"Authorization", "Bearer root"},
		"root's name":          {"Grpc-Metadata-User", "root", "Grpc-Metadata-Username", "root", "X-Remote-User", "root"},
		"a token as metadata":  {"Grpc-Metadata-Token", "nonsense.3"},
		"no gateway":           {"Grpc-Metadata-Grpcgateway-Accept", ""},
		"forwarded for itself": {"X-Forwarded-For", "127.0.0.1", "X-Forwarded-Proto", "https", "Forwarded", "for=127.0.0.1"},
		"another method":       {"X-HTTP-Method-Override", "GET"},
		"two tokens":           {"Authorization", "nonsense", "Authorization", "root"},
	} {
		ask("gateway, "+name, nobody, "POST", "/v3/kv/range", secretBody, header...)
	}
	for _, path := range []string{"/v3/kv/range/", "//v3/kv/range", "/v3//kv/range", "/v3/kv/../kv/range", "/V3/kv/range", "/v3/%6bv/range", "/v3alpha/kv/range", "/v3beta/kv/range",
		"/v3/kv/range?key=c2VjcmV0", "/etcdserverpb.KV/Range", "/debug/requests", "/debug/pprof/heap", "/debug/pprof/cmdline", "/config/local/log", "/cairn/image"} {
		method := "POST"
		if strings.HasPrefix(path, "/debug") {
			method = "GET"
		}
		if path == "/config/local/log" {
			method = "PUT"
		}
		ask("path "+path, nobody, method, path, secretBody)
	}

	for _, path := range []string{"/secret/key", "/pub/../secret/key", "/pub/%2e%2e/secret/key", "//secret//key", "/secret/key/", "/secret/./key", "/secret?recursive=true", "/?recursive=true&sorted=true",
		"/secret/key?quorum=true", "/pub%2f..%2fsecret/key", "/%73ecret/key", "/secret/key?prevExist=true"} {
		ask("v2, nobody "+path, nobody, "GET", "/v2/keys"+path, "")
		ask("v2, ann "+path, nobody, "GET", "/v2/keys"+path, "", "Authorization", "Basic "+basic("ann", annPassword))
	}
	for name, header := range map[string]string{
		"a wrong password": "Basic " + basic("root", "x"), "no password": "Basic " + basic("root", ""), "rubbish": "Basic !!!!", "an empty name": "Basic " + basic("", ""),
		"a zero": "Basic " + basic("root\x00", rootPassword), "another scheme": "Digest " + basic("root", rootPassword),
	} {
		ask("v2, root with "+name, nobody, "GET", "/v2/keys/secret/key", "", "Authorization", header)
	}
	for _, q := range []struct{ method, path, body string }{
		{"PUT", "/v2/keys/secret/key", "value=eve"}, {"POST", "/v2/keys/secret", "value=eve"}, {"DELETE", "/v2/keys/secret?recursive=true", ""}, {"PUT", "/v2/keys/pub/../secret/key", "value=eve"},
		{"DELETE", "/v2/auth/enable", ""}, {"GET", "/v2/auth/users", ""}, {"GET", "/v2/auth/users/root", ""}, {"PUT", "/v2/auth/users/eve", `{"user":"eve","password":"e","roles":["root"]}`},
		{"PUT", "/v2/auth/roles/guest", `{"role":"guest","grant":{"kv":{"read":["/*"],"write":["/*"]}}}`}, {"DELETE", "/v2/auth/users/root", ""},
		{"POST", "/v2/members", `{"peerURLs":["http://127.0.0.1:1"]}`}, {"DELETE", "/v2/members/1", ""},
	} {
		ask("v2, nobody "+q.method+" "+q.path, nobody, q.method, q.path, q.body)
		ask("v2, ann "+q.method+" "+q.path, nobody, q.method, q.path, q.body, "Authorization", "Basic "+basic("ann", annPassword))
	}
	ask("v2, a certificate of no user", as("ghost"), "GET", "/v2/keys/secret/key", "")
	ask("v2, a certificate of a user that may not", as("ann"), "GET", "/v2/keys/secret/key", "")

	// One request inside another: what is in front of the server may see other borders than the server does.
	inner := "GET /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " + basic("root", "guess") + "\r\n\r\n"
	for name, text := range map[string]string{
		"two lengths":               "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + inner,
		"a length and chunks":       "POST /v2/keys/pub HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"another encoding":          "POST /v2/keys/pub HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
		"a length below zero":       "PUT /v2/keys/pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n" + inner,
		"a length that is too long": "PUT /v2/keys/pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n" + inner,
		"a length with a sign":      "PUT /v2/keys/pub/x HTTP/1.1\r\nHost: a\r\nContent-Length: +7\r\n\r\nvalue=x" + inner,
		"a blank before the colon":  "PUT /v2/keys/pub/x HTTP/1.1\r\nHost: a\r\nContent-Length : 7\r\n\r\nvalue=x" + inner,
		"a folded header":           "GET /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\nX: y\r\n Authorization: Basic x\r\n\r\n",
		"a zero in a header":        "GET /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
		"no host":                   "GET /v2/keys/secret/key HTTP/1.1\r\n\r\n",
		"two hosts":                 "GET /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"an absolute target":        "GET https://root@a/v2/keys/secret/key HTTP/1.1\r\nHost: a\r\n\r\n",
		"HTTP/0.9":                  "GET /v2/keys/secret/key\r\n\r\n",
		"HTTP/1.0":                  "GET /v2/keys/secret/key HTTP/1.0\r\n\r\n",
		"a method of one's own":     "STEAL /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\n\r\n",
		"a tunnel":                  "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"an upgrade to h2c":         "GET /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"a head without an end":     "GET /v2/keys/secret/key HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2<<20),
		"bare line feeds":           "GET /v2/keys/secret/key HTTP/1.1\nHost: a\n\n",
		"a WebSocket of another's":  "GET /v3/watch HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
	} {
		out = append(out, attempt{name: "bytes, " + name, run: func(w *world, t *testing.T) outcome {
			a := w.raw(t, w.Members[0], w.nobody, text)
			if name == "a WebSocket of another's" && a.status == 101 {
				// It opens: whoever watches through it has to be somebody all the same.
				return refused(errors.New("a WebSocket without a user"))
			}
			return a.judged()
		}})
	}
	out = append(out, attempt{name: "bytes, many requests at once", run: func(w *world, t *testing.T) outcome {
		a := w.raw(t, w.Members[0], w.nobody, strings.Repeat(fmt.Sprintf("GET /v2/keys/secret/key HTTP/1.1\r\nHost: %s\r\n\r\n", "a"), 100))
		return a.judged()
	}})
	return out
}
