package ctl

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

const (
	m1JSON = `{"ID":10276657743932975437,"name":"m1","peerURLs":["http://localhost:2380"],"clientURLs":["http://localhost:2379"]}`
	m1Hex  = `{"ID":"8e9e05c52164694d","name":"m1","peerURLs":["http://localhost:2380"],"clientURLs":["http://localhost:2379"]}`
	hexTop = `{"header":{"cluster_id":"cdf818194e3a8c32","member_id":"8e9e05c52164694d","raft_term":2},`
)

func withLearner(s *fake.Server) {
	s.SetMembers(
		&pb.Member{ID: fake.MemberID, Name: "m1", PeerURLs: []string{"http://localhost:2380", "http://10.0.0.1:2380"}, ClientURLs: []string{"http://localhost:2379"}},
		&pb.Member{ID: 0x1f, PeerURLs: []string{"http://localhost:3380"}, IsLearner: true},
	)
}

func TestMemberList(t *testing.T) {
	memberFieldHeader := "\"ClusterID\" : 14841639068965178418\n\"MemberID\" : 10276657743932975437\n\"RaftTerm\" : 2\n"
	try(t, []example{
		{args: "member list", want: result{out: "8e9e05c52164694d, started, m1, http://localhost:2380, http://localhost:2379, false\n"}},
		{setup: withLearner, args: "member list --consistency s", want: result{out: "8e9e05c52164694d, started, m1, http://localhost:2380,http://10.0.0.1:2380, http://localhost:2379, false\n1f, unstarted, , http://localhost:3380, , true\n"}},
		{args: "member list -w json", want: result{out: `{"header":` + memberHead + `,"members":[` + m1JSON + "]}\n"}},
		{args: "member list -w json --hex", want: result{out: hexTop + `"members":[` + m1Hex + "]}\n"}},
		{setup: withLearner, args: "member list -w fields", want: result{out: memberFieldHeader +
			"\"ID\" : 10276657743932975437\n\"Name\" : \"m1\"\n\"PeerURL\" : \"http://localhost:2380\"\n\"PeerURL\" : \"http://10.0.0.1:2380\"\n\"ClientURL\" : \"http://localhost:2379\"\n\"IsLearner\" : false\n\n" +
			"\"ID\" : 31\n\"Name\" : \"\"\n\"PeerURL\" : \"http://localhost:3380\"\n\"IsLearner\" : true\n\n"}},
		{args: "member list -w fields --hex", want: result{out: "\"ClusterID\" : cdf818194e3a8c32\n\"MemberID\" : 8e9e05c52164694d\n\"RaftTerm\" : 2\n" +
			"\"ID\" : 8e9e05c52164694d\n\"Name\" : \"m1\"\n\"PeerURL\" : \"http://localhost:2380\"\n\"ClientURL\" : \"http://localhost:2379\"\n\"IsLearner\" : false\n\n"}},
		{args: "member list -w table", want: result{out: `┌──────────────────┬─────────┬──────┬───────────────────────┬───────────────────────┬────────────┐
│        ID        │ STATUS  │ NAME │      PEER ADDRS       │     CLIENT ADDRS      │ IS LEARNER │
├──────────────────┼─────────┼──────┼───────────────────────┼───────────────────────┼────────────┤
│ 8e9e05c52164694d │ started │   m1 │ http://localhost:2380 │ http://localhost:2379 │      false │
└──────────────────┴─────────┴──────┴───────────────────────┴───────────────────────┴────────────┘
`}},
		{args: "member list -w table --table-style ascii", want: result{out: `+------------------+---------+------+-----------------------+-----------------------+------------+
|        ID        | STATUS  | NAME |      PEER ADDRS       |     CLIENT ADDRS      | IS LEARNER |
+------------------+---------+------+-----------------------+-----------------------+------------+
| 8e9e05c52164694d | started |   m1 | http://localhost:2380 | http://localhost:2379 |      false |
+------------------+---------+------+-----------------------+-----------------------+------------+
`}},
		{args: "member list -w table --table-style x", want: result{err: "Error: unknown table style \"x\" (unicode, ascii)\n", code: 128}},
		{args: "member list --consistency x", want: result{err: "Error: unknown consistency flag \"x\"\n", code: 4}},
	})
}

func TestMemberChanges(t *testing.T) {
	env := `
ETCD_NAME="m4"
ETCD_INITIAL_CLUSTER="m1=http://localhost:2380,m4=http://10.0.0.4:2380"
ETCD_INITIAL_ADVERTISE_PEER_URLS="http://10.0.0.4:2380"
ETCD_INITIAL_CLUSTER_STATE="existing"
`
	added := `{"ID":14902412256360816351,"peerURLs":["http://10.0.0.4:2380"]}`
	try(t, []example{
		{args: "member add m4 --peer-urls=http://10.0.0.4:2380", want: result{out: "Member ced000fda4d05edf added to cluster cdf818194e3a8c32\n" + env}},
		{args: "member add m4 --peer-urls=http://10.0.0.4:2380 --learner", want: result{out: "Member ced000fda4d05edf added as learner to cluster cdf818194e3a8c32\n" + env}},
		{args: "member add m4 --peer-urls=http://10.0.0.4:2380 -w json", want: result{out: `{"header":` + memberHead + `,"member":` + added + `,"members":[` + m1JSON + "," + added + "]}\n"}},
		{args: "member add m4 --peer-urls=http://10.0.0.4:2380 -w json --hex --learner", want: result{out: hexTop +
			`"member":{"ID":"ced000fda4d05edf","peerURLs":["http://10.0.0.4:2380"],"isLearner":true},"members":[` + m1Hex + `,{"ID":"ced000fda4d05edf","peerURLs":["http://10.0.0.4:2380"],"isLearner":true}]}` + "\n"}},
		{args: "member add", want: result{err: "Error: member name not provided\n", code: 128}},
		{args: "member add m4", want: result{err: "Error: member peer urls not provided\n", code: 128}},
		{args: "member add m4 HTTP://h:1 x", want: result{err: "Error: too many arguments, did you mean --peer-urls=HTTP://h:1\n", code: 128}},
		{args: "member add m4 --peer-urls=10.0.0.4:2380", want: result{err: "Error: parse \"10.0.0.4:2380\": first path segment in URL cannot contain colon\n", code: 1}},
		{setup: withLearner, args: "member remove 1f", want: result{out: "Member               1f removed from cluster cdf818194e3a8c32\n"}},
		{setup: withLearner, args: "member remove 2f", want: result{err: "Error: etcdserver: member not found\n", code: 1}},
		{args: "member remove", want: result{err: "Error: member ID is not provided\n", code: 128}},
		{args: "member remove x", want: result{err: "Error: bad member ID arg (strconv.ParseUint: parsing \"x\": invalid syntax), expecting ID in Hex\n", code: 128}},
		{args: "member update 8e9e05c52164694d --peer-urls=http://h:1", want: result{out: "Member 8e9e05c52164694d updated in cluster cdf818194e3a8c32\n"}},
		{args: "member update 8e9e05c52164694d --peer-urls=http://h:1 -w json", want: result{out: `{"header":` + memberHead + `,"members":[{"ID":10276657743932975437,"name":"m1","peerURLs":["http://h:1"],"clientURLs":["http://localhost:2379"]}]}` + "\n"}},
		{args: "member update 8e9e05c52164694d", want: result{err: "Error: member peer urls not provided\n", code: 128}},
		{args: "member promote 8e9e05c52164694d", want: result{out: "Member 8e9e05c52164694d promoted in cluster cdf818194e3a8c32\n"}},
		{args: "member promote 8e9e05c52164694d -w json --hex", want: result{out: hexTop + `"members":[` + m1Hex + "]}\n"}},
		{setup: withLearner, args: "member promote 1f", want: result{err: "Error: etcdserver: can only promote a learner member which is in sync with leader\n", code: 1}},
	})
}
