package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/process"
)

// fileSet is the files that a member reads, whose content changes.
type fileSet struct{ cert, key, ca string }

func newFileSet(t *testing.T, p certs.Pair, cas ...*certs.CA) fileSet {
	dir := t.TempDir()
	f := fileSet{filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")}
	p.Copy(t, f.cert, f.key)
	f.trust(t, cas...)
	return f
}

// trust makes the CAs those of the bundle.
func (f fileSet) trust(t *testing.T, cas ...*certs.CA) {
	var all []byte
	for _, ca := range cas {
		b, err := os.ReadFile(ca.File)
		require.NoError(t, err)
		all = append(all, b...)
	}
	require.NoError(t, os.WriteFile(f.ca+".new", all, 0o600))
	require.NoError(t, os.Rename(f.ca+".new", f.ca))
}

func (f fileSet) flags(prefix string) []string {
	return pairFlags(prefix, certs.Pair{Cert: f.cert, Key: f.key}, &certs.CA{File: f.ca})
}

// TestEverythingIsRenewed exchanges all certificates and all CAs of a cluster while clients write. No call fails, and in the end
// nothing of the old ones is let in.
func TestEverythingIsRenewed(t *testing.T) {
	t.Parallel()
	old, next := certs.NewCA(t, "old"), certs.NewCA(t, "next")
	g := &process.Group{T: t}
	var client, peer []fileSet
	for _, name := range []string{"a", "b", "c"} {
		c, p := newFileSet(t, old.Issue(t, "old", local), old), newFileSet(t, old.Issue(t, "old", local), old)
		client, peer = append(client, c), append(peer, p)
		m := process.NewMember(t, name, append(c.flags(""), p.flags("peer-")...)...)
		m.TLS, m.PeerTLS = &tls.Config{RootCAs: old.Pool(), Certificates: []tls.Certificate{old.Issue(t, "client", nil).TLS(t)}}, true
		g.Members = append(g.Members, m)
	}
	g.Start()
	var endpoints []string
	for _, m := range g.Members {
		endpoints = append(endpoints, m.URL())
	}
	shown := old.Issue(t, "client", nil).TLS(t)
	cfg := &tls.Config{RootCAs: old.Pool()}
	pem, err := os.ReadFile(next.File)
	require.NoError(t, err)
	require.True(t, cfg.RootCAs.AppendCertsFromPEM(pem))
	var mu sync.Mutex
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		return &shown, nil
	}
	connect := func() *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, TLS: cfg, DialTimeout: patience, Logger: zap.NewNop()})
		require.NoError(t, err)
		return c
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var calls atomic.Int64
	var failed sync.Map
	for i := range 4 {
		c := connect()
		wg.Go(func() {
			defer c.Close()
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := c.Put(ctx, fmt.Sprintf("k/%d", i), fmt.Sprint(n)); err != nil && ctx.Err() == nil {
					failed.Store(i, err)
				}
				calls.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		from := calls.Load()
		require.Eventually(t, func() bool { return calls.Load() >= from+n }, patience, 10*time.Millisecond, "writes stand still")
		c := connect() // whoever is new gets in at every step
		defer c.Close()
		_, err := c.Get(process.Within(t, patience), "k/0")
		require.NoError(t, err)
	}
	more(50)
	for i := range g.Members { // first everybody trusts both
		client[i].trust(t, old, next)
		peer[i].trust(t, old, next)
	}
	more(50)
	for i := range g.Members { // then everybody shows the new ones
		next.Issue(t, "next", local).Copy(t, client[i].cert, client[i].key)
		next.Issue(t, "next", local).Copy(t, peer[i].cert, peer[i].key)
		more(50)
	}
	mu.Lock()
	shown = next.Issue(t, "client", nil).TLS(t)
	mu.Unlock()
	for i := range g.Members { // then nobody trusts the old ones
		client[i].trust(t, next)
		peer[i].trust(t, next)
	}
	more(50)
	stop()
	wg.Wait()
	failed.Range(func(i, err any) bool {
		t.Errorf("writer %v: %v", i, err)
		return true
	})

	stranger := old.Issue(t, "client", local).TLS(t)
	for _, m := range g.Members {
		for _, addr := range []string{m.Client, m.Peer} {
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }})
			if err == nil {
				require.Equal(t, "next", c.ConnectionState().PeerCertificates[0].Subject.CommonName)
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			require.Error(t, err, "a certificate of before")
		}
	}
	// Members that begin anew find each other with the new ones, and one alone is nobody without them.
	m := g.Members[2]
	m.Stop()
	m.TLS = cfg
	m.Start()
	c := connect()
	defer c.Close()
	require.Eventually(t, func() bool {
		_, err := c.Put(process.Within(t, time.Second), "k", "v")
		return err == nil
	}, patience, 50*time.Millisecond)
	m.Stop()
	old.Issue(t, "old", local).Copy(t, peer[2].cert, peer[2].key)
	_ = os.RemoveAll(m.Dir)
	m.Launch("--initial-cluster", g.Initial(), "--initial-cluster-state", "existing")
	m.AwaitEnd() // nobody tells it who the members are
	require.Contains(t, m.Out.String(), "cannot fetch cluster info from peer urls")
}

// TestOwnCertificates: members that make certificates themselves find each other.
func TestOwnCertificates(t *testing.T) {
	t.Parallel()
	g := &process.Group{T: t}
	for _, name := range []string{"a", "b", "c"} {
		m := process.NewMember(t, name, "--auto-tls", "--peer-auto-tls", "--self-signed-cert-validity", "2")
		m.TLS, m.PeerTLS = &tls.Config{InsecureSkipVerify: true}, true
		g.Members = append(g.Members, m)
	}
	g.Start()
	_, err := g.Connect().Put(process.Within(t, patience), "k", "v")
	require.NoError(t, err)
	g.Agree()
	m := g.Members[0]
	before, err := os.ReadFile(filepath.Join(m.Dir, "fixtures", "client", "cert.pem"))
	require.NoError(t, err)
	m.Stop()
	m.Start()
	after, err := os.ReadFile(filepath.Join(m.Dir, "fixtures", "client", "cert.pem"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	pool := certs.NewCA(t, "none").Pool()
	require.True(t, pool.AppendCertsFromPEM(after))
	m.TLS = &tls.Config{RootCAs: pool}
	_, err = g.Connect(m).Get(process.Within(t, patience), "k")
	require.NoError(t, err, "clients can check it")
}
