package tlsfiles

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const year = 365 * 24 * time.Hour

// SelfSigned is a certificate for the hosts that nobody but itself vouches for, in a directory. One that is there already is
// used on, unless it has ended.
func SelfSigned(dir string, hosts []string, years int, now time.Time) (Files, error) {
	if years <= 0 {
		return Files{}, errors.New("selfSignedCertValidity is invalid,it should be greater than 0")
	}
	f := Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	switch {
	case err == nil && now.Before(pair.Leaf.NotAfter):
		return f, nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return Files{}, fmt.Errorf("the certificate in %s cannot be used: %w: remove both files, and a new one is made", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return Files{}, err
	}
	cert := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"etcd"}},
		NotBefore: now, NotAfter: now.Add(time.Duration(years) * year),
		KeyUsage:    x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if bare, _, err := net.SplitHostPort(h); err == nil {
			h = bare
		}
		if ip := net.ParseIP(h); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else if h != "" {
			cert.DNSNames = append(cert.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return Files{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &cert, &cert, &key.PublicKey, key)
	if err != nil {
		return Files{}, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Files{}, err
	}
	// The key comes first: a certificate alone would look as if somebody had lost the key.
	if err := writePEM(f.Key, "EC PRIVATE KEY", private); err != nil {
		return Files{}, err
	}
	return f, writePEM(f.Cert, "CERTIFICATE", der)
}

// writePEM writes a file that is there whole or not at all.
func writePEM(name, kind string, der []byte) error {
	if err := os.WriteFile(name+".tmp", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
