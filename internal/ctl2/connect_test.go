package ctl2

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// value is a server with one key, whose value tells who answered.
func value(t *testing.T, v string) *server {
	s := serve(t)
	s.on("GET /v2/keys/k", ok(event("get", node("/k", v, ""))))
	return s
}

// G-25 to G-27, G-40, G-41: where endpoints come from.
func TestEndpointSources(t *testing.T) {
	a, b := value(t, "a"), value(t, "b")
	for _, c := range []struct {
		env, line, want string
	}{
		{"", "--endpoints A get k", "a"},
		{"", "-endpoints A get k", "a"},
		{"", "--endpoint A get k", "a"},
		{"", "--peers A get k", "a"},
		{"", "-C A get k", "a"},
		{"ETCDCTL_ENDPOINTS=A", "get k", "a"},
		{"ETCDCTL_ENDPOINT=A", "get k", "a"},
		{"ETCDCTL_PEERS=A", "get k", "a"},
		{"ETCDCTL_ENDPOINTS=B", "--endpoints A get k", "a"},
		{"ETCDCTL_ENDPOINTS=A", "--endpoint B get k", "a"},
		{"ETCDCTL_ENDPOINT=B", "--endpoint A get k", "a"},
		{"ETCDCTL_ENDPOINT=A", "--peers B get k", "a"},
		{"ETCDCTL_PEERS=B", "--peers A get k", "a"},
		{"ETCDCTL_ENDPOINTS=A", "--endpoints= get k", "a"},
		{"", "--endpoints HOST get k", "a"},
		{"", "--no-sync --endpoints HOST get k", "a"},
		{"", "--endpoints http://127.0.0.1:1,A get k", "a"},
	} {
		urls := strings.NewReplacer("HOST", strings.TrimPrefix(a.URL, "http://"), "A", a.URL, "B", b.URL)
		p, out, errs := program(t, nil, "")
		for _, w := range words(c.line) {
			if strings.ContainsAny(w, "/") || len(w) == 1 || w == "HOST" {
				w = urls.Replace(w)
			}
			p.Args = append(p.Args, w)
		}
		if name, v, ok := strings.Cut(c.env, "="); ok {
			p.Environ = append(p.Environ, name+"="+urls.Replace(v))
		}
		require.Equal(t, 0, p.Run(), "%s %s: %s", c.env, c.line, errs)
		require.Equal(t, c.want+"\n", out.String(), "%s %s", c.env, c.line)
	}
	require.Equal(t, result{err: "parse \"http://%zz\": invalid URL escape \"%zz\"\n", code: 1}, run(t, nil, "", "--endpoints", "http://%zz", "get", "k"))
}

// G-50 to G-52: learning the endpoints that the cluster publishes.
func TestSync(t *testing.T) {
	a, b := value(t, "a"), value(t, "b")
	a.on("GET /v2/members", ok(a.members(b.URL)))
	require.Equal(t, result{out: "b\n"}, run(t, a, "", "get", "k"))
	require.Equal(t, result{out: "a\n"}, run(t, a, "", "--no-sync", "get", "k"))
	b.requests()

	a.on("GET /v2/members", ok(a.members()))
	require.Equal(t, result{err: "etcd cluster has no published client endpoints.\n" +
		"Try '--no-sync' if you want to access non-published client endpoints(EP).\nError:  client: no endpoints available\n", code: 4}, run(t, a, "", "get", "k"))

	// Any other failure is passed over.
	for _, bad := range []answer{{status: 404, body: "404 page not found\n"}, {status: 500, body: "{}"}, ok("<html>")} {
		a.on("GET /v2/members", bad)
		require.Equal(t, result{out: "a\n"}, run(t, a, "", "get", "k"))
	}
}

// G-52, G-71, G-72, rows 19 and 20 of section 14.
func TestUnreachable(t *testing.T) {
	closed := closedPort(t)
	reason := "dial tcp " + strings.TrimPrefix(closed, "http://") + ": connect: connection refused"
	all := "client: etcd cluster is unavailable or misconfigured; error #0: " + reason + "\n"
	detail := "error #0: " + reason + "\n"
	for line, code := range map[string]int{"get k": 2, "--no-sync get k": 4, "ls": 2, "watch k": 2, "--no-sync watch k": 4, "--no-sync mk k v": 4, "member list": 2, "user list": 2, "auth enable": 2} {
		r := run(t, nil, "", append([]string{"--endpoints", closed}, words(line)...)...)
		require.Equal(t, result{err: "Error:  " + all + "\n" + detail + "\n", code: code}, r, line)
	}
	for _, line := range []string{"member list", "user list", "role get r", "auth disable"} { // G-73
		r := run(t, nil, "", append([]string{"--no-sync", "--endpoints", closed}, words(line)...)...)
		require.Equal(t, result{err: all + "\n", code: 1}, r, line)
	}
	r := run(t, nil, "", "--endpoints", closed, "cluster-health") // C-C04
	require.Equal(t, result{"cluster may be unhealthy: failed to list members\n", "Error:  " + all + "\n" + detail + "\n", 4}, r)
	r = run(t, nil, "", "--endpoints", closed+","+closed, "get", "k")
	require.Equal(t, "Error:  client: etcd cluster is unavailable or misconfigured; error #0: "+reason+"\n; error #1: "+reason+"\n\nerror #0: "+reason+"\nerror #1: "+reason+"\n\n", r.err)
}

// G-32, G-33, G-72: what takes too long.
func TestTimeouts(t *testing.T) {
	s := value(t, "v")
	s.on("GET /v2/keys/slow", answer{late: true})
	slow := "client: etcd cluster is unavailable or misconfigured; error #0: client: endpoint EP exceeded header timeout\n"
	require.Equal(t, result{err: "Error:  " + slow + "\nerror #0: client: endpoint EP exceeded header timeout\n\n", code: 4}, run(t, s, "", "--timeout", "30ms", "get", "slow"))
	require.Equal(t, result{err: "Error:  context deadline exceeded\n", code: 4}, run(t, s, "", "--total-timeout", "50ms", "get", "slow"))
	require.Equal(t, result{out: "v\n"}, run(t, s, "", "--timeout", "0", "--total-timeout", "0", "get", "k"), "0 is no bound")
	s.on("GET /v2/members", answer{late: true})
	require.Equal(t, result{err: "Error:  context deadline exceeded\n", code: 2}, run(t, s, "", "--total-timeout", "50ms", "get", "k"))
	require.Equal(t, result{err: "Error:  " + slow + "\nerror #0: client: endpoint EP exceeded header timeout\n\n", code: 2}, run(t, s, "", "--timeout", "30ms", "get", "k"))
	require.Equal(t, result{"cluster may be unhealthy: failed to list members\n", "Error:  context deadline exceeded\n", 4}, run(t, s, "", "--timeout", "0", "--total-timeout", "50ms", "cluster-health"))
	require.Equal(t, result{err: "context deadline exceeded\n", code: 1}, run(t, s, "", "--no-sync", "--total-timeout", "50ms", "member", "list"))
}

// G-72: something that is not etcd.
func TestNotEtcd(t *testing.T) {
	s := serve(t)
	s.on("GET /v2/members", answer{status: 404, body: "404 page not found\n"})
	s.on("GET /v2/keys/k", answer{status: 404, body: "404 page not found\n"})
	s.on("GET /v2/auth/users", answer{status: 404, body: "404 page not found\n"})
	const words = "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint.\n"
	require.Equal(t, result{err: "Error:  " + words, code: 4}, run(t, s, "", "get", "k"))
	require.Equal(t, result{err: words, code: 1}, run(t, s, "", "user", "list"))
	require.Equal(t, result{err: words, code: 1}, run(t, s, "", "member", "list"))
}

type resolver struct {
	secure, plain []*net.SRV
	failing       bool
}

func (r resolver) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	switch {
	case proto != "tcp" || name != "dom":
		return "", nil, errors.New("unknown")
	case r.failing:
		return "", nil, errors.New("no such host " + service)
	case service == "etcd-client-ssl":
		return "", r.secure, nil
	}
	return "", r.plain, nil
}

func srv(t *testing.T, url string) []*net.SRV {
	host, port, err := net.SplitHostPort(url[strings.Index(url, "://")+3:])
	require.NoError(t, err)
	n, err := net.LookupPort("tcp", port)
	require.NoError(t, err)
	return []*net.SRV{{Target: host, Port: uint16(n)}}
}

// G-23, G-24, G-43: endpoints from the DNS.
func TestDiscovery(t *testing.T) {
	found, given := value(t, "found"), value(t, "given")
	try := func(r resolver, env string, args ...string) result {
		p, out, errs := program(t, given, "", args...)
		p.Environ = append(p.Environ, env)
		p.Resolver = r
		code := p.Run()
		return result{out.String(), strings.ReplaceAll(errs.String(), found.URL, "FOUND"), code}
	}
	plain := resolver{plain: srv(t, found.URL)}
	require.Equal(t, result{out: "found\n"}, try(plain, "", "--insecure-discovery", "-D", "dom", "get", "k"))
	require.Equal(t, result{out: "found\n"}, try(plain, "ETCDCTL_DISCOVERY_SRV=dom", "--insecure-discovery", "get", "k"))
	require.Equal(t, result{out: "found\n"}, try(plain, "ETCDCTL_INSECURE_DISCOVERY=no", "--discovery-srv", "dom", "get", "k"), "any text is true")
	require.Equal(t, result{"given\n", "ignoring discovered insecure endpoint \"FOUND\"\n", 0}, try(plain, "", "-D", "dom", "get", "k"))
	require.Equal(t, result{out: "given\n"}, try(resolver{}, "", "-D", "dom", "get", "k"))
	require.Equal(t, result{err: "dns lookup errors: no such host etcd-client-ssl and no such host etcd-client\n", code: 1}, try(resolver{failing: true}, "", "-D", "dom", "get", "k"))
}

// files makes a certificate for names, which is its own authority.
func files(t *testing.T, names ...string) (cert, key string, pair tls.Certificate) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if len(names) > 0 {
		template.IPAddresses = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	require.NoError(t, os.WriteFile(cert, certPEM, 0o600))
	require.NoError(t, os.WriteFile(key, keyPEM, 0o600))
	pair, err = tls.X509KeyPair(certPEM, keyPEM)
	require.NoError(t, err)
	return cert, key, pair
}

// secured is a server that wants a certificate of its clients.
func secured(t *testing.T, cert string, pair tls.Certificate) *server {
	s := value(t, "secure")
	s.Close()
	roots := x509.NewCertPool()
	b, err := os.ReadFile(cert)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(b))
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.on("GET /v2/members", ok(s.members(s.URL)))
	return s
}

// G-28 to G-30, G-44.
func TestTLS(t *testing.T) {
	cert, key, pair := files(t)
	s := secured(t, cert, pair)
	require.Equal(t, result{out: "secure\n"}, run(t, s, "", "--cert-file", cert, "--key-file", key, "--ca-file", cert, "get", "k"))
	p, out, _ := program(t, s, "", "get", "k")
	p.Environ = append(p.Environ, "ETCDCTL_CERT_FILE="+cert, "ETCDCTL_KEY_FILE="+key, "ETCDCTL_CA_FILE="+cert)
	require.Equal(t, 0, p.Run())
	require.Equal(t, "secure\n", out.String())
	r := run(t, s, "", "--no-sync", "get", "k")
	require.Equal(t, 4, r.code)
	require.Contains(t, r.err, "certificate")
	r = run(t, s, "", "--no-sync", "--ca-file", cert, "get", "k")
	require.Equal(t, 4, r.code, "the server wants a certificate, too: %s", r.err)

	// The domain of discovery is who the server has to be.
	cert, key, pair = files(t, "dom")
	s = secured(t, cert, pair)
	for _, insecure := range []bool{false, true} {
		p, out, errs := program(t, nil, "", "--no-sync", "-D", "dom", "--cert-file", cert, "--key-file", key, "--ca-file", cert)
		if insecure {
			p.Args = append(p.Args, "--insecure-discovery")
		}
		p.Args = append(p.Args, "get", "k")
		p.Resolver = resolver{secure: srv(t, s.URL)}
		code := p.Run()
		if insecure {
			require.Equal(t, 4, code)
			require.Contains(t, errs.String(), "127.0.0.1")
		} else {
			require.Equal(t, "secure\n", out.String(), "%s", errs)
		}
	}

	no := filepath.Join(t.TempDir(), "no")
	for line, want := range map[string]string{
		"--cert-file NO get k":                            "KeyFile and CertFile must both be present[key: , cert: " + no + "]\n",
		"--key-file NO get k":                             "KeyFile and CertFile must both be present[key: " + no + ", cert: ]\n",
		"--ca-file NO get k":                              "open " + no + ": no such file or directory\n",
		"--cert-file NO --key-file NO member list":        "open " + no + ": no such file or directory\n",
		"--cert-file NO --key-file NO cluster-health":     "open " + no + ": no such file or directory\n",
		"--cert-file NO --key-file NO --ca-file NO get k": "open " + no + ": no such file or directory\n",
	} {
		require.Equal(t, result{err: want, code: 1}, run(t, nil, "", words(strings.ReplaceAll(line, "NO", no))...), line)
	}
}

// G-31, G-42, G-45, G-46: credentials, and the question for a password.
func TestCredentials(t *testing.T) {
	s := value(t, "v")
	const plain = "GET /v2/keys/k?quorum=false&recursive=false&sorted=false"
	asked := func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := s.asked
		s.asked = nil
		return all
	}
	for _, c := range []struct {
		env, stdin, line, out, as string
	}{
		{"", "", "-u me:a:b get k", "v\n", " as me:a:b"},
		{"", "", "--username me: get k", "v\n", " as me:"},
		{"", "pw\nrest", "-u me get k", "Password: \nv\n", " as me:pw"},
		{"", "pw", "-u me get k", "Password: \nv\n", " as me:pw"},
		{"", "", "-u me get k", "Password: \nv\n", " as me:"},
		{"ETCDCTL_USERNAME=me:pw", "", "get k", "v\n", " as me:pw"},
		{"ETCDCTL_USERNAME=you:pw", "", "-u me:x get k", "v\n", " as me:x"},
		{"", "", "get k", "v\n", ""},
	} {
		p, out, errs := program(t, s, c.stdin, words(c.line)...)
		p.Environ = append(p.Environ, c.env)
		require.Equal(t, 0, p.Run(), errs.String())
		require.Equal(t, c.out, out.String(), c.line)
		require.Equal(t, []string{"GET /v2/members" + c.as, plain + c.as}, asked(), "%s: the sync has them, too", c.line)
	}
}

// G-55, G-73: what the server says of wrong credentials.
func TestInsufficientCredentials(t *testing.T) {
	s := serve(t)
	s.on("GET /v2/keys/k", answer{status: 401, body: `{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials","index":0}`})
	s.on("GET /v2/auth/users", answer{status: 401, body: `{"message":"Insufficient credentials"}`})
	require.Equal(t, result{err: "Error:  110: The request requires user authentication (Insufficient credentials) [0]\n", code: 4}, run(t, s, "", "get", "k"))
	require.Equal(t, result{err: "Insufficient credentials\n", code: 1}, run(t, s, "", "user", "list"))
}

// G-20, G-80 to G-82: the trace.
func TestDebug(t *testing.T) {
	s := value(t, "v")
	for what, a := range map[string]answer{
		"PUT /v2/keys/app/color": ok(event("set", node("/app/color", "red", ""))), "PUT /v2/keys/d": ok(event("set", dirNode)),
		"PUT /v2/auth/users/u": ok("{}"), "GET /v2/auth/roles": ok(`{"roles":[]}`), "GET /health": ok(`{"health":"true"}`), "PUT /v2/auth/enable": ok(""),
		"DELETE /v2/keys/k": ok(event("delete", node("/k", "", ""))),
	} {
		s.on(what, a)
	}
	sync := "start to sync cluster using endpoints(EP)\ncURL Command: curl -X GET EP/v2/members\ngot endpoints(EP) after sync\n"
	eps := "Cluster-Endpoints: EP\n"
	curl := "cURL Command: curl -X "
	for line, want := range map[string]string{
		"set /app/color red":      sync + eps + curl + "PUT EP/v2/keys/app/color -d \"value=red\"\n",
		"--no-sync get k":         eps + curl + "GET EP/v2/keys/k?quorum=false&recursive=false&sorted=false\n",
		"--no-sync watch k":       eps + curl + "GET EP/v2/keys/k?recursive=false&wait=true&waitIndex=0\n",
		"--no-sync setdir d":      eps + curl + "PUT EP/v2/keys/d?dir=true -d \"\"\n",
		"--no-sync rm k":          eps + curl + "DELETE EP/v2/keys/k\n",
		"-u a:b --no-sync get k":  eps + curl + "GET EP/v2/keys/k?quorum=false&recursive=false&sorted=false\n",
		"user grant u --roles r":  sync + eps + eps + curl + `PUT EP/v2/auth/users/u -d "{\"user\":\"u\",\"roles\":null,\"grant\":[\"r\"]}"` + "\n",
		"--no-sync role list":     eps + eps + curl + "GET EP/v2/auth/roles\n",
		"--no-sync auth enable":   eps + eps + curl + "PUT EP/v2/auth/enable\n",
		"--no-sync user add u:pw": eps + eps + curl + `PUT EP/v2/auth/users/u -d "{\"user\":\"u\",\"password\":\"***\",\"roles\":null}"` + "\n",
		"cluster-health":          eps + curl + "GET EP/v2/members\n" + curl + "GET EP/health\n",
	} {
		r := run(t, s, "", append([]string{"--debug"}, words(line)...)...)
		require.Equal(t, 0, r.code, line)
		require.Equal(t, want, r.err, line)
	}
	// Every attempt is traced, and the endpoints are told as they are tried.
	closed := closedPort(t)
	p, _, errs := program(t, nil, "", "--debug", "--no-sync", "--endpoints", s.URL+","+closed, "get", "k")
	require.Equal(t, 0, p.Run())
	require.Regexp(t, regexp.MustCompile(`^Cluster-Endpoints: http://\S+, http://\S+\n(cURL Command: curl -X GET \S+\n){1,2}$`), errs.String())
}
