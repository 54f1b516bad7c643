package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// v2Index is X-Etcd-Index as a member has it.
func v2Index(t testing.TB, m *process.Member) uint64 {
	t.Helper()
	q, err := http.NewRequestWithContext(within(t, patience), http.MethodGet, m.URL()+"/v2/keys", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(q)
	require.NoError(t, err)
	defer resp.Body.Close()
	n, err := strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	require.NoError(t, err)
	return n
}

// TestV2Cluster covers N-02 to N-05, T-04, T-11, S-02, S-04, M-02, M-07, M-15, V-01, V-03 and R-30 with three processes.
func TestV2Cluster(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--enable-v2")
	keys := func(m *process.Member, path string) string { return m.URL() + "/v2/keys" + path }
	// N-04 N-05: any member takes writes, and shows them at once.
	for i, m := range g.Members {
		for n := range 20 {
			value := fmt.Sprintf("%d-%d", i, n)
			status, body := v2(t, "PUT", keys(m, "/k"), "value="+value)
			require.Contains(t, []int{200, 201}, status, body)
			_, body = v2(t, "GET", keys(m, "/k"), "")
			require.Contains(t, body, `"value":"`+value+`"`)
		}
	}
	// N-03: a quorum read at any member shows what was acknowledged at another one. N-02: no member goes back.
	var last [3]uint64
	for n := range 30 {
		v2(t, "PUT", keys(g.Members[n%3], "/q"), fmt.Sprint("value=", n))
		_, body := v2(t, "GET", keys(g.Members[(n+1)%3], "/q?quorum=true"), "")
		require.Contains(t, body, fmt.Sprintf(`"value":"%d"`, n))
		for i, m := range g.Members {
			index := v2Index(t, m)
			require.GreaterOrEqual(t, index, last[i])
			last[i] = index
		}
	}
	// T-04 T-11: the leader ends nodes, whichever member was told of them, and all agree.
	for i, m := range g.Members {
		v2(t, "PUT", keys(m, fmt.Sprint("/t/", i)), "value=1&ttl=1")
	}
	require.Eventually(t, func() bool {
		for _, m := range g.Members {
			if _, body := v2(t, "GET", keys(m, "/t"), ""); strings.Contains(body, "nodes") {
				return false
			}
		}
		return true
	}, 5*time.Second, 50*time.Millisecond)
	same := func() {
		t.Helper()
		var first string
		for i, m := range g.Members {
			_, body := v2(t, "GET", keys(m, "/?recursive=true&quorum=true"), "")
			if i == 0 {
				first = body
			}
			require.Equal(t, first, body)
		}
	}
	same()
	// S-02 S-04: followers know the leader under the ID that members have, and the leader knows how they do.
	lead := g.Leader()
	_, body := v2(t, "GET", lead.URL()+"/v2/members/leader", "")
	id := regexp.MustCompile(`"id":"([0-9a-f]+)"`).FindStringSubmatch(body)[1]
	for _, m := range g.Members {
		_, body := v2(t, "GET", m.URL()+"/v2/stats/self", "")
		var self struct {
			State      string
			LeaderInfo struct{ Leader, Uptime string }
			Sent       uint64 `json:"sendAppendRequestCnt"`
			Received   uint64 `json:"recvAppendRequestCnt"`
		}
		require.NoError(t, json.Unmarshal([]byte(body), &self), body)
		require.Equal(t, id, self.LeaderInfo.Leader)
		up, err := time.ParseDuration(self.LeaderInfo.Uptime)
		require.NoError(t, err)
		require.Positive(t, up)
		if m == lead {
			require.Equal(t, "StateLeader", self.State)
			require.Positive(t, self.Sent)
		} else {
			require.Equal(t, "StateFollower", self.State)
			require.Positive(t, self.Received)
		}
	}
	_, body = v2(t, "GET", lead.URL()+"/v2/stats/leader", "")
	require.Regexp(t, `^{"leader":"`+id+`","followers":{("[0-9a-f]+":{"latency":{"current":[0-9.e-]+,"average":[0-9.e-]+,"standardDeviation":[0-9.e-]+,"minimum":[0-9.e-]+,"maximum":[0-9.e-]+},"counts":{"fail":\d+,"success":[1-9]\d*}},?){2}}}$`, body)
	status, body := v2(t, "GET", g.Followers()[0].URL()+"/v2/stats/leader", "")
	require.Equal(t, 403, status, body)
	// v3 sees nothing of it.
	all, err := g.Connect().Get(within(t, patience), "\x00")
	require.NoError(t, err)
	require.Zero(t, all.Count)
	// V-01 V-03: after a kill of all at once everything is there again; counts may begin anew.
	before := v2Index(t, g.Members[0])
	for _, m := range g.Members {
		m.Kill()
	}
	for _, m := range g.Members {
		m.Launch()
	}
	for _, m := range g.Members {
		m.Await()
	}
	same()
	require.GreaterOrEqual(t, v2Index(t, g.Members[0]), before)
	status, body = v2(t, "GET", keys(g.Members[0], "/k?wait=true&waitIndex=1"), "")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"value":"0-0"`)
}

// TestV2FollowerFarBehind covers V-02 and W-33: who is sent a snapshot has the tree, the indexes and the history, and lets those go
// who waited there.
func TestV2FollowerFarBehind(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--enable-v2", "--snapshot-catchup-entries", "100")
	behind := g.Followers()[0]
	ahead := g.Others(behind)[0]
	v2(t, "PUT", ahead.URL()+"/v2/keys/d/_h", "value=hidden&ttl=600")
	behind.Kill()
	const workers = 8
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for n := range 3000 / workers {
				if status, body := v2(t, "PUT", fmt.Sprintf("%s/v2/keys/d/k%d", ahead.URL(), w), fmt.Sprint("value=", n)); status >= 300 {
					t.Errorf("%d %s", status, body)
					return
				}
			}
		})
	}
	wg.Wait()
	behind.Start()
	index := v2Index(t, ahead)
	require.Eventually(t, func() bool { return v2Index(t, behind) == index }, patience, 20*time.Millisecond)
	require.Contains(t, behind.Out.String(), "installed a snapshot")
	for _, path := range []string{"/?recursive=true", "/d/_h", fmt.Sprintf("/d?wait=true&recursive=true&waitIndex=%d", index-900), "/d?wait=true&waitIndex=1"} {
		wantStatus, want := v2(t, "GET", ahead.URL()+"/v2/keys"+path, "")
		status, got := v2(t, "GET", behind.URL()+"/v2/keys"+path, "")
		require.Equal(t, wantStatus, status, path)
		ttl := regexp.MustCompile(`"ttl":\d+`)
		require.Equal(t, ttl.ReplaceAllString(want, ""), ttl.ReplaceAllString(got, ""), path)
	}
}
