package tlsfiles_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
	"github.com/cairn-kv/cairn/test/certs"
)

// side is the files of a server, which a test changes.
type side struct {
	tlsfiles.Options
	log bytes.Buffer
}

func newSide(t *testing.T, ca *certs.CA, pair certs.Pair) *side {
	dir := t.TempDir()
	s := &side{}
	s.Cert, s.Key, s.CA = filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca")
	pair.Copy(t, s.Cert, s.Key)
	s.trust(t, ca)
	s.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	return s
}

func (s *side) trust(t *testing.T, ca *certs.CA) {
	b, err := os.ReadFile(ca.File)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.CA+".new", b, 0o600))
	require.NoError(t, os.Rename(s.CA+".new", s.CA))
}

func (s *side) open(t *testing.T) *tlsfiles.Source {
	src, err := tlsfiles.Open(s.Options)
	require.NoError(t, err)
	return src
}

// meet connects the two, and tells what each thinks of the other.
func meet(t *testing.T, server, client *tls.Config) (atServer, atClient error, seen tls.ConnectionState) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		s := tls.Server(c, server)
		err = s.HandshakeContext(t.Context())
		if err == nil {
			_, err = s.Write([]byte("welcome"))
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	if client.ServerName == "" {
		client = client.Clone()
		client.ServerName = "127.0.0.1"
	}
	s := tls.Client(c, client)
	if atClient = s.HandshakeContext(t.Context()); atClient == nil {
		_, atClient = io.ReadAll(s) // with TLS 1.3 it hears of a refusal here
		seen = s.ConnectionState()
	}
	_ = c.Close()
	return <-done, atClient, seen
}

func dialing(t *testing.T, ca *certs.CA, pairs ...certs.Pair) *tls.Config {
	c := &tls.Config{RootCAs: ca.Pool()}
	for _, p := range pairs {
		c.Certificates = append(c.Certificates, p.TLS(t))
	}
	return c
}

func TestWhoIsLetIn(t *testing.T) {
	ca, other := certs.NewCA(t, "ca"), certs.NewCA(t, "ca") // the same name
	local := []string{"127.0.0.1"}
	server, client := ca.Issue(t, "server", local), ca.Issue(t, "ann", []string{"ann.example"})
	revoked := ca.Issue(t, "rev", nil)
	crl := filepath.Join(t.TempDir(), "crl")
	ca.Revoke(t, crl, ca.Issue(t, "x", nil), revoked)
	expired := ca.Issue(t, "ann", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := ca.Issue(t, "ann", nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	wrongUse := ca.Issue(t, "ann", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	for _, c := range []struct {
		name   string
		change func(*tlsfiles.Options)
		show   []certs.Pair
		want   string // "" if the connection is made
	}{
		{"no CA", func(o *tlsfiles.Options) { o.CA = "" }, nil, ""},
		{"a CA alone wants certificates", nil, nil, "client didn't provide a certificate"},
		{"good", nil, []certs.Pair{client}, ""},
		{"another CA's", nil, []certs.Pair{other.Issue(t, "ann", nil)}, "certificate"},
		{"expired", nil, []certs.Pair{expired}, "expired"},
		{"not yet", nil, []certs.Pair{early}, "expired or is not yet valid"},
		{"of servers only", nil, []certs.Pair{wrongUse}, "incompatible key usage"},
		{"the system's CAs", func(o *tlsfiles.Options) { o.CA, o.RequireClient = "", true }, []certs.Pair{client}, "certificate"},
		{"revoked", func(o *tlsfiles.Options) { o.CRL = crl }, []certs.Pair{revoked}, "is revoked"},
		{"not revoked", func(o *tlsfiles.Options) { o.CRL = crl }, []certs.Pair{client}, ""},
		{"CN", func(o *tlsfiles.Options) { o.AllowedCNs = []string{"bob", "ann"} }, []certs.Pair{client}, ""},
		{"other CN", func(o *tlsfiles.Options) { o.AllowedCNs = []string{"bob", "an"} }, []certs.Pair{client}, `"ann" is not among those that are allowed`},
		{"host", func(o *tlsfiles.Options) { o.AllowedHostnames = []string{"ann.example"} }, []certs.Pair{client}, ""},
		{"other host", func(o *tlsfiles.Options) { o.AllowedHostnames = []string{"ann"} }, []certs.Pair{client}, "is not among those that are allowed"},
		// Names that are allowed mean nothing if nobody has to show one.
		{"names without a CA", func(o *tlsfiles.Options) { o.CA, o.AllowedCNs = "", []string{"ann"} }, nil, "client didn't provide a certificate"},
		{"address", func(o *tlsfiles.Options) { o.CheckAddress = true }, []certs.Pair{ca.Issue(t, "ann", local)}, ""},
		{"any address", func(o *tlsfiles.Options) { o.CheckAddress = true }, []certs.Pair{ca.Issue(t, "ann", nil)}, ""},
		{"other address", func(o *tlsfiles.Options) { o.CheckAddress = true }, []certs.Pair{ca.Issue(t, "ann", []string{"127.0.0.2"})}, "127.0.0.1"},
		{"revoked, address", func(o *tlsfiles.Options) { o.CheckAddress, o.CRL = true, crl }, []certs.Pair{revoked}, "is revoked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSide(t, ca, server)
			if c.change != nil {
				c.change(&s.Options)
			}
			for _, lowest := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				s.MinVersion, s.MaxVersion = lowest, lowest
				atServer, atClient, _ := meet(t, s.open(t).Server("http/1.1"), dialing(t, ca, c.show...))
				if c.want == "" {
					require.NoError(t, errors.Join(atServer, atClient))
					continue
				}
				require.ErrorContains(t, atServer, c.want)
				require.Error(t, atClient)
			}
		})
	}
}

func TestVersionsAndSuites(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	s := newSide(t, ca, ca.Issue(t, "", []string{"127.0.0.1"}))
	s.CA = ""
	suites, err := tlsfiles.CipherSuites([]string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"})
	require.NoError(t, err)
	s.CipherSuites, s.MaxVersion = suites, tls.VersionTLS12
	src := s.open(t)
	_, err, seen := meet(t, src.Server("h2"), dialing(t, ca))
	require.NoError(t, err)
	require.EqualValues(t, tls.VersionTLS12, seen.Version)
	require.Equal(t, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, seen.CipherSuite)
	c := dialing(t, ca)
	c.MinVersion = tls.VersionTLS13
	_, err, _ = meet(t, src.Server("h2"), c)
	require.Error(t, err)
	s.MaxVersion, s.MinVersion = 0, tls.VersionTLS13
	c = dialing(t, ca)
	c.MaxVersion = tls.VersionTLS12
	_, err, _ = meet(t, s.open(t).Server("h2"), c)
	require.Error(t, err)
	c.MaxVersion = tls.VersionTLS11
	s.MinVersion = 0
	_, err, _ = meet(t, s.open(t).Server("h2"), c)
	require.Error(t, err, "TLS 1.2 is the lowest")

	c = dialing(t, ca)
	c.NextProtos = []string{"h2", "http/1.1"}
	_, err, seen = meet(t, s.open(t).Server("http/1.1", "h2"), c)
	require.NoError(t, err)
	require.Equal(t, "http/1.1", seen.NegotiatedProtocol, "who speaks both gets HTTP/1")
	require.False(t, seen.DidResume)
}

// No ticket lets a client in again that would not be let in now.
func TestNothingIsResumed(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	ann := ca.Issue(t, "ann", nil)
	s := newSide(t, ca, ca.Issue(t, "", []string{"127.0.0.1"}))
	s.CRL = filepath.Join(t.TempDir(), "crl")
	ca.Revoke(t, s.CRL)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s.MinVersion, s.MaxVersion = version, version
		src := s.open(t).Server("h2")
		c := dialing(t, ca, ann)
		c.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		for range 3 {
			atServer, atClient, seen := meet(t, src, c)
			require.NoError(t, errors.Join(atServer, atClient))
			require.False(t, seen.DidResume)
		}
	}
}

// Every file counts from the next connection on when it changes, and its last good state while it is broken.
func TestReload(t *testing.T) {
	ca, next := certs.NewCA(t, "ca"), certs.NewCA(t, "next")
	local := []string{"127.0.0.1"}
	first, second := ca.Issue(t, "first", local), ca.Issue(t, "second", local)
	ann := ca.Issue(t, "ann", nil)
	s := newSide(t, ca, first)
	s.CRL = filepath.Join(t.TempDir(), "crl")
	ca.Revoke(t, s.CRL)
	src := s.open(t)
	server := src.Server("h2")
	shown := func(c *tls.Config) string {
		atServer, atClient, seen := meet(t, server, c)
		require.NoError(t, errors.Join(atServer, atClient))
		return seen.PeerCertificates[0].Subject.CommonName
	}
	c := dialing(t, ca, ann)
	require.Equal(t, "first", shown(c))

	second.Copy(t, s.Cert, filepath.Join(t.TempDir(), "elsewhere"))
	require.Equal(t, "first", shown(c), "the key is still that of the first")
	require.Contains(t, s.log.String(), "TLS files have changed and cannot be used")
	logged := s.log.Len()
	require.Equal(t, "first", shown(c))
	require.Equal(t, logged, s.log.Len(), "a state of the files is complained about once")
	second.Copy(t, s.Cert, s.Key)
	require.Equal(t, "second", shown(c))
	require.Equal(t, "second", src.Client().Certificates[0].Leaf.Subject.CommonName)

	s.trust(t, next)
	atServer, _, _ := meet(t, server, c)
	require.Error(t, atServer, "the CA of before is not trusted any more")
	bob := next.Issue(t, "bob", nil)
	c.Certificates = []tls.Certificate{bob.TLS(t)}
	require.Equal(t, "second", shown(c))
	require.NoError(t, os.Remove(s.CA))
	require.Equal(t, "second", shown(c))
	require.NoError(t, os.WriteFile(s.CA, []byte("rubbish"), 0o600))
	require.Equal(t, "second", shown(c))
	s.trust(t, next)

	next.Revoke(t, s.CRL, bob)
	atServer, _, _ = meet(t, server, c)
	require.ErrorContains(t, atServer, "is revoked")
	require.NoError(t, os.WriteFile(s.CRL, []byte("rubbish"), 0o600))
	atServer, _, _ = meet(t, server, c)
	require.ErrorContains(t, atServer, "is revoked")
	next.Revoke(t, s.CRL)
	require.Equal(t, "second", shown(c))
}

func TestDialing(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	server, own := ca.Issue(t, "server", []string{"127.0.0.1", "members.example"}), ca.Issue(t, "own", nil)
	s := newSide(t, ca, ca.Issue(t, "listener", nil))
	s.ClientCert, s.ClientKey = own.Cert, own.Key
	accept := &tls.Config{Certificates: []tls.Certificate{server.TLS(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	ok := func() {
		atServer, atClient, _ := meet(t, accept, s.open(t).Client())
		require.NoError(t, errors.Join(atServer, atClient))
	}
	refused := func(want string) {
		_, err, _ := meet(t, accept, s.open(t).Client())
		require.ErrorContains(t, err, want)
	}
	ok()
	require.Equal(t, "own", s.open(t).Client().Certificates[0].Leaf.Subject.CommonName)
	s.ServerName = "members.example"
	ok()
	s.ServerName = "other.example"
	refused("not other.example")
	s.ServerName = ""
	s.AllowedCNs = []string{"server"}
	ok()
	s.AllowedCNs = []string{"other"}
	refused("is not among those that are allowed")
	s.AllowedCNs = nil
	s.CRL = filepath.Join(t.TempDir(), "crl")
	ca.Revoke(t, s.CRL, server)
	refused("is revoked")
	s.CRL = ""
	s.trust(t, certs.NewCA(t, "ca"))
	refused("certificate")
	s.SkipVerify = true
	ok()
}

func TestWhatCannotBeOpened(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	a, b := ca.Issue(t, "a", nil), ca.Issue(t, "b", nil)
	rubbish := filepath.Join(t.TempDir(), "rubbish")
	require.NoError(t, os.WriteFile(rubbish, []byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), 0o600))
	for _, c := range []struct {
		tlsfiles.Options
		want string
	}{
		{tlsfiles.Options{Files: tlsfiles.Files{Cert: a.Cert}}, "KeyFile and CertFile must both be present"},
		{tlsfiles.Options{Files: tlsfiles.Files{Cert: a.Cert, Key: b.Key}}, "private key does not match public key"},
		{tlsfiles.Options{Files: tlsfiles.Files{CA: "/no"}}, "no such file"},
		{tlsfiles.Options{ClientKey: a.Key}, "ClientKeyFile and ClientCertFile must both be present"},
		{tlsfiles.Options{ClientCert: a.Cert, ClientKey: "/no"}, "no such file"},
		{tlsfiles.Options{CRL: "/no"}, "no such file"},
		{tlsfiles.Options{CRL: rubbish}, "is no list of revoked certificates"},
		{tlsfiles.Options{AllowedCNs: []string{"x"}, AllowedHostnames: []string{"y"}}, "mutually exclusive (cns=[x], hostnames=[y])"},
	} {
		_, err := tlsfiles.Open(c.Options)
		require.ErrorContains(t, err, c.want)
	}
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fixtures", "client")
	now := time.Now()
	_, err := tlsfiles.SelfSigned(dir, nil, 0, now)
	require.ErrorContains(t, err, "should be greater than 0")
	f, err := tlsfiles.SelfSigned(dir, []string{"127.0.0.1:1", "[::1]:2", "localhost:3", ""}, 2, now)
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	cert := pair.Leaf
	require.Equal(t, []string{"etcd"}, cert.Subject.Organization)
	require.Equal(t, []string{"localhost"}, cert.DNSNames)
	require.Len(t, cert.IPAddresses, 2)
	require.WithinDuration(t, now.Add(2*365*24*time.Hour), cert.NotAfter, time.Second)
	again, err := tlsfiles.SelfSigned(dir, []string{"other"}, 1, now)
	require.NoError(t, err)
	pair, err = tls.LoadX509KeyPair(again.Cert, again.Key)
	require.NoError(t, err)
	require.True(t, pair.Leaf.Equal(cert), "it is used on")
	_, err = tlsfiles.SelfSigned(dir, []string{"other"}, 1, cert.NotAfter.Add(time.Second))
	require.NoError(t, err)
	pair, err = tls.LoadX509KeyPair(again.Cert, again.Key)
	require.NoError(t, err)
	require.False(t, pair.Leaf.Equal(cert), "it has ended")
	require.NoError(t, os.WriteFile(f.Key, []byte("x"), 0o600))
	_, err = tlsfiles.SelfSigned(dir, nil, 1, now)
	require.ErrorContains(t, err, "remove both files")
	require.NoError(t, os.Remove(f.Key))
	_, err = tlsfiles.SelfSigned(dir, nil, 1, now)
	require.NoError(t, err)

	src, err := tlsfiles.Open(tlsfiles.Options{Files: f})
	require.NoError(t, err)
	_, _, seen := meet(t, src.Server("h2"), &tls.Config{InsecureSkipVerify: true})
	require.Equal(t, x509.ECDSA, seen.PeerCertificates[0].PublicKeyAlgorithm)
}

// names answers like a name server.
type names map[string][]string

func (n names) LookupHost(_ context.Context, host string) ([]string, error) {
	if a, ok := n[host]; ok {
		return a, nil
	}
	return nil, errors.New("no such host " + host)
}

func (n names) LookupAddr(ctx context.Context, addr string) ([]string, error) { return n.LookupHost(ctx, addr) }

// The name of a member's certificate has to lead to where it comes from.
func TestNamesOfClients(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	for _, c := range []struct {
		hosts []string
		names names
		want  string
	}{
		{[]string{"m1.example"}, names{"m1.example": {"10.0.0.1", "::ffff:127.0.0.1"}}, ""},
		{[]string{"m1.example"}, names{"m1.example": {"10.0.0.1"}}, "127.0.0.1 is none of [m1.example]"},
		{[]string{"m1.example"}, names{}, "no such host m1.example"},
		{[]string{"gone.example", "m1.example"}, names{"m1.example": {"127.0.0.1"}}, ""},
		{[]string{"10.0.0.1", "m1.example"}, names{"m1.example": {"127.0.0.1"}}, ""},
		{[]string{"*.example"}, names{"127.0.0.1": {"m1.example."}}, ""},
		{[]string{"*.example"}, names{"127.0.0.1": {"a.m1.example.", "example.", "m1.other."}}, "127.0.0.1 is none of"},
		{[]string{"*.example"}, names{}, "no such host 127.0.0.1"},
	} {
		s := newSide(t, ca, ca.Issue(t, "", []string{"127.0.0.1"}))
		s.CheckAddress, s.Resolver = true, c.names
		atServer, _, _ := meet(t, s.open(t).Server("h2"), dialing(t, ca, ca.Issue(t, "m1", c.hosts)))
		if c.want == "" {
			require.NoError(t, atServer)
			continue
		}
		require.ErrorContains(t, atServer, c.want)
	}
}
