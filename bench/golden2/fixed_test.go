package golden2

import (
	"regexp"
	"strings"
	"testing"
)

// TestLargeRequests compares what is near the limits of a request.
func TestLargeRequests(t *testing.T) {
	t.Parallel()
	r := newRun(1, start(t, "--max-request-bytes", "20971520"))
	if err := r.awaitIndex(3); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1 << 20, 2 << 20, 10<<20 - 6, 10<<20 - 5, 11 << 20} {
		q := &request{method: "PUT", target: "/v2/keys/large", path: "/large", head: []string{formType}, body: "value=" + strings.Repeat("x", n)}
		if _, err := r.ask(q); err != nil {
			t.Fatal(cut(err.Error()), r.wrong)
		}
	}
	long := "/" + strings.Repeat("d/", 500) + "x"
	for _, q := range []*request{
		{method: "PUT", target: "/v2/keys" + long, path: long},
		{method: "GET", target: "/v2/keys/d?recursive=true&sorted=true", path: "/d"},
		{method: "PUT", target: "/v2/keys/" + strings.Repeat("n", 200_000), path: "/n"},
		{method: "DELETE", target: "/v2/keys/large", path: "/large"},
	} {
		if _, err := r.ask(q); err != nil {
			t.Fatal(cut(err.Error()), r.wrong)
		}
	}
}

// TestQuorumIsLost adds a member that nobody has started. From then on nothing can be written, and both say so in the same words.
func TestQuorumIsLost(t *testing.T) {
	t.Parallel()
	r := newRun(1, start(t, "--heartbeat-interval", "10", "--election-timeout", "100"))
	if err := r.awaitIndex(3); err != nil {
		t.Fatal(err)
	}
	r.hide = regexp.MustCompile(`"id":"[0-9a-f]+"`) // that of a new member depends on the time
	add := &request{method: "POST", target: "/v2/members", head: []string{jsonType}, body: `{"peerURLs":["http://127.0.0.1:1"]}`}
	for _, q := range []*request{
		{method: "PUT", target: "/v2/keys/a?value=1", path: "/a"},
		add,
		{method: "GET", target: "/v2/machines"},
		{method: "GET", target: "/v2/keys/a", path: "/a"},
		{method: "PUT", target: "/v2/keys/b?value=1", path: "/b"},
		{method: "GET", target: "/v2/keys/b", path: "/b"},
	} {
		if _, err := r.ask(q); err != nil {
			t.Fatal(err, r.wrong)
		}
	}
}
