// Package certs makes certificate authorities and certificates for tests, as PEM files. It knows nothing of servers.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var serials atomic.Int64

// CA is an authority.
type CA struct {
	File string // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

// Pair is a certificate with its key.
type Pair struct {
	Cert, Key string // files
	X509      *x509.Certificate
}

// TLS is the pair for a connection.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	require.NoError(t, err)
	return c
}

// NewCA makes an authority in a directory of the test's.
func NewCA(t testing.TB, name string) *CA {
	ca := &CA{dir: t.TempDir()}
	var err error
	ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	require.NoError(t, err)
	ca.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	ca.File = filepath.Join(ca.dir, "ca.pem")
	write(t, ca.File, "CERTIFICATE", der)
	return ca
}

// Pool is the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// Issue makes a certificate with a common name for hosts, which change may change before it is signed.
func (ca *CA) Issue(t testing.TB, name string, hosts []string, change ...func(*x509.Certificate)) Pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serials.Add(1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(12 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	base := filepath.Join(ca.dir, cert.SerialNumber.String())
	p := Pair{Cert: base + ".pem", Key: base + "-key.pem", X509: cert}
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	write(t, p.Cert, "CERTIFICATE", der)
	write(t, p.Key, "EC PRIVATE KEY", private)
	return p
}

// Revoke writes a list of revoked certificates to a file, PEM but for one that ends in .der.
func (ca *CA) Revoke(t testing.TB, file string, revoked ...Pair) {
	list := &x509.RevocationList{Number: big.NewInt(serials.Add(1)), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, p := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: p.X509.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	require.NoError(t, err)
	if strings.HasSuffix(file, ".der") {
		require.NoError(t, os.WriteFile(file+".new", der, 0o600))
		require.NoError(t, os.Rename(file+".new", file))
		return
	}
	write(t, file, "X509 CRL", der)
}

// Copy takes a pair's files to the place of others, one after the other, as those who renew certificates do.
func (p Pair) Copy(t testing.TB, cert, key string) {
	for from, to := range map[string]string{p.Cert: cert, p.Key: key} {
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to+".new", b, 0o600))
		require.NoError(t, os.Rename(to+".new", to))
	}
}

func write(t testing.TB, name, kind string, der []byte) {
	require.NoError(t, os.WriteFile(name+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	require.NoError(t, os.Rename(name+".new", name))
}
