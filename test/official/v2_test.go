package official

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// v2 sends a request to /v2/keys.
func v2(t testing.TB, p *process, method, path, form string) (int, http.Header, string) {
	t.Helper()
	var body io.Reader
	if form != "" {
		body = strings.NewReader(form)
	}
	r, err := http.NewRequestWithContext(within(t, patience), method, p.url()+"/v2/keys"+path, body)
	require.NoError(t, err)
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(b)
}

// The vectors of v2-http.md section 22, on a new member.
func TestV2Vectors(t *testing.T) {
	t.Parallel()
	p := start(t, "--enable-v2")
	for i, c := range []struct {
		method, path, form string
		status             int
		want               string
		index              string
	}{
		{"GET", "", "", 200, `{"action":"get","node":{"dir":true}}` + "\n", "3"},
		{"PUT", "/a/b", "value=1", 201, `{"action":"set","node":{"key":"/a/b","value":"1","modifiedIndex":4,"createdIndex":4}}`, "4"},
		{"GET", "/a", "", 200, `"dir":true,"nodes":[{"key":"/a/b","value":"1","modifiedIndex":4,"createdIndex":4}],"modifiedIndex":4,"createdIndex":4}}`, "4"},
		{"PUT", "/a", "value=x", 403, `{"errorCode":102,"message":"Not a file","cause":"/a","index":4}`, "4"},
		{"PUT", "/a/b/c", "value=x", 400, `"errorCode":104,"message":"Not a directory","cause":"/a/b"`, "4"},
		{"GET", "/a/b/c", "", 400, `"errorCode":104`, "4"},
		{"PUT", "/a/b?prevIndex=9", "value=2", 412, `"cause":"[9 != 4]","index":4`, "4"},
		{"PUT", "/a/b?prevValue=z&prevIndex=9", "value=2", 412, `"cause":"[z != 1] [9 != 4]"`, "4"},
		{"PUT", "/a/b?prevValue=1&prevIndex=4", "value=2", 200, `{"action":"compareAndSwap","node":{"key":"/a/b","value":"2","modifiedIndex":5,"createdIndex":4},"prevNode":{"key":"/a/b","value":"1","modifiedIndex":4,"createdIndex":4}}`, "5"},
		{"PUT", "/a/b?prevExist=false", "value=3", 412, `"errorCode":105,"message":"Key already exists","cause":"/a/b"`, "5"},
		{"PUT", "/a/b?prevExist=true", "", 200, `{"action":"update","node":{"key":"/a/b","value":""`, "6"},
		{"PUT", "/zz?prevExist=true", "value=1", 404, `"errorCode":100,"message":"Key not found","cause":"/zz","index":6`, "6"},
		{"PUT", "/a/b", "value=4&ttl=100", 200, `"ttl":100,"modifiedIndex":7,"createdIndex":7}`, "7"},
		{"PUT", "/a/b", "value=5", 200, `{"action":"set","node":{"key":"/a/b","value":"5","modifiedIndex":8,"createdIndex":8},"prevNode":{"key":"/a/b","value":"4","expiration":"`, "8"},
		{"PUT", "/d?dir=true", "value=ignored", 201, `"node":{"key":"/d","dir":true,"modifiedIndex"`, "9"},
		{"PUT", "/d?dir=true", "", 403, `"errorCode":102`, "9"},
		{"PUT", "/d?dir=true&prevExist=false", "", 412, `"errorCode":105`, "9"},
		{"PUT", "/d?dir=true&prevExist=true", "ttl=50", 200, `{"action":"update","node":{"key":"/d","dir":true,"expiration":"`, "10"},
		{"PUT", "/d?prevExist=true", "value=v", 403, `"errorCode":102`, "10"},
		{"PUT", "/k", "value=v", 201, `"value":"v"`, "11"},
		{"PUT", "/k?dir=true", "", 200, `"dir":true,"modifiedIndex":12,"createdIndex":12},"prevNode":{"key":"/k","value":"v"`, "12"},
		{"DELETE", "/k", "", 403, `"errorCode":102`, "12"},
		{"DELETE", "/a?dir=true", "", 403, `"errorCode":108,"message":"Directory not empty","cause":"/a"`, "12"},
		{"DELETE", "/k?dir=true", "", 200, `{"action":"delete","node":{"key":"/k","dir":true,`, "13"},
		{"DELETE", "/a/b?prevValue=nope", "", 412, `[nope != 5]`, "13"},
		{"DELETE", "/a/b?prevValue=", "", 400, `{"errorCode":201,"message":"PrevValue is Required in POST form","cause":"\"prevValue\" cannot be empty","index":0}`, "0"},
		{"DELETE", "/a/b?prevIndex=8", "", 200, `{"action":"compareAndDelete","node":{"key":"/a/b","modifiedIndex":14,"createdIndex":8}`, "14"},
		{"DELETE", "/a?recursive=true", "", 200, `"dir":true`, "15"},
		{"POST", "/q", "value=x", 201, `{"action":"create","node":{"key":"/q/00000000000000000016","value":"x"`, "16"},
		{"POST", "/q/00000000000000000016", "value=x", 400, `"errorCode":104`, "16"},
		{"PUT", "/_h", "value=s", 201, `"/_h"`, "17"},
		{"GET", "", "", 200, `{"action":"get","node":{"dir":true,"nodes":[{"key":"/d","dir":true,`, "17"},
		{"GET", "/_h", "", 200, `"value":"s"`, "17"},
		{"PUT", "/", "value=x", 400, `{"errorCode":107,"message":"Root is read only","cause":"/","index":17}`, "17"},
		{"DELETE", "/?recursive=true", "", 400, `"errorCode":107`, "17"},
		{"PUT", "/n?noValueOnSuccess=true", "value=x", 201, `{"action":"set"}` + "\n", "18"},
		{"PUT", "/n", "refresh=true&ttl=9&value=x", 400, `"errorCode":211`, "0"},
		{"PUT", "/n", "refresh=true", 400, `"errorCode":212`, "0"},
		{"PUT", "/n", "refresh=true&ttl=9&prevExist=true", 200, `"value":"x","expiration":"`, "19"},
		{"PUT", "/none", "refresh=true&ttl=9", 404, `"errorCode":100`, "19"},
		{"PUT", "/n", "ttl=abc", 400, `"errorCode":202`, "0"},
		{"PUT", "/n?prevIndex=-1", "", 400, `"errorCode":203,"message":"The given index in POST form is not a number","cause":"invalid value for \"prevIndex\""`, "0"},
		{"PUT", "/n?dir=yes", "", 400, `"errorCode":209`, "0"},
		{"PUT", "/n?prevExist=x", "", 400, `"cause":"invalid value for prevExist"`, "0"},
		{"PUT", "/n?wait=true", "", 400, `"cause":"\"wait\" can only be used with GET requests"`, "0"},
		{"GET", "/n?wait=true&waitIndex=18", "", 200, `{"action":"set","node":{"key":"/n","value":"x","modifiedIndex":18`, "19"},
		{"GET", "/n?quorum=true&wait=true", "", 200, `{"action":"get"`, "19"},
		{"GET", "/%zz", "", 400, "", ""},
		{"PATCH", "/x", "", 405, "Method Not Allowed\n", ""},
	} {
		if strings.Contains(c.path, "%zz") {
			continue // Go's client does not send it
		}
		status, head, body := v2(t, p, c.method, c.path, c.form)
		require.Equal(t, c.status, status, "step %d: %s", i, body)
		require.Contains(t, body, c.want, "step %d", i)
		require.Equal(t, c.index, head.Get("X-Etcd-Index"), "step %d", i)
		if c.status == 405 {
			require.Equal(t, "HEAD,GET,PUT,POST,DELETE", head.Get("Allow"))
		} else {
			require.NotEmpty(t, head.Get("X-Etcd-Cluster-Id"))
		}
	}
	p.kill()
	p.start() // everything is there again, and the member publishes nothing new
	status, head, body := v2(t, p, "GET", "/n", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"value":"x"`)
	require.Equal(t, "19", head.Get("X-Etcd-Index"))
	status, _, body = v2(t, p, "GET", "/n?wait=true&waitIndex=18", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"modifiedIndex":18`)
}

func TestV2WatchExpiryAndLocks(t *testing.T) {
	t.Parallel()
	p := start(t, "--enable-v2")
	watch := func(path string) chan string {
		got := make(chan string, 100)
		req, err := http.NewRequestWithContext(within(t, patience), "GET", p.url()+"/v2/keys"+path, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req) // the headers come at once
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		go func() {
			defer resp.Body.Close()
			defer close(got)
			for s := bufio.NewScanner(resp.Body); s.Scan(); {
				got <- s.Text()
			}
		}()
		return got
	}
	one := watch("/x?wait=true")
	all := watch("/?wait=true&recursive=true&stream=true")
	v2(t, p, "PUT", "/x", "value=1")
	v2(t, p, "PUT", "/x", "refresh=true&ttl=100")
	v2(t, p, "PUT", "/_hidden", "value=1")
	v2(t, p, "PUT", "/x", "value=2")
	require.Contains(t, <-one, `"value":"1"`)
	_, open := <-one
	require.False(t, open, "one event ends it")
	require.Contains(t, <-all, `"value":"1"`)
	require.Contains(t, <-all, `"value":"2"`)

	v2(t, p, "PUT", "/t?dir=true", "ttl=1")
	v2(t, p, "PUT", "/t/x", "value=1")
	gone := watch("/t/x?wait=true")
	began := time.Now()
	require.Contains(t, <-gone, `{"action":"expire","node":{"key":"/t","dir":true,`)
	require.Less(t, time.Since(began), 2500*time.Millisecond)

	// Of many who create the same key one succeeds.
	var mu sync.Mutex
	count := map[int]int{}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			status, _, _ := v2(t, p, "PUT", "/lock?prevExist=false", fmt.Sprint("value=", i))
			mu.Lock()
			count[status]++
			mu.Unlock()
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{201: 1, 412: 49}, count)

	// History holds a thousand events.
	for i := range 1001 {
		v2(t, p, "PUT", "/fill", fmt.Sprint("value=", i))
	}
	status, _, body := v2(t, p, "GET", "/fill?wait=true&waitIndex=5", "")
	require.Equal(t, 400, status)
	require.Contains(t, body, `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [`)
	// A member that stops lets its watchers go.
	last := watch("/never?wait=true")
	p.stop()
	_, open = <-last
	require.False(t, open)
}

// N-06: a thousand small writes a second from clients in parallel. Other tests share the processors, so one good second is
// enough.
func TestV2Throughput(t *testing.T) {
	p := start(t, "--enable-v2")
	const clients, enough = 64, 1000
	var written atomic.Int64
	stop := make(chan struct{})
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer web.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				r, err := http.NewRequestWithContext(t.Context(), "PUT", fmt.Sprintf("%s/v2/keys/load/%d?value=%d", p.url(), i, n), nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := web.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode >= 300 {
					t.Errorf("status %d", resp.StatusCode)
					return
				}
				written.Add(1)
			}
		})
	}
	most := int64(0)
	for began := time.Now(); most < enough && time.Since(began) < patience; {
		before, from := written.Load(), time.Now()
		time.Sleep(time.Second)
		most = max(most, (written.Load()-before)*int64(time.Second)/int64(time.Since(from)))
	}
	close(stop)
	wg.Wait()
	require.GreaterOrEqual(t, most, int64(enough), "writes in the best second")
	t.Logf("%d writes in the best second", most)
}
