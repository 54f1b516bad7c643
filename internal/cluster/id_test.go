package cluster

import (
	"crypto/sha1"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// M-15: an ID is the beginning of a hash of the URLs in order, the token, and the time of one that is added later.
func TestMemberIDs(t *testing.T) {
	of := func(text string) ID {
		sum := sha1.Sum([]byte(text))
		return ID(binary.BigEndian.Uint64(sum[:]))
	}
	require.Equal(t, of("http://a:1http://b:1tok"), MemberID([]string{"http://b:1", "http://a:1"}, "tok", 0))
	require.Equal(t, of("http://a:11700000000"), MemberID([]string{"http://a:1"}, "", 1700000000))
	require.Equal(t, "8e9e05c52164694d", MemberID([]string{"http://localhost:2380"}, "etcd-cluster", 0).String(), "as etcd's default member")
}
