package official

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func (p *process) get(path string) (int, string) {
	p.t.Helper()
	return fetch(p.t, p.url()+path)
}

func fetch(t testing.TB, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func (p *process) post(path, body string) (int, string) {
	p.t.Helper()
	resp, err := http.Post(p.url()+path, "application/json", strings.NewReader(body))
	require.NoError(p.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(b)
}

// TestHTTP covers, H-01, H-06 and H-08 of v2-http.md, among others: what a member without --enable-v2 serves, on one
// port with gRPC and on that of metrics.
func TestHTTP(t *testing.T) {
	t.Parallel()
	scrape := freeAddr(t)
	p := start(t, "--listen-metrics-urls", "http://"+scrape, "--enable-pprof", "--enable-v2=false")
	c := p.client()
	fill(t, c, 1)
	for path, want := range map[string]string{
		"/health": `{"health":"true","reason":""}`, "/livez": "ok\n", "/readyz": "ok\n",
		"/version": `"etcdcluster":"3.7.0"`, "/debug/vars": `"raft.status"`, "/debug/pprof/cmdline": "--data-dir",
	} {
		code, body := p.get(path)
		require.Equal(t, 200, code, path)
		require.Contains(t, body, want, path)
	}
	for _, path := range []string{"/health", "/livez", "/readyz", "/metrics"} {
		code, _ := fetch(t, "http://"+scrape+path)
		require.Equal(t, 200, code, path)
	}
	for _, path := range []string{"/version", "/v3/kv/range", "/debug/vars", "/"} {
		code, _ := fetch(t, "http://"+scrape+path)
		require.Equal(t, 404, code, path)
	}

	for _, path := range []string{"/v2/keys", "/v2/members", "/v2/machines", "/v2/stats/self", "/v2/auth/enable"} {
		code, _ := p.get(path)
		require.Equal(t, 404, code, path)
	}
	code, body := p.post("/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`)
	require.Equal(t, 200, code)
	require.Contains(t, body, `"revision":"3"`)
	_, body = p.post("/v3beta/kv/range", `{"key":"Zm9v"}`)
	require.Contains(t, body, `"value":"YmFy"`)
	code, body = p.post("/v3/kv/put", `{}`)
	require.Equal(t, 400, code)
	require.JSONEq(t, `{"error":"etcdserver: key is not provided","code":3,"message":"etcdserver: key is not provided"}`, body)
	_, body = p.post("/v3/kv/txn", `{"compare":[{"key":"Zm9v","target":"VERSION","version":"1"}],
		"success":[{"request_put":{"key":"Zm9v","value":"YmF6"}},{"requestRange":{"key":"Zm9v"}}]}`)
	require.Contains(t, body, `"succeeded":true`)
	require.Contains(t, body, `"value":"YmF6"`)
	_, body = p.post("/v3/maintenance/snapshot", ``)
	lines := strings.Split(strings.TrimSpace(body), "\n")
	require.Greater(t, len(lines), 1)
	require.NotContains(t, lines[len(lines)-1], "remaining_bytes")

	resp, err := http.Post(p.url()+"/v3/watch", "", strings.NewReader(`{"create_request":{"key":"Zm9v","start_revision":"3"}}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	r := bufio.NewScanner(resp.Body)
	require.True(t, r.Scan())
	require.Contains(t, r.Text(), `"created":true`)
	require.NotContains(t, r.Text(), "watch_id")
	require.True(t, r.Scan())
	require.Contains(t, r.Text(), `"value":"YmFy"`)
	_, err = c.Delete(within(t, patience), "foo")
	require.NoError(t, err)
	for !strings.Contains(r.Text(), `"type":"DELETE"`) {
		require.True(t, r.Scan(), "the watch ends early")
	}
	p.stop() // although the watch is open
}

// Every metric that etcd's alerts and dashboards of one member ask for is there from the start.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p := start(t, "--metrics", "extensive")
	c, ctx := p.client(), within(t, patience)
	fill(t, c, 1)
	_, err := c.Get(ctx, "k")
	require.NoError(t, err)
	_, err = c.Txn(ctx).Then(clientv3.OpGet("k")).Commit()
	require.NoError(t, err)
	_, body := p.get("/metrics")
	have := map[string]bool{}
	for _, line := range strings.Split(body, "\n") {
		if name, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
			name, _, _ = strings.Cut(name, "{")
			have[strings.TrimSuffix(name, "_bucket")] = true
		}
	}
	for _, name := range []string{
		"etcd_server_has_leader", "etcd_server_is_leader", "etcd_server_is_learner", "etcd_server_leader_changes_seen_total",
		"etcd_server_proposals_committed_total", "etcd_server_proposals_applied_total", "etcd_server_proposals_pending",
		"etcd_server_proposals_failed_total", "etcd_server_quota_backend_bytes", "etcd_server_health_success",
		"etcd_server_health_failures", "etcd_server_version", "etcd_server_id", "etcd_cluster_version",
		"etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds",
		"etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes",
		"grpc_server_started_total", "grpc_server_handled_total", "process_resident_memory_bytes",
		"etcd_disk_wal_write_duration_seconds", "etcd_network_known_peers", "grpc_server_handling_seconds",
		"process_cpu_seconds_total", "process_start_time_seconds", "go_goroutines", "os_fd_used", "os_fd_limit",
	} {
		require.True(t, have[name], name)
	}
	for _, line := range []string{`etcd_server_request_duration_seconds_count{success="true",type="ReadonlyTxn"} 1`,
		`etcd_server_request_duration_seconds_count{success="true",type="Range"} 1`, `etcd_server_range_duration_seconds_count{success="true"} 1`,
		`grpc_server_handling_seconds_count{grpc_method="Txn",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`} {
		require.True(t, contains(body, line), line)
	}
	require.Contains(t, body, fmt.Sprintf("grpc_server_handled_total{grpc_code=%q,grpc_method=%q,grpc_service=%q,grpc_type=%q} 0", "Unavailable", "Watch", "etcdserverpb.Watch", "bidi_stream"))
}

// contains reports whether one line of a page is the given one.
func contains(page, line string) bool { return strings.Contains("\n"+page, "\n"+line+"\n") }
