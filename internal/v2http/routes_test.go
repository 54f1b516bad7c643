package v2http

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

// conf applies a change of the members.
func (k *keeper) conf(typ raftpb.ConfChangeType, id uint64, context string) {
	cc, err := proto.Marshal(&raftpb.ConfChange{Type: typ.Enum(), NodeId: &id, Context: []byte(context)})
	require.NoError(k.t, err)
	k.apply(&raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Data: cc})
	k.mu.Lock()
	k.view = k.machine.View()
	k.mu.Unlock()
}

func TestMemberRules(t *testing.T) {
	s := newV2Site(t)
	s.b.conf(raftpb.ConfChangeAddNode, 0x2b, `{"id":43,"peerURLs":["http://127.0.0.1:2"],"name":"b","clientURLs":["http://b:2379"]}`)
	s.b.conf(raftpb.ConfChangeAddNode, 0x3c, `{"id":60,"peerURLs":["http://127.0.0.1:3"],"name":"c","clientURLs":["http://a:2379","http://c:2379"]}`)
	s.b.conf(raftpb.ConfChangeRemoveNode, 0x3c, "")
	s.b.conf(raftpb.ConfChangeAddNode, 0x4d, `{"id":77,"peerURLs":["http://127.0.0.1:4"],"name":"d","clientURLs":["http://a:2379","http://d:2379"]}`)
	two := `{"id":"2b","name":"b","peerURLs":["http://127.0.0.1:2"],"clientURLs":["http://b:2379"]}`
	all := `{"members":[` + two + `,{"id":"4d","name":"d","peerURLs":["http://127.0.0.1:4"],"clientURLs":["http://a:2379","http://d:2379"]},` +
		`{"id":"a1","name":"","peerURLs":["http://127.0.0.1:1"],"clientURLs":[]}]}` + "\n"
	const some = `{"peerURLs":["http://10.0.0.9:2380"]}`
	for _, c := range []struct {
		rule                     string
		err                      error
		method, path, kind, body string
		status                   int
		want                     string
	}{
		{"M-01", nil, "GET", "", "", "", 200, all},
		{"M-01", nil, "GET", "/", "", "", 200, all},
		{"M-02", nil, "GET", "/leader", "", "", 200, `{"id":"a1","name":"","peerURLs":["http://127.0.0.1:1"],"clientURLs":[]}` + "\n"},
		{"M-03", nil, "GET", "/2b", "", "", 404, `{"message":"Not found"}`},
		{"M-04", nil, "POST", "", "application/json", some, 201, `{"id":"bee","name":"","peerURLs":["http://10.0.0.9:2380"],"clientURLs":[]}` + "\n"},
		{"M-04", nil, "POST", "/below/it", "application/json", some, 201, ""},
		{"M-05", nil, "POST", "", "application/json; charset=utf-8", some, 201, ""},
		{"M-05", nil, "POST", "", "text/plain", some, 415, `{"message":"Bad Content-Type text/plain, accept application/json"}`},
		{"M-05", nil, "PUT", "/2b", "", some, 415, `{"message":"Bad Content-Type , accept application/json"}`},
		{"M-06", nil, "POST", "", "application/json", `nothing`, 400, ""},
		{"M-06", nil, "POST", "", "application/json", `{}`, 400, `{"message":"no valid URLs given"}`},
		{"M-06", nil, "POST", "", "application/json", `{"peerURLs":["ftp://a:1"]}`, 400, `{"message":"URL scheme must be http, https, unix, or unixs: ftp://a:1"}`},
		{"M-06", nil, "POST", "", "application/json", `{"peerURLs":["http://a"]}`, 400, `{"message":"URL address does not have the form \"host:port\": http://a"}`},
		{"M-06", nil, "POST", "", "application/json", `{"peerURLs":["http://a:1/x"]}`, 400, `{"message":"URL must not contain a path: http://a:1/x"}`},
		{"M-07", wire.ErrPeerURLExist, "POST", "", "application/json", some, 409, `{"message":"membership: peerURL exists"}`},
		{"M-07", wire.ErrMemberExist, "POST", "", "application/json", some, 409, `{"message":"membership: ID exists"}`},
		{"M-08", wire.ErrTimeout, "POST", "", "application/json", some, 500, `{"message":"Internal Server Error"}`},
		{"M-09", nil, "DELETE", "/2b", "", "", 204, ""},
		{"M-10", nil, "DELETE", "/3c", "", "", 410, `{"message":"Member permanently removed: 3c"}`},
		{"M-11", wire.ErrMemberNotFound, "DELETE", "/99", "", "", 404, `{"message":"No such member: 99"}`},
		{"M-11", nil, "DELETE", "/xyz", "", "", 404, `{"message":"No such member: xyz"}`},
		{"M-11", wire.ErrMemberNotFound, "PUT", "/99", "application/json", some, 404, `{"message":"No such member: 99"}`},
		{"M-12", nil, "DELETE", "", "", "", 405, "Method Not Allowed\n"},
		{"M-12", nil, "PUT", "/", "application/json", some, 405, "Method Not Allowed\n"},
		{"M-13", nil, "PUT", "/2b", "application/json", some, 204, ""},
		{"M-13", wire.ErrPeerURLExist, "PUT", "/2b", "application/json", some, 409, `{"message":"membership: peerURL exists"}`},
		{"M-14", wire.ErrMemberNotFound, "DELETE", "/AbC", "", "", 404, `{"message":"No such member: abc"}`},
		{"M-17", nil, "POST", "", "application/json", `{"PEERurls":[" http://z:1 ","http://b:1"]}`, 201, `{"id":"bee","name":"","peerURLs":["http://b:1","http://z:1"],"clientURLs":[]}` + "\n"},
	} {
		s.b.changed = c.err
		w := s.send(c.method, "/v2/members"+c.path, c.kind, c.body)
		require.Equal(t, c.status, w.Code, "%v: %s", c, w.Body)
		if c.want != "" {
			require.Equal(t, c.want, w.Body.String(), "%v", c)
		}
		if c.rule == "M-12" {
			require.Empty(t, w.Header().Get("Allow"))
		}
	}
	require.Equal(t, []string{"http://10.0.0.9:2380", "http://b:1 http://z:1"}, []string{s.b.added[0], s.b.added[len(s.b.added)-1]})

	// M-30 M-31
	w := s.send("GET", "/v2/machines", "", "")
	require.Equal(t, "http://a:2379, http://b:2379, http://d:2379", w.Body.String())
	require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, 200, s.send("HEAD", "/v2/machines", "", "").Code)

	s.b.lead = 0
	w = s.send("GET", "/v2/members/leader", "", "")
	require.Equal(t, 503, w.Code, "M-02")
	require.Equal(t, `{"message":"During election"}`, w.Body.String())
}

func TestStatsRules(t *testing.T) {
	s := newV2Site(t)
	self := func() (fields map[string]any, body string) {
		w := s.send("GET", "/v2/stats/self", "", "")
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &fields), "S-03: %s", w.Body)
		return fields, w.Body.String()
	}
	// S-01 S-02 S-03
	fields, body := self()
	require.True(t, strings.HasPrefix(body, `{"name":"n1","id":"a1","state":"StateLeader","startTime":"2031-05-04T10:20:30.123456789Z","leaderInfo":{"leader":"a1","uptime":"1m`), body)
	require.True(t, strings.HasSuffix(body, `"recvAppendRequestCnt":0,"sendAppendRequestCnt":0}`), "a rate that is not known is left out: %s", body)
	up, err := time.ParseDuration(fields["leaderInfo"].(map[string]any)["uptime"].(string))
	require.NoError(t, err)
	require.InDelta(t, time.Minute, up, float64(10*time.Second))
	s.appends = Appends{Sent: Traffic{6535, 11.1, 824.1}, Received: Traffic{9, 9, 570.6}, Followers: map[cluster.ID]Follower{
		0x2b: {Latency{1, 2, 0.5, 0.25, 8}, Outcome{1, 7}}, 0x99: {}}}
	_, body = self()
	require.True(t, strings.HasSuffix(body, `"recvAppendRequestCnt":9,"recvPkgRate":9,"recvBandwidthRate":570.6,"sendAppendRequestCnt":6535,"sendPkgRate":11.1,"sendBandwidthRate":824.1}`), body)
	s.b.lead = 0x2b
	_, body = self()
	require.Contains(t, body, `"state":"StateFollower"`)
	require.Contains(t, body, `"leader":"2b"`)
	w := s.send("GET", "/v2/stats/leader", "", "")
	require.Equal(t, 403, w.Code)
	require.Equal(t, `{"message":"not current leader"}`, w.Body.String())
	s.b.lead = 0
	_, body = self()
	require.Contains(t, body, `"state":"StateCandidate"`)

	s.b.lead = s.b.id
	require.Equal(t, `{"leader":"a1","followers":{}}`, s.send("GET", "/v2/stats/leader", "", "").Body.String())
	s.b.conf(raftpb.ConfChangeAddNode, 0x2b, `{"id":43,"peerURLs":["http://127.0.0.1:2"]}`)
	require.Equal(t, `{"leader":"a1","followers":{"2b":{"latency":{"current":1,"average":2,"standardDeviation":0.5,"minimum":0.25,"maximum":8},"counts":{"fail":1,"success":7}}}}`,
		s.send("GET", "/v2/stats/leader", "", "").Body.String())
}

// E-10 E-11 E-12 E-13: what goes wrong behind the keys is 500 and 300, in etcd's words.
func TestFailures(t *testing.T) {
	s := newV2Site(t)
	for _, c := range []struct {
		err   error
		cause string
	}{
		{errors.New("some reason"), "some reason"},
		{wire.ErrTimeout, "etcdserver: request timed out"},
		{context.DeadlineExceeded, "etcdserver: request timed out"},
		{wire.ErrTimeoutDueToLeaderFail, "etcdserver: request timed out, possibly due to previous leader failure"},
		{wire.ErrTimeoutDueToConnectionLost, "etcdserver: request timed out, possibly due to connection lost"},
		{wire.ErrStopped, "etcdserver: server stopped"},
		{context.Canceled, "etcdserver: request cancelled"},
	} {
		s.b.fail, s.b.readErr = c.err, c.err
		for _, method := range []string{"PUT", "POST", "DELETE", "GET"} {
			w := s.send(method, "/v2/keys/a?quorum=true", "", "")
			require.Equal(t, 500, w.Code)
			require.Equal(t, `{"errorCode":300,"message":"Raft Internal Error","cause":"`+c.cause+`","index":0}`+"\n", w.Body.String())
			require.Equal(t, "0", w.Header().Get("X-Etcd-Index"))
		}
		require.Equal(t, 200, s.send("GET", "/v2/keys", "", "").Code, "what is here can be read")
	}
}

// K-30: a form may have 10 MiB, and a request what the log takes.
func TestLargeRequests(t *testing.T) {
	s := newV2Site(t)
	w := s.send("PUT", "/v2/keys/a", formType, "value="+strings.Repeat("x", 10<<20))
	require.Equal(t, 400, w.Code)
	require.Equal(t, `{"errorCode":210,"message":"Invalid POST form","cause":"http: POST too large","index":0}`+"\n", w.Body.String())
	require.Equal(t, 201, s.send("PUT", "/v2/keys/a", formType, "value="+strings.Repeat("x", 10<<20-6)).Code)
	require.Equal(t, 201, s.send("PUT", "/v2/keys/"+strings.Repeat("long", 5000), formType, "value=1").Code)
	s.b.fail = wire.ErrRequestTooLarge
	w = s.send("PUT", "/v2/keys/a", "", "")
	require.Equal(t, 400, w.Code)
	require.Contains(t, w.Body.String(), `"errorCode":210,"message":"Invalid POST form","cause":"etcdserver: request is too large"`)
}

// N-01: of many that create the same key one succeeds. N-03: a quorum read asks first whether this member is up to date, and another
// one does not.
func TestConcurrentCreates(t *testing.T) {
	s := newV2Site(t)
	count := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			code := s.send("PUT", "/v2/keys/lock?prevExist=false", "", "").Code
			mu.Lock()
			count[code]++
			mu.Unlock()
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{201: 1, 412: 49}, count)
	require.Zero(t, s.b.reads)
	s.send("GET", "/v2/keys/lock", "", "")
	require.Zero(t, s.b.reads)
	s.send("GET", "/v2/keys/lock?quorum=true", "", "")
	require.Equal(t, 1, s.b.reads)
}

// H-05: the figures of the v2 API.
func TestKeyMetrics(t *testing.T) {
	s := newV2Site(t)
	for _, q := range []string{"PUT /a?value=1", "PUT /a?prevExist=false", "POST /q", "DELETE /none", "GET /a", "GET /a?quorum=true", "GET /?recursive=true", "GET /none",
		"HEAD /a", "GET /a?wait=true&waitIndex=4", "PUT /a?dir=no", "PUT /t?ttl=0"} {
		method, path, _ := strings.Cut(q, " ")
		s.send(method, "/v2/keys"+path, "", "")
	}
	s.tick(time.Second)
	page := s.send("GET", "/metrics", "", "").Body.String()
	for _, line := range []string{
		`etcd_http_received_total{method="PUT"} 3`, `etcd_http_received_total{method="GET"} 3`, `etcd_http_received_total{method="QGET"} 1`,
		`etcd_http_received_total{method="HEAD"} 1`, `etcd_http_received_total{method="POST"} 1`, `etcd_http_received_total{method="DELETE"} 1`,
		`etcd_http_failed_total{code="412",method="PUT"} 1`, `etcd_http_failed_total{code="404",method="GET"} 1`,
		`etcd_http_successful_duration_seconds_count{method="GET"} 2`, `etcd_http_successful_duration_seconds_bucket{method="GET",le="0.0005"}`,
		`etcd_http_successful_duration_seconds_bucket{method="GET",le="2.048"} 2`,
		`etcd_debugging_store_reads_total{action="get"} 3`, `etcd_debugging_store_reads_total{action="getRecursive"} 1`,
		`etcd_debugging_store_reads_failed_total{action="get"} 1`,
		`etcd_debugging_store_writes_total{action="set"} 2`, `etcd_debugging_store_writes_total{action="create"} 1`,
		`etcd_debugging_store_writes_failed_total{action="create"} 1`, `etcd_debugging_store_writes_failed_total{action="delete"} 1`,
		`etcd_debugging_store_expires_total 1`, `etcd_debugging_store_watch_requests_total 1`, `etcd_debugging_store_watchers 0`,
		`etcd_server_health_success 0`, `etcd_server_health_failures 0`,
	} {
		require.Contains(t, page, "\n"+line)
	}
}

// H-06: the form of the page for debugging.
func TestDebugVarsForm(t *testing.T) {
	s := newV2Site(t)
	w := s.send("GET", "/debug/vars", "", "")
	require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	require.Equal(t, "{", lines[0])
	require.Equal(t, "}", lines[len(lines)-1])
	for _, name := range []string{"cmdline", "memstats", "file_descriptor_limit", "raft.status"} {
		n := 0
		for _, l := range lines {
			if strings.HasPrefix(l, `"`+name+`": `) {
				n++
			}
		}
		require.Equal(t, 1, n, name)
	}
}

// H-07: the level of the log. R-12: the route.
func TestLogLevelRules(t *testing.T) {
	s := newV2Site(t)
	for _, c := range []struct {
		method, body string
		status       int
		want         string
		level        slog.Level
	}{
		{"PUT", `{"Level":"DEBUG"}`, 204, "", slog.LevelDebug},
		{"PUT", `{"level":"warning"}`, 204, "", slog.LevelWarn},
		{"PUT", `{"Level":"c"}`, 204, "", slog.LevelError},
		{"PUT", `{"Level":"N"}`, 204, "", slog.LevelInfo},
		{"PUT", `{"Level":"TRACE"}`, 204, "", slog.LevelDebug},
		{"PUT", `{"Level":"Error"}`, 204, "", slog.LevelError},
		{"PUT", `{"Level":"INFO"}`, 204, "", slog.LevelInfo},
		{"PUT", `{"Level":"LOUD"}`, 400, `{"message":"Invalid log level LOUD"}`, slog.LevelInfo},
		{"PUT", `{"Level":""}`, 400, `{"message":"Invalid log level "}`, slog.LevelInfo},
		{"PUT", `loud`, 400, `{"message":"Invalid json body"}`, slog.LevelInfo},
		{"GET", ``, 405, "Method Not Allowed\n", slog.LevelInfo},
	} {
		w := s.send(c.method, "/config/local/log", "", c.body)
		require.Equal(t, c.status, w.Code, c.body)
		require.Equal(t, c.want, w.Body.String(), c.body)
		require.Equal(t, c.level, s.level.Level(), c.body)
		if c.status == http.StatusMethodNotAllowed {
			require.Equal(t, "PUT", w.Header().Get("Allow"))
		}
	}
}
