package ctl

import (
	"crypto/tls"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
)

// tlsFiles names the PEM files of a TLS configuration, "" for none.
type tlsFiles struct{ cert, key, ca string }

// config reads the files. Without any it is nil, unless TLS is asked for without them.
func (f tlsFiles) config(insecureTransport, skipVerify bool) (*tls.Config, error) {
	if f == (tlsFiles{}) && insecureTransport && !skipVerify {
		return nil, nil
	}
	c, err := tlsfiles.Files{Cert: f.cert, Key: f.key, CA: f.ca}.Config()
	if err != nil {
		return nil, err
	}
	c.InsecureSkipVerify = skipVerify
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
