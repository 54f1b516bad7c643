package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
)

// The numbers are on disk, the names in files that others read.
func TestSpacesKeepTheirNumbersAndNames(t *testing.T) {
	want := []string{"", "key", "meta", "lease", "alarm", "cluster", "members", "members_removed", "auth", "authUsers", "authRoles", "tree", ""}
	for i, name := range want {
		s := engine.Space(i)
		require.Equal(t, name, s.Bucket())
		require.Equal(t, name != "", s.Valid())
		require.NotEmpty(t, s.String())
	}
	require.Len(t, engine.Spaces, len(want)-2)
	for i, s := range engine.Spaces {
		require.EqualValues(t, i+1, s)
	}
}
