package cluster

import (
	"encoding/json"
	"fmt"
)

// storeNode is a node of etcd's v2 store in the JSON that it keeps in raft snapshots (operations.md section 13.2).
type storeNode struct {
	Path          string
	CreatedIndex  uint64
	ModifiedIndex uint64
	ExpireTime    string
	Value         string
	Children      map[string]*storeNode
}

const noTime = "0001-01-01T00:00:00Z"

func (n *storeNode) dir(name string) *storeNode {
	if c := n.Children[name]; c != nil {
		return c
	}
	c := &storeNode{Path: n.path(name), ExpireTime: noTime, Children: map[string]*storeNode{}}
	n.Children[name] = c
	return c
}

func (n *storeNode) leaf(name, value string) {
	n.Children[name] = &storeNode{Path: n.path(name), ExpireTime: noTime, Value: value}
}

func (n *storeNode) path(name string) string {
	if n.Path == "/" {
		return n.Path + name
	}
	return n.Path + "/" + name
}

const storeEvents = 1000

// AppendStore appends the members as etcd's v2 store at an index holds them. Members of etcd 3.5 and 3.6 read it from
// every raft snapshot and do not start without.
func (v *View) AppendStore(dst []byte, index uint64) []byte {
	root := &storeNode{Path: "/", ExpireTime: noTime, Children: map[string]*storeNode{}}
	zero := root.dir("0")
	root.dir("1")
	members, removed := zero.dir("members"), zero.dir("removed_members")
	for _, m := range v.members {
		d := members.dir(m.ID.String())
		d.leaf("raftAttributes", text(struct {
			PeerURLs  []string `json:"peerURLs"`
			IsLearner bool     `json:"isLearner,omitempty"`
		}{m.PeerURLs, m.IsLearner}))
		d.leaf("attributes", text(struct {
			Name       string   `json:"name,omitempty"`
			ClientURLs []string `json:"clientURLs,omitempty"`
		}{m.Name, m.ClientURLs}))
	}
	for id := range v.removed {
		removed.leaf(id.String(), "")
	}
	if v.version != "" {
		zero.leaf("version", v.version)
	}
	return append(dst, text(map[string]any{
		"Root": root,
		// The events are a ring that its reader goes on to write into: it has to have all its places.
		"WatcherHub":     map[string]any{"EventHistory": map[string]any{"Queue": map[string]any{"Events": [storeEvents]any{}, "Size": 0, "Front": 0, "Back": 0, "Capacity": storeEvents}, "StartIndex": 0, "LastIndex": 0}},
		"CurrentIndex":   index,
		"Stats":          map[string]int{},
		"CurrentVersion": 2,
	})...)
}

// text is JSON of what cannot fail to have one.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: %v", err))
	}
	return string(b)
}
