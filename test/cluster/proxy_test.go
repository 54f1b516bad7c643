package cluster

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// v2 sends a request of the v2 API and returns status and body.
func v2(t testing.TB, method, u, form string) (int, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(within(t, patience), method, u, strings.NewReader(form))
	require.NoError(t, err)
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// TestDiscoveryURL covers D-01 to D-10, D-20, D-32, X-01 to and C-06 with processes: members find one another through
// a directory of another cluster, and one too many becomes their proxy.
func TestDiscoveryURL(t *testing.T) {
	t.Parallel()
	registry := process.NewMember(t, "registry", "--enable-v2")
	registry.Start()
	token := registry.URL() + "/v2/keys/_etcd/registry/" + url.PathEscape(t.Name())
	status, body := v2(t, http.MethodPut, token+"/_config/size", "value=3")
	require.Equal(t, http.StatusCreated, status, body)
	g := &process.Group{T: t}
	for _, name := range []string{"a", "b", "c"} {
		g.Members = append(g.Members, process.NewMember(t, name, "--enable-v2", "--discovery", token))
	}
	for _, m := range g.Members {
		m.Launch()
	}
	for _, m := range g.Members {
		m.Await()
	}
	g.Agree()

	exits := process.NewMember(t, "d", "--discovery", token, "--discovery-fallback", "exit")
	exits.Launch()
	exits.AwaitEnd()
	require.Equal(t, 1, exits.Cmd.ProcessState.ExitCode())
	require.Contains(t, exits.Out.String(), "discovery: cluster is full")

	proxy := process.NewMember(t, "e", "--discovery", token, "--proxy-refresh-interval", "300")
	proxy.Start()
	require.NoDirExists(t, filepath.Join(proxy.Dir, "member"))
	b, err := os.ReadFile(filepath.Join(proxy.Dir, "proxy", "cluster"))
	require.NoError(t, err)
	var kept struct{ PeerURLs []string }
	require.NoError(t, json.Unmarshal(b, &kept))
	require.ElementsMatch(t, []string{g.Members[0].PeerURL(), g.Members[1].PeerURL(), g.Members[2].PeerURL()}, kept.PeerURLs)

	// It is restarted without the options that had led to the members, and the registry is gone.
	proxy.Stop()
	registry.Kill()
	proxy.Start()
	status, body = v2(t, http.MethodPut, proxy.URL()+"/v2/keys/k", "value=v")
	require.Equal(t, http.StatusCreated, status, body)
	for _, m := range g.Members {
		m.Kill()
		status, body = v2(t, http.MethodGet, proxy.URL()+"/v2/keys/k", "")
		require.Equal(t, http.StatusOK, status, body)
		require.Contains(t, body, `"value":"v"`)
		m.Start()
	}

	// C-06: pages may call a proxy as they may call a member.
	resp, err := http.Get(proxy.URL() + "/v2/keys/k")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "*", resp.Header.Get("Access-Control-Allow-Origin"))
	// D-32: members that have begun do not ask again, and say so.
	require.Contains(t, g.Members[0].Out.String(), "discovery options are passed over")

	// A directory of both kinds is refused; so is a proxy that knows nobody.
	require.NoError(t, os.Mkdir(filepath.Join(proxy.Dir, "member"), 0o700))
	proxy.Stop()
	proxy.Launch()
	proxy.AwaitEnd()
	require.Contains(t, proxy.Out.String(), "both member and proxy directories exist")
	lost := process.NewMember(t, "f", "--proxy", "on")
	lost.Launch()
	lost.AwaitEnd()
	require.Contains(t, lost.Out.String(), "a proxy has to know peer URLs")
}
