package cluster

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStoreHoldsTheMembers(t *testing.T) {
	v := &View{members: []Member{{ID: 0xa, PeerURLs: []string{"http://a:1"}, Name: "a", ClientURLs: []string{"http://a:2"}},
		{ID: 0xb, PeerURLs: []string{"http://b:1"}, IsLearner: true}}, removed: map[ID]bool{0xc: true}, version: "3.6.0"}
	b := v.AppendStore(nil, 77)
	var s struct {
		Root       storeNode
		WatcherHub struct {
			EventHistory struct {
				Queue struct {
					Events   []any
					Capacity int
				}
			}
		}
		CurrentIndex uint64
	}
	require.NoError(t, json.Unmarshal(b, &s))
	require.EqualValues(t, 77, s.CurrentIndex)
	q := s.WatcherHub.EventHistory.Queue
	require.Len(t, q.Events, q.Capacity, "a ring without places is written into at its reader's peril")
	zero := s.Root.Children["0"]
	require.Equal(t, "3.6.0", zero.Children["version"].Value)
	a := zero.Children["members"].Children["a"]
	require.Equal(t, "/0/members/a", a.Path)
	require.Equal(t, `{"peerURLs":["http://a:1"]}`, a.Children["raftAttributes"].Value)
	require.Equal(t, `{"name":"a","clientURLs":["http://a:2"]}`, a.Children["attributes"].Value)
	require.Nil(t, a.Children["attributes"].Children)
	other := zero.Children["members"].Children["b"]
	require.Equal(t, `{}`, other.Children["attributes"].Value)
	require.Equal(t, `{"peerURLs":["http://b:1"],"isLearner":true}`, other.Children["raftAttributes"].Value)
	require.Contains(t, zero.Children["removed_members"].Children, "c")
	require.Empty(t, s.Root.Children["1"].Children)
}
