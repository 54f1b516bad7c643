package tlsfiles

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/certs"
)

// FuzzFiles reads any bytes as each of the files that users name. A list of revoked certificates, or a bundle of CAs, is
// taken with all that is in it or not at all.
func FuzzFiles(f *testing.F) {
	dir := f.TempDir()
	ca := certs.NewCA(f, "ca")
	pair := ca.Issue(f, "a", []string{"localhost"})
	list := filepath.Join(dir, "list")
	ca.Revoke(f, list, pair)
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		return b
	}
	one := read(list)
	block, _ := pem.Decode(one)
	two := append(bytes.Clone(one), one...)
	for _, b := range [][]byte{one, block.Bytes, two, two[:len(two)-40], two[:len(one)+3], append([]byte("text\n"), one...), read(ca.File), read(pair.Cert),
		append(read(pair.Cert), read(pair.Key)...), append(read(ca.File), read(ca.File)[:200]...), {}, []byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n")} {
		f.Add(b)
	}
	name := filepath.Join(dir, "file")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(name, b, 0o600))
		began := func(kind string) int {
			return bytes.Count(append([]byte("\n"), b...), []byte("\n-----BEGIN "+kind+"-----"))
		}
		if revoked, err := readCRL(name); err == nil {
			want := map[string]bool{}
			lists := 0
			for rest := b; ; lists++ {
				block, next := pem.Decode(rest)
				if block == nil {
					break
				}
				rest = next
				if block.Type != "X509 CRL" {
					lists--
					continue
				}
				l, err := x509.ParseRevocationList(block.Bytes)
				require.NoError(t, err)
				for _, e := range l.RevokedCertificateEntries {
					want[e.SerialNumber.String()] = true
				}
			}
			if lists > 0 || began("X509 CRL") > 0 {
				require.Equal(t, want, revoked)
				require.GreaterOrEqual(t, lists, began("X509 CRL"), "a list that was passed over")
			}
		}
		if roots, err := (Files{CA: name}).roots(); err == nil {
			all := x509.NewCertPool()
			found := 0
			for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
				if block.Type == "CERTIFICATE" {
					found++
					cert, err := x509.ParseCertificate(block.Bytes)
					require.NoError(t, err)
					all.AddCert(cert)
				}
			}
			require.Positive(t, found)
			require.True(t, roots.Equal(all))
			require.GreaterOrEqual(t, found, began("CERTIFICATE"), "a CA that was passed over")
		}
		_, _ = Files{Cert: name, Key: name}.Config()
		_, _ = Files{CA: name}.Config()
	})
}
