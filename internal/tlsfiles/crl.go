package tlsfiles

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// readCRL reads the serial numbers of all lists in a file, PEM or DER. As with etcd they count for every CA: whose list it is
// is not looked at.
func readCRL(name string) (map[string]bool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var lists [][]byte
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "X509 CRL" {
			lists = append(lists, block.Bytes)
		}
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
