package tlsfiles

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// blocks are the PEM blocks of a kind. One that begins and is not whole is an error: part of a file that is being written must
// not be taken for all of it.
func blocks(b []byte, kind string) (out [][]byte, err error) {
	begun := 0
	for line := range bytes.Lines(b) {
		if bytes.HasPrefix(line, []byte("-----BEGIN "+kind+"-----")) {
			begun++
		}
	}
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type == kind {
			out = append(out, block.Bytes)
		}
	}
	if len(out) < begun {
		return nil, fmt.Errorf("%d blocks of %s begin, and %d of them are whole", begun, kind, len(out))
	}
	return out, nil
}

// readCRL reads the serial numbers of all lists in a file, PEM or DER. As with etcd they count for every CA: whose list it is
// is not looked at.
func readCRL(name string) (map[string]bool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	lists, err := blocks(b, "X509 CRL")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(lists) == 0 {
		lists = [][]byte{b}
	}
	revoked := map[string]bool{}
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("%s is no list of revoked certificates: %w", name, err)
		}
		for _, e := range list.RevokedCertificateEntries {
			revoked[e.SerialNumber.String()] = true
		}
	}
	return revoked, nil
}
