package security

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

const patience = process.Patience

// rootPassword and annPassword are what no attacker knows.
const (
	rootPassword = "root-secret-7f3a"
	annPassword  = "ann-secret-91bc"
	treasure     = "treasure-55d0" // the value of all keys that no attacker may read
)

var local = []string{"127.0.0.1"}

// world is three members that speak TLS with everybody and know users, and those who come to them.
type world struct {
	*process.Group
	clientCA, peerCA, otherCA *certs.CA
	crl, peerCRL              string // files
	server, peer              certs.Pair
	nobody                    certs.Pair // without a common name: who shows it is no user
	metrics                   []string   // addresses
	root                      *clientv3.Client
	lease                     int64 // has a key that ann may not touch

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

// pairFlags are the options for a pair of files and a CA.
func pairFlags(prefix string, p certs.Pair, ca *certs.CA) []string {
	return []string{"--" + prefix + "cert-file", p.Cert, "--" + prefix + "key-file", p.Key, "--" + prefix + "trusted-ca-file", ca.File, "--" + prefix + "client-cert-auth"}
}

func newWorld(t *testing.T, flags ...string) *world {
	w := &world{Group: &process.Group{T: t}, clientCA: certs.NewCA(t, "clients"), peerCA: certs.NewCA(t, "members"), otherCA: certs.NewCA(t, "clients"),
		conns: map[string]*grpc.ClientConn{}}
	w.server, w.peer = w.clientCA.Issue(t, "", local), w.peerCA.Issue(t, "member", local)
	w.nobody = w.clientCA.Issue(t, "", nil)
	dir := t.TempDir()
	w.crl, w.peerCRL = filepath.Join(dir, "crl.der"), filepath.Join(dir, "peer-crl.der")
	w.clientCA.Revoke(t, w.crl)
	w.peerCA.Revoke(t, w.peerCRL)
	flags = append(flags, "--bcrypt-cost", "4", "--client-crl-file", w.crl, "--peer-crl-file", w.peerCRL, "--peer-cert-allowed-cn", "member")
	flags = append(append(flags, pairFlags("", w.server, w.clientCA)...), pairFlags("peer-", w.peer, w.peerCA)...)
	for _, name := range []string{"a", "b", "c"} {
		m := process.NewMember(t, name, flags...)
		m.TLS, m.PeerTLS = w.tls(t, w.nobody), true
		metrics := process.FreeAddr(t)
		m.Flags = append(slices.Clone(m.Flags), "--listen-metrics-urls", "https://"+metrics)
		w.metrics = append(w.metrics, metrics)
		w.Members = append(w.Members, m)
	}
	w.Start()
	w.settle(t)
	t.Cleanup(func() {
		for _, c := range w.conns {
			_ = c.Close()
		}
	})
	return w
}

// tls is for a client that shows a certificate.
func (w *world) tls(t testing.TB, pairs ...certs.Pair) *tls.Config {
	c := &tls.Config{RootCAs: w.clientCA.Pool()}
	for _, p := range pairs {
		c.Certificates = append(c.Certificates, p.TLS(t))
	}
	return c
}

// settle makes users and what they own.
func (w *world) settle(t *testing.T) {
	ctx := process.Within(t, patience)
	c := w.Connect()
	for _, u := range []struct{ name, password string }{{"root", rootPassword}, {"ann", annPassword}, {"eve", "eve"}} {
		_, err := c.UserAdd(ctx, u.name, u.password)
		require.NoError(t, err)
	}
	_, err := c.UserAddWithOptions(ctx, "cert", "", &clientv3.UserAddOptions{NoPassword: true})
	require.NoError(t, err)
	for role, key := range map[string]string{"app": "app/", "one": "one"} {
		_, err := c.RoleAdd(ctx, role)
		require.NoError(t, err)
		end := ""
		if strings.HasSuffix(key, "/") {
			end = clientv3.GetPrefixRangeEnd(key)
		}
		_, err = c.RoleGrantPermission(ctx, role, key, end, clientv3.PermissionType(clientv3.PermReadWrite))
		require.NoError(t, err)
		for _, u := range []string{"ann", "cert", "eve"} {
			_, err = c.UserGrantRole(ctx, u, role)
			require.NoError(t, err)
		}
	}
	_, err = c.UserGrantRole(ctx, "root", "root")
	require.NoError(t, err)
	for _, k := range []string{"app", "app0", "apq", "secret", "onf", "zzz", "\x00", "\xff"} {
		_, err = c.Put(ctx, k, treasure)
		require.NoError(t, err)
	}
	lease, err := c.Grant(ctx, 3600)
	require.NoError(t, err)
	w.lease = int64(lease.ID)
	_, err = c.Put(ctx, "leased-secret", treasure, clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	_, err = c.AuthEnable(ctx)
	require.NoError(t, err)
	w.root = w.as(t, "root", rootPassword)
	if a := w.http(t, w.Members[0], w.nobody, "GET", "/v2/keys/", ""); a.status == 404 {
		return // an etcd 3.7, which has no v2
	}
	// v2 has users of its own.
	admin := "Basic " + basic("root", rootPassword)
	for _, q := range []struct{ method, path, body string }{
		{"PUT", "/v2/auth/users/root", `{"user":"root","password":"` + rootPassword + `"}`},
		{"PUT", "/v2/auth/users/ann", `{"user":"ann","password":"` + annPassword + `"}`},
		{"PUT", "/v2/auth/roles/pub", `{"role":"pub","permissions":{"kv":{"read":["/pub/*"],"write":["/pub/*"]}}}`},
		{"PUT", "/v2/auth/users/ann", `{"user":"ann","grant":["pub"]}`},
		{"PUT", "/v2/keys/secret/key?value=" + treasure, ""},
		{"PUT", "/v2/keys/pub/key?value=1", ""},
		{"PUT", "/v2/auth/enable", ""},
		{"PUT", "/v2/auth/roles/guest", `{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}`},
	} {
		a := w.http(t, w.Members[0], w.nobody, q.method, q.path, q.body, "Authorization", admin)
		require.NoError(t, a.err)
		require.Less(t, a.status, 300, "%s %s: %s", q.method, q.path, a.body)
	}
}

// as is a client of a user.
func (w *world) as(t testing.TB, name, password string, pairs ...certs.Pair) *clientv3.Client {
	if len(pairs) == 0 {
		pairs = []certs.Pair{w.nobody}
	}
	var endpoints []string
	for _, m := range w.Members {
		endpoints = append(endpoints, m.URL())
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Username: name, Password: password, TLS: w.tls(t, pairs...), DialTimeout: patience, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// conn is a connection of somebody with a certificate to a member, which is kept.
func (w *world) conn(t testing.TB, m *process.Member, p certs.Pair) *grpc.ClientConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := m.Name + p.Cert
	if c := w.conns[key]; c != nil {
		return c
	}
	c, err := grpc.NewClient(m.Client, grpc.WithTransportCredentials(credentials.NewTLS(w.tls(t, p))))
	require.NoError(t, err)
	w.conns[key] = c
	return c
}

// token logs in.
func (w *world) token(t testing.TB, name, password string) string {
	r, err := pb.NewAuthClient(w.conn(t, w.Members[0], w.nobody)).Authenticate(process.Within(t, patience), &pb.AuthenticateRequest{Name: name, Password: password})
	require.NoError(t, err)
	return r.Token
}

// bearing is a context with a token.
func bearing(t testing.TB, token string) context.Context {
	return metadata.AppendToOutgoingContext(process.Within(t, patience), "token", token)
}

// answer is one over HTTP.
type answer struct {
	status int
	body   string
	err    error
}

// http asks over HTTP/1.1 on a connection of its own. The path is sent as it is.
func (w *world) http(t testing.TB, m *process.Member, p certs.Pair, method, path, body string, header ...string) answer {
	head := ""
	for i := 0; i < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\r\n"
	}
	kind := "application/x-www-form-urlencoded"
	if strings.HasPrefix(body, "{") {
		kind = "application/json"
	}
	return w.raw(t, m, p, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s", method, path, m.Client, kind, len(body), head, body))
}

// raw sends bytes over TLS and reads one answer.
func (w *world) raw(t testing.TB, m *process.Member, p certs.Pair, bytes string) (a answer) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", m.Client, w.tls(t, p))
	if err != nil {
		return answer{err: err}
	}
	defer c.Close()
	return exchange(c, bytes)
}

// untrusting is for those who do not care whom they attack.
func untrusting(versions ...uint16) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true}
	if len(versions) == 2 {
		c.MinVersion, c.MaxVersion = versions[0], versions[1]
	}
	return c
}

// healthy reports whether a member answers those who may ask.
func (w *world) healthy(t testing.TB, m *process.Member) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{TLSClientConfig: m.TLS, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := c.Get(m.URL() + "/health")
	require.NoError(t, err)
	_ = r.Body.Close()
	require.Equal(t, http.StatusOK, r.StatusCode)
}

func expired(c *x509.Certificate)   { c.NotAfter = time.Now().Add(-time.Minute) }
func early(c *x509.Certificate)     { c.NotBefore = time.Now().Add(time.Hour) }
func forServer(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
