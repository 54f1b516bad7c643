package ctl

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tlsFiles names the PEM files of a TLS configuration, "" for none.
type tlsFiles struct{ cert, key, ca string }

// config reads the files. Without any it is nil, unless TLS is asked for without
// them. The client pair is read again at every handshake, so that it can be
// renewed under a running command; the CA bundle is read once.
func (f tlsFiles) config(insecureTransport, skipVerify bool) (*tls.Config, error) {
	if (f.cert == "") != (f.key == "") {
		return nil, fmt.Errorf("KeyFile and CertFile must both be present[key: %v, cert: %v]", f.key, f.cert)
	}
	if f == (tlsFiles{}) && insecureTransport && !skipVerify {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: skipVerify}
	if f.cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(f.cert, f.key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate found in %s", f.ca)
		}
	}
	return c, nil
}

// checkEmptyFiles refuses TLS flags that were given an empty value.
func (a *app) checkEmptyFiles() error {
	for _, name := range []string{"cert", "key", "cacert"} {
		if fl := a.root.PersistentFlags().Lookup(name); fl.Changed && fl.Value.String() == "" {
			return badArgs("empty string is passed to --%s option", name)
		}
	}
	return nil
}
