package peerurl

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The texts of M-06.
func TestCheck(t *testing.T) {
	for u, want := range map[string]string{
		"http://a:1":   "",
		" https://a:1": "",
		"unix://a":     "",
		"":             "URL scheme must be http, https, unix, or unixs: ",
		"ftp://b:1":    "URL scheme must be http, https, unix, or unixs: ftp://b:1",
		"http://b":     `URL address does not have the form "host:port": http://b`,
		"http://b:1/x": "URL must not contain a path: http://b:1/x",
		"http://%zz":   `parse "http://%zz": invalid URL escape "%zz"`,
	} {
		if err := Check([]string{u}); want == "" {
			require.NoError(t, err, u)
		} else {
			require.EqualError(t, err, want, u)
		}
	}
	require.EqualError(t, Check(nil), "no valid URLs given")
	got, err := Clean([]string{"http://b:1 ", " http://a:1"})
	require.NoError(t, err)
	require.Equal(t, []string{"http://a:1", "http://b:1"}, got)
}
