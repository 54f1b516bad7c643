package tlsfiles

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
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
