package tlsfiles

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/certs"
)

func TestFilesThatAreNotThere(t *testing.T) {
	no := filepath.Join(t.TempDir(), "no")
	for _, c := range []struct {
		Files
		want string
	}{
		{Files{Cert: no}, "KeyFile and CertFile must both be present[key: , cert: " + no + "]"},
		{Files{Cert: no, Key: no}, "open " + no + ": no such file or directory"},
		{Files{CA: no}, "open " + no + ": no such file or directory"},
	} {
		_, err := c.Config()
		require.EqualError(t, err, c.want)
	}
	require.NoError(t, os.WriteFile(no, []byte("nothing"), 0o600))
	_, err := Files{CA: no}.Config()
	require.EqualError(t, err, "no certificate found in "+no)
	c, err := Files{}.Config()
	require.NoError(t, err)
	require.Nil(t, c.RootCAs, "the system's are used")
}

// A file that is cut short, as one is while it is being written, is not taken for all that it is to hold.
func TestFilesThatAreCutShort(t *testing.T) {
	ca, other := certs.NewCA(t, "ca"), certs.NewCA(t, "other")
	name := filepath.Join(t.TempDir(), "file")
	list := name + "-list"
	both := func(a, b string) []byte {
		first, err := os.ReadFile(a)
		require.NoError(t, err)
		second, err := os.ReadFile(b)
		require.NoError(t, err)
		return append(first, second...)
	}
	write := func(b []byte) { require.NoError(t, os.WriteFile(name, b, 0o600)) }
	ca.Revoke(t, list, ca.Issue(t, "a", nil))
	other.Revoke(t, list+"2", other.Issue(t, "b", nil))
	for _, c := range []struct {
		whole []byte
		kind  string
		read  func() error
	}{
		{both(list, list+"2"), "X509 CRL", func() error { _, err := readCRL(name); return err }},
		{both(ca.File, other.File), "CERTIFICATE", func() error { _, err := (Files{CA: name}).roots(); return err }},
	} {
		write(append([]byte("# -----BEGIN "+c.kind+"-----\n"), c.whole...))
		require.NoError(t, c.read())
		write(c.whole[:len(c.whole)-40])
		require.EqualError(t, c.read(), name+": 2 blocks of "+c.kind+" begin, and 1 of them are whole")
	}
	revoked := func() int {
		write(both(list, list+"2"))
		m, err := readCRL(name)
		require.NoError(t, err)
		return len(m)
	}
	require.Equal(t, 2, revoked())
	write([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	_, err := Files{CA: name}.roots()
	require.ErrorContains(t, err, name+": x509: ")
}
