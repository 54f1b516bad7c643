package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/process"
)

// foil runs the attempts whose names begin with one of the given texts.
func foil(t *testing.T, w *world, attempts []attempt, names ...string) {
	t.Helper()
	ran := 0
	for _, a := range attempts {
		for _, name := range names {
			if strings.HasPrefix(a.name, name) {
				o := a.run(w, t)
				require.Empty(t, o.got, a.name)
				require.Error(t, o.refused, a.name)
				ran++
			}
		}
	}
	require.GreaterOrEqual(t, ran, len(names))
}

// TestAdvisories has a test for each published weakness of etcd's that a server like this one could have, by its name.
func TestAdvisories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--log-level", "debug")
	for name, test := range map[string]func(t *testing.T){
		// The JSON gateway took its own certificate, or that of its client, for a user.
		"CVE-2018-16886": func(t *testing.T) { foil(t, w, httpAttempts(), "gateway, root's certificate") },
		// A page of another site has a browser send requests. What it sends along by itself, a certificate, is no user there.
		"CVE-2018-1098": func(t *testing.T) {
			a := w.http(t, w.Members[0], w.clientCA.Issue(t, "root", nil), "POST", "/v3/kv/put", putBody, "Origin", "https://evil.example", "Content-Type", "text/plain")
			require.NotEqual(t, 200, a.status, a.body)
		},
		// Methods that nobody had to be anybody for: member list, alarm, leases, compaction.
		"GHSA-q8m4-xhhv-38mg": func(t *testing.T) { foil(t, w, methodAttempts(), "nobody/", "ghost/") },
		// Txns in txns were not looked at.
		"GHSA-rfx7-8w68-q57q": func(t *testing.T) { foil(t, w, keyAttempts(), "txn in a txn", "a txn inside", "guess in a txn inside") },
		// In txns, neither what was there before a put nor the lease that it is given was looked at.
		"GHSA-x35m-3gp4-4fh5, CVE-2026-44283": func(t *testing.T) {
			foil(t, w, keyAttempts(), "such a lease in a txn", "a lease that ends somebody's key")
			c := pb.NewKVClient(w.conn(t, w.Members[0], w.nobody))
			_, err := w.root.RoleAdd(process.Within(t, patience), "writer")
			require.NoError(t, err)
			_, err = w.root.RoleGrantPermission(process.Within(t, patience), "writer", "apq", "", clientv3.PermissionType(clientv3.PermWrite))
			require.NoError(t, err)
			_, err = w.root.UserAdd(process.Within(t, patience), "writer", "w")
			require.NoError(t, err)
			_, err = w.root.UserGrantRole(process.Within(t, patience), "writer", "writer")
			require.NoError(t, err)
			q := put("apq")
			q.PrevKv = true
			_, err = c.Txn(bearing(t, w.token(t, "writer", "w")), then(opPut(q)))
			require.ErrorContains(t, err, "permission denied")
			_, err = c.Txn(bearing(t, w.token(t, "writer", "w")), then(opTxn(then(opPut(q)))))
			require.ErrorContains(t, err, "permission denied")
		},
		// Who could read a key could watch from that key on.
		"GHSA-xg4h-6gfc-h4m8": func(t *testing.T) {
			foil(t, w, keyAttempts(), "watch from a single key on", "watch everything from a key on", "watch everything")
		},
		// Who asked for a lease's keys was told them.
		"CVE-2023-32082": func(t *testing.T) { foil(t, w, keyAttempts(), "the keys of somebody's lease") },
		// Connections that never said hello were kept.
		"GHSA-6vch-q96h-7gc3, CVE-2026-73500": func(t *testing.T) {
			for _, d := range doors() {
				var conns []net.Conn
				for range 200 {
					c, err := net.Dial("tcp", d.addr(w))
					require.NoError(t, err)
					conns = append(conns, c)
				}
				for _, c := range conns {
					require.Error(t, closedWithin(c, handshakeLimit), d.name)
					_ = c.Close()
				}
			}
			w.healthy(t, w.Members[1])
		},
		// A listener beside the first one did not look at the list of revoked certificates.
		"revoked certificates count at every listener": func(t *testing.T) {
			for _, d := range doors() {
				foil(t, w, certificateAttempts(), d.name+"/revoked")
			}
		},
		// Passwords could be found in the log, or at the pages for debugging.
		"CVE-2021-28235": func(t *testing.T) {
			c := w.conn(t, w.Members[0], w.nobody)
			_, err := pb.NewAuthClient(c).Authenticate(process.Within(t, patience), &pb.AuthenticateRequest{Name: "ann", Password: annPassword})
			require.NoError(t, err)
			_, err = pb.NewAuthClient(c).Authenticate(process.Within(t, patience), &pb.AuthenticateRequest{Name: "ann", Password: "guess-" + annPassword})
			require.Error(t, err)
			for _, path := range []string{"/debug/requests", "/debug/events", "/debug/vars", "/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
				a := w.http(t, w.Members[0], w.nobody, "GET", path, "")
				require.NotContains(t, a.body, annPassword, path)
				require.NotContains(t, a.body, rootPassword, path)
			}
			for _, m := range w.Members {
				require.NotContains(t, m.Out.String(), annPassword)
				require.NotContains(t, m.Out.String(), rootPassword)
				require.NoError(t, filepath.WalkDir(m.Dir, func(path string, d os.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					b, err := os.ReadFile(path)
					if err == nil {
						require.NotContains(t, string(b), annPassword, path)
					}
					return nil // a file that has gone meanwhile
				}))
			}
		},
		// Users that have a certificate alone seemed to have given a password.
		"GHSA-vjg6-93fv-qv64, GO-2024-2530": func(t *testing.T) { foil(t, w, tokenAttempts(), "a user without a password") },
		// Nothing slowed those down who try passwords.
		"CVE-2020-15115": func(t *testing.T) {
			_, err := w.root.UserAdd(process.Within(t, patience), "short", "p")
			require.NoError(t, err)
			c := pb.NewAuthClient(w.conn(t, w.Members[2], w.nobody))
			began, tries := time.Now(), 0
			for ctx := process.Within(t, patience); time.Since(began) < 2*time.Second; tries++ {
				_, err := c.Authenticate(ctx, &pb.AuthenticateRequest{Name: "short", Password: fmt.Sprint(tries)})
				require.Error(t, err)
			}
			require.Less(t, tries, 30, "in two seconds")
		},
		// A request that was rewritten, for all keys from one on, before it was judged.
		"a range's end is judged as it was sent": func(t *testing.T) {
			foil(t, w, keyAttempts(), "read everything from a key on", "delete everything from a key on", "read everything", "delete everything", "a stream of everything")
		},
		// Streams that are begun and broken off, and heads without an end.
		"CVE-2023-44487": func(t *testing.T) { foil(t, w, loadAttempts(), "streams that are begun and broken off") },
		"CVE-2023-45288": func(t *testing.T) { foil(t, w, loadAttempts(), "HTTP/2, a head without an end") },
		// Bodies without an end that members took from anybody.
		"bodies from members have a bound": func(t *testing.T) { foil(t, w, memberAttempts(), "an endless body") },
	} {
		t.Run(name, test)
	}
}

// While a database is full, nobody's permissions were looked at (etcd's pull request 22386).
func TestPermissionsCountWhileTheDatabaseIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := process.Within(t, patience)
	_, err := pb.NewMaintenanceClient(w.conn(t, w.Members[0], w.nobody)).Alarm(bearing(t, w.token(t, "root", rootPassword)),
		&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
	require.NoError(t, err)
	_, err = w.root.Put(ctx, "x", "y")
	require.ErrorIs(t, err, rpctypes.ErrNoSpace)
	foil(t, w, keyAttempts(), "delete ", "end somebody's lease", "switch users off", "become root", "change root's password", "a txn that deletes", "a txn inside that deletes")
	foil(t, w, methodAttempts(), "nobody/")
	_, err = w.root.Delete(ctx, "nothing")
	require.NoError(t, err, "who may, can")
}

// A page reached through a name that leads here all at once (CVE-2018-1099).
func TestCVE_2018_1099(t *testing.T) {
	t.Parallel()
	m := process.NewMember(t, "a", "--host-whitelist", "localhost,good.example")
	m.Start("--initial-cluster", "a="+m.PeerURL())
	for host, want := range map[string]int{"evil.example": http.StatusMisdirectedRequest, "good.example": http.StatusOK, "localhost:7": http.StatusOK, "good.example.evil.example": http.StatusMisdirectedRequest} {
		for _, path := range []string{"/v2/keys/", "/version", "/v3/kv/range"} {
			q, err := http.NewRequestWithContext(t.Context(), "GET", m.URL()+path, nil)
			require.NoError(t, err)
			if path == "/v3/kv/range" {
				q.Method, q.Body = "POST", io.NopCloser(strings.NewReader(secretBody))
			}
			q.Host = host
			r, err := http.DefaultClient.Do(q)
			require.NoError(t, err)
			_ = r.Body.Close()
			require.Equal(t, want, r.StatusCode, "%s at %s", path, host)
		}
	}
}

// Records of a log that lie about their length or their index (CVE-2020-15106, CVE-2020-15112): what is wrong is told.
func TestCVE_2020_15106(t *testing.T) {
	t.Parallel()
	m := process.NewMember(t, "a")
	m.Start("--initial-cluster", "a="+m.PeerURL())
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{m.URL()}, DialTimeout: patience})
	require.NoError(t, err)
	defer c.Close()
	for i := range 20 {
		_, err = c.Put(process.Within(t, patience), "k", strings.Repeat("v", 100*i))
		require.NoError(t, err)
	}
	m.Kill()
	files, err := filepath.Glob(filepath.Join(m.Dir, "member", "wal", "*.wal"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	good, err := os.ReadFile(files[0])
	require.NoError(t, err)
	for at := 8; at < 2500; at += 61 {
		bad := append([]byte(nil), good...)
		for i, b := range []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f} {
			bad[at+i] = b
		}
		require.NoError(t, os.WriteFile(files[0], bad, 0o600))
		m.Launch()
		ended := make(chan struct{})
		go func() { // one that serves has found nothing to complain about
			defer close(ended)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			for ctx.Err() == nil {
				if r, err := http.Get(m.URL() + "/health"); err == nil {
					_ = r.Body.Close()
					return
				}
				select {
				case <-m.Ended:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}()
		<-ended
		m.Kill()
		out := m.Out.String()
		require.NotContains(t, out, "goroutine ", "at %d", at)
		require.NotContains(t, out, "panic", "at %d", at)
		if strings.Contains(out, "failed to start") {
			require.Contains(t, out, filepath.Base(files[0]), "at %d: the file is named", at)
		}
	}
}

// A data directory that others may look into (CVE-2020-15113).
func TestCVE_2020_15113(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	t.Parallel()
	m := process.NewMember(t, "a")
	require.NoError(t, os.Mkdir(m.Dir, 0o777))
	require.NoError(t, os.Chmod(m.Dir, 0o777))
	m.Start("--initial-cluster", "a="+m.PeerURL())
	require.Contains(t, m.Out.String(), "permission", "it is warned of")
	fi, err := os.Stat(filepath.Join(m.Dir, "member"))
	require.NoError(t, err)
	require.Zero(t, fi.Mode().Perm()&0o077, "nobody else may look into what is below")
}

// Endpoints that were reached and never verified (CVE-2020-15136, GHSA-j86v-2vjr-fg8f): a proxy forwards to members that its CA
// vouches for, and to nobody else. X-13, L-01, L-02.
func TestCVE_2020_15136(t *testing.T) {
	t.Parallel()
	ca, other := certs.NewCA(t, "members"), certs.NewCA(t, "members")
	server, client := ca.Issue(t, "", local), ca.Issue(t, "", nil)
	m := process.NewMember(t, "a", append(pairFlags("", server, ca), pairFlags("peer-", server, ca)...)...)
	m.TLS, m.PeerTLS = &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{client.TLS(t)}}, true
	m.Start("--initial-cluster", "a="+m.PeerURL())
	ask := func(user certs.Pair, flags ...string) int {
		p := process.NewMember(t, "proxy", append([]string{"--proxy", "on", "--cert-file", server.Cert, "--key-file", server.Key,
			"--peer-cert-file", client.Cert, "--peer-key-file", client.Key, "--peer-trusted-ca-file", ca.File}, flags...)...)
		p.TLS = &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{user.TLS(t)}}
		p.Launch("--initial-cluster", "a="+m.PeerURL())
		defer p.Kill()
		way := &http.Client{Transport: &http.Transport{TLSClientConfig: p.TLS, DisableKeepAlives: true}, Timeout: 10 * time.Second}
		status := 0
		require.Eventually(t, func() bool {
			r, err := way.Get(p.URL() + "/v2/keys/")
			if err == nil {
				_ = r.Body.Close()
				status = r.StatusCode
			}
			return err == nil
		}, patience, 50*time.Millisecond, p.Out)
		return status
	}
	require.Equal(t, http.StatusOK, ask(ca.Issue(t, "", nil), "--trusted-ca-file", ca.File))
	require.GreaterOrEqual(t, ask(other.Issue(t, "", nil), "--trusted-ca-file", other.File, "--client-cert-file", client.Cert, "--client-key-file", client.Key), 500, "another CA's members")
}
