package engine

// Space is one of the separate key spaces of an engine. Its number is the
// first byte of each key on disk, so the numbers never change meaning.
type Space uint8

// The spaces. All but Tree are buckets of an etcd database file.
const (
	Key            Space = 1
	Meta           Space = 2
	Lease          Space = 3
	Alarm          Space = 4
	Cluster        Space = 5
	Members        Space = 6
	MembersRemoved Space = 7
	Auth           Space = 8
	AuthUsers      Space = 9
	AuthRoles      Space = 10
	Tree           Space = 11
)

// Spaces lists every space in ascending order.
var Spaces = []Space{
	Key, Meta, Lease, Alarm, Cluster, Members, MembersRemoved, Auth, AuthUsers, AuthRoles, Tree,
}

var buckets = [...]string{
	Key:            "key",
	Meta:           "meta",
	Lease:          "lease",
	Alarm:          "alarm",
	Cluster:        "cluster",
	Members:        "members",
	MembersRemoved: "members_removed",
	Auth:           "auth",
	AuthUsers:      "authUsers",
	AuthRoles:      "authRoles",
	Tree:           "tree",
}

// Valid reports whether s is one of Spaces.
func (s Space) Valid() bool { return s >= Key && s <= Tree }

// Bucket is the name of the space in a database file, and "" for a space that
// is not valid.
func (s Space) Bucket() string {
	if !s.Valid() {
		return ""
	}
	return buckets[s]
}

// String is the bucket name.
func (s Space) String() string {
	if !s.Valid() {
		return "invalid space"
	}
	return buckets[s]
}
