package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		order int
	}{
		{"3.7.0", "3.7.0", 0}, {"3.7.3", "3.7.0", 1}, {"3.6.9", "3.7.0", -1}, {"3.10.0", "3.9.9", 1}, {"4.0.0", "3.99.99", 1},
		{"3.8.0-rc.1", "3.8.0", 0}, {"3.7.0+x", "3.7.1", -1}, {"", "3.0.0", -1}, {"3.0.0", "", 1}, {"x", "", 0}, {"3.7", "3.0.0", -1}, {"3.-7.0", "3.0.0", -1},
	} {
		require.Equal(t, c.order, CompareVersions(c.a, c.b), "%s %s", c.a, c.b)
	}
	require.Equal(t, "3.7.0", MinorVersion("3.7.3"))
	require.Equal(t, "3.7.0", MinorVersion("3.7.3-rc.0"))
	require.Empty(t, MinorVersion("3.7"))
	require.Empty(t, MinorVersion("not a version"))
}
