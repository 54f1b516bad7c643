package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

func serve(t *testing.T, network, addr string, opts ...grpc.ServerOption) net.Listener {
	t.Helper()
	lis, err := net.Listen(network, addr)
	require.NoError(t, err)
	s := grpc.NewServer(opts...)
	pb.RegisterKVServer(s, fake.Start(t))
	go s.Serve(lis)
	t.Cleanup(s.Stop)
	return lis
}

func TestTLSByScheme(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	lis := serve(t, "tcp", "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(
		&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})))

	for _, ep := range []string{"https://" + lis.Addr().String(), lis.Addr().String()} {
		c, err := client.New(client.Config{Endpoints: []string{ep}, TLS: &tls.Config{RootCAs: pool}})
		require.NoError(t, err)
		_, err = c.Get(timeout(t), "a")
		require.NoError(t, err, "the name in the certificate is checked against the endpoint")
		c.Close()
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	serve(t, "unix", path)
	c, err := client.NewFromURL("unix://" + path)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Get(timeout(t), "a")
	require.NoError(t, err)
}
