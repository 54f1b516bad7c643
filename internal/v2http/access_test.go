package v2http

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// C-07: names of hosts.
func TestHostWhitelist(t *testing.T) {
	for _, c := range []struct {
		list []string
		host string
		code int
	}{
		{nil, "evil.example", 200},
		{[]string{"*"}, "evil.example", 200},
		{[]string{"good.example"}, "good.example", 200},
		{[]string{"good.example"}, "GOOD.example:2379", 200},
		{[]string{"good.example"}, "evil.example:2379", 421},
		{[]string{"good.example"}, "good.example.evil", 421},
		{[]string{"::1"}, "[::1]:2379", 200},
		{[]string{"::1"}, "[::1]", 200},
		{[]string{"a", "b"}, "b", 200},
	} {
		s := newSite(t, newMember(t), func(cfg *Config) { cfg.HostWhitelist = c.list })
		r := httptest.NewRequest("GET", "/version", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		require.Equal(t, c.code, w.Code, "%v %s", c.list, c.host)
		if c.code == 421 {
			require.Contains(t, w.Body.String(), "CVE-2018-5702")
			require.Contains(t, w.Body.String(), "--host-whitelist")
		}
	}
}

// C-01 C-02 C-03 C-04: whose pages may call. What is not on the list is served, too, without the headers.
func TestCORS(t *testing.T) {
	for _, c := range []struct {
		list          []string
		origin, allow string
		trusted       bool
	}{
		{nil, "", "*", true},
		{[]string{"*"}, "http://a", "*", true},
		{[]string{"http://a"}, "http://a", "http://a", true},
		{[]string{"http://a"}, "http://b", "", false},
		{[]string{"http://a"}, "http://server", "", true}, // the page that the server itself gave
		{[]string{"http://a"}, "", "", true},
	} {
		s := newSite(t, newMember(t), func(cfg *Config) { cfg.CORS = c.list })
		w := s.do("GET", "http://server/version", "Origin", c.origin)
		require.Equal(t, 200, w.Code)
		require.Equal(t, c.allow, w.Header().Get("Access-Control-Allow-Origin"), "%v %s", c.list, c.origin)
		if c.allow != "" {
			require.Equal(t, "POST, GET, OPTIONS, PUT, DELETE", w.Header().Get("Access-Control-Allow-Methods"))
			require.Equal(t, "accept, content-type, authorization", w.Header().Get("Access-Control-Allow-Headers"))
		}
		r := httptest.NewRequest("GET", "http://server/v3/watch", nil)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		require.Equal(t, c.trusted, s.api.Trusted(r), "%v %s", c.list, c.origin)
	}
}

func TestPathsAndMethods(t *testing.T) {
	s := newSite(t, newMember(t), nil)
	for _, c := range []struct {
		method, target string
		code           int
		body           string
	}{
		{"POST", "/v3beta/kv/put", 200, "v3:/v3/kv/put"},
		{"POST", "/v3/kv/put", 200, "v3:/v3/kv/put"},
		{"POST", "/v3alpha/kv/put", 404, "404 page not found\n"},
		{"GET", "/", 404, "404 page not found\n"},
		{"OPTIONS", "/v3/kv/put", 200, ""},
		{"OPTIONS", "/nowhere", 200, ""},
		{"POST", "/health", 405, "Method Not Allowed\n"},
		{"HEAD", "/readyz", 405, "Method Not Allowed\n"},
		{"HEAD", "/health", 405, "Method Not Allowed\n"}, // H-04
		{"PUT", "/version", 405, "Method Not Allowed\n"},
		{"GET", "/debug/pprof/cmdline", 404, "404 page not found\n"},
		{"GET", "/debug/requests", 404, "404 page not found\n"},
	} {
		w := s.do(c.method, c.target)
		require.Equal(t, c.code, w.Code, c.target)
		require.Equal(t, c.body, w.Body.String(), c.target)
		if c.code == 405 {
			require.Equal(t, "GET", w.Header().Get("Allow"))
		}
	}
}

// H-01: the version begins with a digit, a dot and a digit.
func TestVersion(t *testing.T) {
	m := newMember(t)
	s := newSite(t, m, nil)
	require.Equal(t, `{"etcdserver":"3.7.3","etcdcluster":"not_decided","storage":"3.7.0"}`, s.do("GET", "/version").Body.String())
	m.agree("3.7.0")
	w := s.do("GET", "/version")
	require.Equal(t, `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
}

func TestDebug(t *testing.T) {
	s := newSite(t, newMember(t), func(c *Config) { c.Pprof, c.Traces = true, true })
	require.Equal(t, 200, s.do("GET", "/debug/pprof/cmdline").Code)
	require.Equal(t, 200, s.do("GET", "/debug/pprof/goroutine").Code)
	require.Equal(t, 200, s.do("GET", "/debug/requests").Code)
	require.Equal(t, 200, s.do("GET", "/debug/events").Code)
	var vars struct {
		Cmdline  []string
		Memstats map[string]any
		Limit    int64 `json:"file_descriptor_limit"`
		Raft     struct {
			ID, Lead, RaftState string
			Commit, Applied     uint64
		} `json:"raft.status"`
	}
	require.NoError(t, json.Unmarshal(s.do("GET", "/debug/vars").Body.Bytes(), &vars))
	require.NotEmpty(t, vars.Cmdline)
	require.NotEmpty(t, vars.Memstats)
	require.Positive(t, vars.Limit)
	require.Equal(t, "a1", vars.Raft.ID)
	require.Equal(t, "StateLeader", vars.Raft.RaftState)
	require.EqualValues(t, 1, vars.Raft.Applied)
}

func TestMetricsPage(t *testing.T) {
	s := newSite(t, newMember(t), nil)
	// OpenMetrics would rename etcd_server_health_success.
	w := s.do("GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Header().Get("Content-Type"), "text/plain; version=0.0.4")
	require.Contains(t, w.Body.String(), "\netcd_server_health_success 0\n")
	require.Contains(t, w.Body.String(), "\nos_fd_used ")
	require.Contains(t, w.Body.String(), "\npromhttp_metric_handler_requests_total{code=\"200\"} ")
}
