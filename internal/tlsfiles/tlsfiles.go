// Package tlsfiles makes TLS configurations from the files that users name: of a client for as long as a command takes, and
// of a server whose files change while it runs.
//
// It must never know what is sent over the connections.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Files names PEM files, "" for none.
type Files struct{ Cert, Key, CA string }

// Config reads the files. The client pair is read again at every handshake, so that it can be renewed under a running
// command; the CA bundle is read once.
func (f Files) Config() (*tls.Config, error) {
	pair, err := f.pair()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if pair != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := f.pair()
			if err != nil {
				return nil, err
			}
			return &pair[0], nil
		}
	}
	c.RootCAs, err = f.roots()
	return c, err
}

// pair is the certificate with its key, if there is one.
func (f Files) pair() ([]tls.Certificate, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]", f.Key, f.Cert)
	}
	if f.Cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	return []tls.Certificate{pair}, nil
}

// roots are the CAs of the bundle, nil if there is none. All of them are taken, or none.
func (f Files) roots() (*x509.CertPool, error) {
	if f.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	certs, err := blocks(b, "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.CA, err)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no certificate found in %s", f.CA)
	}
	pool := x509.NewCertPool()
	for _, der := range certs {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.CA, err)
		}
		pool.AddCert(cert)
	}
	return pool, nil
}
