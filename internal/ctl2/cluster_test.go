package ctl2

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const poll = 5 * time.Millisecond

// C-C01 to C-C03.
func TestHealth(t *testing.T) {
	s, other := serve(t), serve(t)
	closed := closedPort(t)
	for _, c := range []struct {
		members string
		health  []answer
		want    result
	}{
		{`{"id":"a","clientURLs":["EP"]}`, []answer{ok(`{"health":"true"}`)},
			result{out: "member a is healthy: got healthy result from EP\ncluster is healthy\n"}},
		{`{"id":"a","clientURLs":["EP"]}`, []answer{ok(`{"health": true}`)},
			result{out: "member a is healthy: got healthy result from EP\ncluster is healthy\n"}},
		{`{"id":"a","clientURLs":["EP"]}`, []answer{{status: 503, body: `{"health":"false","reason":"x"}` + "\n"}},
			result{out: "member a is unhealthy: got unhealthy result from EP\ncluster is unhealthy\n", code: 5}},
		{`{"id":"a","clientURLs":["EP"]},{"id":"b","clientURLs":["EP"]}`, []answer{ok(`{"health":false}`), ok(`{"health":"true"}`)},
			result{out: "member a is unhealthy: got unhealthy result from EP\nmember b is healthy: got healthy result from EP\ncluster is healthy\n"}},
		{`{"id":"a","clientURLs":[]},{"id":"b","clientURLs":["CLOSED","EP"]}`, []answer{ok(`{"health":"true"}`)},
			result{out: "member a is unreachable: no available published client urls\n" +
				"failed to check the health of member b on CLOSED: Get \"CLOSED/health\": dial tcp HOST: connect: connection refused\n" +
				"member b is healthy: got healthy result from EP\ncluster is healthy\n"}},
		{`{"id":"a","clientURLs":["CLOSED","EP"]}`, []answer{ok(`nothing`)},
			result{out: "failed to check the health of member a on CLOSED: Get \"CLOSED/health\": dial tcp HOST: connect: connection refused\n" +
				"failed to check the health of member a on EP: invalid character 'o' in literal null (expecting 'u')\n" +
				"member a is unreachable: [CLOSED EP] are all unreachable\ncluster is unhealthy\n", code: 5}},
		{`{"id":"a","clientURLs":["EP"]}`, []answer{{late: true}},
			result{out: "failed to check the health of member a on EP: Get \"EP/health\": context deadline exceeded\n" +
				"member a is unreachable: [EP] are all unreachable\ncluster is unhealthy\n", code: 5}},
	} {
		urls := replacer("EP", s.URL, "CLOSED", closed, "HOST", closed[len("http://"):])
		s.on("GET /v2/members", ok(urls.Replace(`{"members":[`+c.members+`]}`)))
		s.on("GET /health", c.health...)
		p, out, errs := program(t, s, "", "--total-timeout", "300ms", "cluster-health")
		code := p.Run()
		c.want.out = urls.Replace(c.want.out)
		require.Equal(t, c.want, result{out.String(), errs.String(), code})
	}
	require.Empty(t, other.requests())
}

// C-C05: it goes on, and does not ask for the members again.
func TestHealthForever(t *testing.T) {
	s := serve(t)
	s.on("GET /v2/members", ok(`{"members":[{"id":"a","clientURLs":["`+s.URL+`"]}]}`), answer{status: 500})
	s.on("GET /health", ok(`{"health":"true"}`), ok(`{"health":"false"}`))
	p, out, errs := program(t, s, "", "cluster-health", "-f")
	var pauses []time.Duration
	p.sleep = func(_ context.Context, d time.Duration) error {
		if pauses = append(pauses, d); len(pauses) == 2 {
			return errors.New("interrupted")
		}
		return nil
	}
	require.Equal(t, 0, p.Run(), errs.String())
	require.Equal(t, "member a is healthy: got healthy result from "+s.URL+"\ncluster is healthy\n\nnext check after 10 second...\n\n"+
		"member a is unhealthy: got unhealthy result from "+s.URL+"\ncluster is unhealthy\n\nnext check after 10 second...\n\n", out.String())
	require.Equal(t, []time.Duration{10 * time.Second, 10 * time.Second}, pauses)
}

// C-C10 to C-C13.
func TestMembers(t *testing.T) {
	s := serve(t)
	list := `{"members":[{"id":"272e204152","name":"infra1","peerURLs":["http://10.0.1.11:2380","http://10.0.1.11:2381"],"clientURLs":["EP","EP"]},{"id":"9bf","name":"","peerURLs":["http://10.0.1.13:2380"],"clientURLs":[]}]}`
	list = replacer("EP", s.URL).Replace(list)
	s.on("GET /v2/members", ok(list))
	s.on("GET /v2/members/leader", ok(`{"id":"272e204152"}`))
	s.on("POST /v2/members", answer{status: 201, body: `{"id":"9bf","peerURLs":["http://10.0.1.13:2380"]}`}, answer{status: 409, body: `{"message":"membership: peerURL exists"}`})
	s.on("PUT /v2/members/9bf", answer{status: 204})
	s.on("PUT /v2/members/1", answer{status: 404, body: `{"message":"No such member: 1"}`})
	s.on("DELETE /v2/members/9bf", answer{status: 204}, answer{status: 410, body: `{"message":"Member permanently removed: 9bf"}`}, answer{status: 500, body: `{"message":"Internal Server Error"}`})
	for _, c := range []struct {
		line string
		want result
	}{
		{"member list", result{out: "272e204152: name=infra1 peerURLs=http://10.0.1.11:2380,http://10.0.1.11:2381 clientURLs=EP,EP isLeader=true\n9bf[unstarted]: peerURLs=http://10.0.1.13:2380\n"}},
		{"-o json member list", result{out: "272e204152: name=infra1 peerURLs=http://10.0.1.11:2380,http://10.0.1.11:2381 clientURLs=EP,EP isLeader=true\n9bf[unstarted]: peerURLs=http://10.0.1.13:2380\n"}}, // G-68
		{"member add infra3 http://10.0.1.13:2380", result{out: "Added member named infra3 with ID 9bf to cluster\n\nETCD_NAME=\"infra3\"\n" +
			"ETCD_INITIAL_CLUSTER=\"infra1=http://10.0.1.11:2380,infra1=http://10.0.1.11:2381,infra3=http://10.0.1.13:2380\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n"}},
		{"member add infra3 http://10.0.1.13:2380", result{err: "membership: peerURL exists\n", code: 1}},
		{"member add a b", result{err: "URL scheme must be http, https, unix, or unixs: b\n", code: 1}},
		{"member add a http://b", result{err: "URL address does not have the form \"host:port\": http://b\n", code: 1}},
		{"member add a http://b:1/x", result{err: "URL must not contain a path: http://b:1/x\n", code: 1}},
		{"member update 9bf http://b:1,http://a:1", result{out: "Updated member with ID 9bf in cluster\n"}},
		{"member update 9bf http://b", result{err: "URL address does not have the form \"host:port\": http://b\n", code: 1}},
		{"member update 1 http://b:1", result{err: "No such member: 1\n", code: 1}},
		{"member remove 1", result{err: "Couldn't find a member in the cluster with an ID of 1.\n", code: 1}},
		{"member remove infra1", result{err: "Found a member named infra1; if this is correct, please use its ID, eg:\n\tetcdctl member remove 272e204152\nFor more details, read " + guide + "\n\nCouldn't find a member in the cluster with an ID of infra1.\n", code: 1}},
		{"member remove 9bf", result{out: "Removed member 9bf from cluster\n"}},
		{"member remove 9bf", result{out: "Removed member 9bf from cluster\n"}},
		{"--no-sync member remove 9bf", result{err: "Received an error trying to remove member 9bf: client: etcd cluster is unavailable or misconfigured; error #0: client: etcd member EP has no leader\n", code: 1}},
	} {
		require.Equal(t, c.want, run(t, s, "", words(c.line)...), c.line)
	}
	require.Contains(t, s.requests(), `PUT /v2/members/9bf {"peerURLs":["http://a:1","http://b:1"]}`)
	s.on("GET /v2/members/leader", answer{status: 503, body: `{"message":"During election"}`})
	require.Equal(t, result{err: "Failed to get leader:  client: etcd cluster is unavailable or misconfigured; error #0: client: etcd member EP has no leader\n\n", code: 1}, run(t, s, "", "--no-sync", "member", "list"))
	s.on("GET /v2/members", answer{status: 500})
	require.Equal(t, result{err: "Error while verifying ID against known members: client: etcd cluster is unavailable or misconfigured; error #0: client: etcd member EP has no leader\n\n", code: 1}, run(t, s, "", "member", "remove", "9bf"))
}
