package v2http

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watcher is a client that waits, over a connection.
type watcher struct {
	t     *testing.T
	head  http.Header
	lines chan string
	leave func()
}

func (s *v2site) serve(t *testing.T) *httptest.Server {
	srv := httptest.NewServer(s.handler)
	t.Cleanup(srv.Close)
	return srv
}

func watchAt(t *testing.T, srv *httptest.Server, target string) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/v2/keys"+target, nil)
	require.NoError(t, err)
	resp, err := srv.Client().Do(r) // which returns when the headers are there (W-05)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode, target)
	w := &watcher{t: t, head: resp.Header, lines: make(chan string, 2000), leave: cancel}
	go func() {
		defer resp.Body.Close()
		defer close(w.lines)
		for in := bufio.NewReader(resp.Body); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			w.lines <- line
		}
	}()
	return w
}

// next is the next event, "" at the end of the answer.
func (w *watcher) next() string {
	w.t.Helper()
	select {
	case l := <-w.lines:
		return l
	case <-time.After(5 * time.Second):
		w.t.Fatal("no event has come")
	}
	return ""
}

// is reads the next event's action and key.
func (w *watcher) is(action, key string) string {
	w.t.Helper()
	l := w.next()
	require.True(w.t, strings.HasPrefix(l, `{"action":"`+action+`","node":{"key":"`+key+`",`), "%s %s: %s", action, key, l)
	return l
}

func (w *watcher) ended() {
	w.t.Helper()
	require.Empty(w.t, w.next())
}

func (s *v2site) put(path, form string) string {
	w := s.send("PUT", "/v2/keys"+path, formType, form)
	require.Less(s.t, w.Code, 300, "%s: %s", path, w.Body)
	return w.Body.String()
}

func (s *v2site) remove(path string) {
	require.Equal(s.t, 200, s.send("DELETE", "/v2/keys"+path+"?recursive=true", "", "").Code)
}

func TestWatchRules(t *testing.T) {
	t.Run("W-01 W-02 W-05 W-06 W-11: one event", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		s.put("/a", "value=0&ttl=9")
		for _, query := range []string{"", "&waitIndex=0"} {
			w := watchAt(t, srv, "/a?wait=true"+query)
			require.Equal(t, s.send("GET", "/v2/keys/a", "", "").Header().Get("X-Etcd-Index"), w.head.Get("X-Etcd-Index"))
			require.Equal(t, "7", w.head.Get("X-Raft-Term"))
			require.Equal(t, "c1", w.head.Get("X-Etcd-Cluster-Id"))
			require.Equal(t, "application/json", w.head.Get("Content-Type"))
			s.now = s.now.Add(time.Second)
			told := s.put("/a", "value=1&ttl=5&noValueOnSuccess=false")
			require.Equal(t, told, w.next())
			w.ended()
		}
		w := watchAt(t, srv, "/none/yet?wait=true")
		s.put("/none/yet", "value=1&noValueOnSuccess=true")
		require.Contains(t, w.next(), `"value":"1"`, "only the writer does without")
	})
	t.Run("W-11: an event of the past has the times that it had", func(t *testing.T) {
		s := newV2Site(t)
		told := s.put("/a", "value=1&ttl=60")
		s.now = s.now.Add(time.Hour)
		require.Equal(t, told, s.send("GET", "/v2/keys/a?wait=true&waitIndex=4", "", "").Body.String())
	})
	t.Run("W-03 W-04 W-32: from an index on", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		s.put("/a", "value=4")
		s.put("/b", "value=5")
		s.put("/a", "value=6")
		for from, want := range map[int]string{1: "4", 4: "4", 5: "6", 6: "6"} {
			w := watchAt(t, srv, fmt.Sprint("/a?wait=true&waitIndex=", from))
			require.Contains(t, w.is("set", "/a"), `"value":"`+want+`"`)
			w.ended()
		}
		none := watchAt(t, srv, "/c?wait=true&waitIndex=4")
		later := watchAt(t, srv, "/a?wait=true&waitIndex=8")
		s.put("/a", "value=7")
		s.put("/a", "value=8")
		require.Contains(t, later.is("set", "/a"), `"value":"8"`)
		s.put("/c", "value=9")
		none.is("set", "/c")
	})
	t.Run("W-07 W-28 W-44 W-27: a stream", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		w := watchAt(t, srv, "/a?wait=true&stream=true&recursive=true")
		for range 3 {
			s.put("/a/x", "value=same")
		}
		s.put("/a/x", "refresh=true&ttl=9&prevExist=true")
		s.put("/a/y", "value=1")
		for i := range 3 {
			require.Contains(t, w.is("set", "/a/x"), fmt.Sprintf(`"modifiedIndex":%d,`, 4+i))
		}
		require.Contains(t, w.is("set", "/a/y"), `"modifiedIndex":8,`)
	})
	t.Run("W-20 W-21 W-22 W-26 W-29 K-23: who is told of what", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		s.put("/foo/x", "value=1")
		all := map[string]*watcher{}
		for _, target := range []string{"/foo?", "/foo?recursive=true&", "/_a?", "/_a?recursive=true&", "/?recursive=true&", "/foo/_h?", "/foo/_h?recursive=true&"} {
			all[target] = watchAt(t, srv, target+"wait=true&stream=true")
		}
		s.put("/foobar", "value=1")
		s.put("/foo/y/z", "value=1")
		s.put("/foo/_h", "value=1")
		s.put("/_a/b", "value=1")
		s.put("/_a/_b", "value=1")
		s.put("/foo?dir=true&prevExist=true", "ttl=90")
		s.put("/end", "value=1")
		want := map[string][]string{
			"/foo?": {"/foo"}, "/foo?recursive=true&": {"/foo/y/z", "/foo"}, "/_a?recursive=true&": {"/_a/b"},
			"/?recursive=true&": {"/foobar", "/foo/y/z", "/foo", "/end"}, "/foo/_h?": {"/foo/_h"}, "/foo/_h?recursive=true&": {"/foo/_h"},
		}
		for target, keys := range want {
			for _, key := range keys {
				require.Contains(t, all[target].next(), `"node":{"key":"`+key+`",`, target)
			}
		}
		time.Sleep(20 * time.Millisecond)
		for target, w := range all {
			require.Empty(t, w.lines, target)
		}
	})
	t.Run("W-23 W-24 W-25 W-42 K-24: a directory goes", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		s.put("/d/x/k", "value=1")
		s.put("/d/_h", "value=1")
		s.put("/t", "dir=true&ttl=1")
		s.put("/t/_h/k", "value=1")
		there := []*watcher{watchAt(t, srv, "/d/x/k?wait=true"), watchAt(t, srv, "/d/x?wait=true&recursive=true"), watchAt(t, srv, "/d/_h?wait=true"),
			watchAt(t, srv, "/d?wait=true&stream=true"), watchAt(t, srv, "/d?wait=true&stream=true&recursive=true")}
		never := []*watcher{watchAt(t, srv, "/d/none?wait=true"), watchAt(t, srv, "/dd?wait=true")}
		expires := watchAt(t, srv, "/t/_h/k?wait=true")
		s.remove("/d")
		s.tick(time.Second)
		for _, w := range there {
			w.is("delete", "/d")
		}
		expires.is("expire", "/t")
		time.Sleep(20 * time.Millisecond)
		for _, w := range append(never, there[3:]...) {
			require.Empty(t, w.lines)
		}
	})
	t.Run("W-30 W-31: what history has forgotten", func(t *testing.T) {
		s := newV2Site(t)
		for range 1005 {
			s.put("/fill", "value=1")
		}
		w := s.send("GET", "/v2/keys/fill?wait=true&waitIndex=8", "", "")
		require.Equal(t, 400, w.Code)
		require.Equal(t, `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [9/8]","index":1008}`+"\n", w.Body.String())
		require.Equal(t, "1008", w.Header().Get("X-Etcd-Index"))
		require.Equal(t, 200, s.send("GET", "/v2/keys/fill?wait=true&waitIndex=9", "", "").Code)
	})
	t.Run("W-34 W-35 W-41: history, done right", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		s.put("/foo/_h", "value=1") // 4
		s.put("/foo/x", "value=1")  // 5
		s.remove("/foo")            // 6
		s.put("/foobar", "value=1") // 7
		w := watchAt(t, srv, "/foobar?wait=true&waitIndex=1")
		w.is("set", "/foobar")
		w = watchAt(t, srv, "/foo?wait=true&recursive=true&stream=true&waitIndex=1")
		w.is("set", "/foo/x")
		w.is("delete", "/foo")
		s.put("/foo/y", "value=1")
		w.is("set", "/foo/y")
	})
	t.Run("W-08 W-40 W-43: watches end", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		watchers := func(n int) {
			require.Eventually(t, func() bool {
				return strings.HasSuffix(s.send("GET", "/v2/stats/store", "", "").Body.String(), fmt.Sprintf(`"watchers":%d}`, n))
			}, 5*time.Second, time.Millisecond)
		}
		left, stays := watchAt(t, srv, "/a?wait=true"), watchAt(t, srv, "/a?wait=true&stream=true")
		watchers(2)
		left.leave()
		watchers(1)
		s.b.paths.Reset(s.b.View().Tree.Index) // as when the state is replaced
		stays.ended()
		watchers(0)
	})
	t.Run("W-09: what is refused", func(t *testing.T) {
		s := newV2Site(t)
		require.Equal(t, 400, s.send("GET", "/v2/keys/a?wait=true&waitIndex=x", "", "").Code)
	})
	t.Run("W-10: without a leader", func(t *testing.T) {
		s := newV2Site(t)
		s.b.lead = 0
		w := watchAt(t, s.serve(t), "/a?wait=true")
		s.put("/a", "value=1")
		w.is("set", "/a")
	})
	t.Run("W-12: a right is looked at once", func(t *testing.T) {
		s := newV2Site(t)
		srv := s.serve(t)
		for _, q := range [][2]string{{users + "/root", `{"user":"root","password":"pw"}`}, {enable, ""}} {
			require.Less(t, s.send("PUT", q[0], "", q[1]).Code, 300)
		}
		w := watchAt(t, srv, "/a?wait=true&stream=true")
		r := httptest.NewRequest("DELETE", roles+"/guest", nil)
		r.SetBasicAuth("root", "pw")
		out := httptest.NewRecorder()
		s.handler.ServeHTTP(out, r)
		require.Equal(t, 200, out.Code)
		require.Equal(t, 401, s.send("GET", "/v2/keys/a?wait=true", "", "").Code)
		r = httptest.NewRequest("PUT", "/v2/keys/a?value=1", nil)
		r.SetBasicAuth("root", "pw")
		s.handler.ServeHTTP(httptest.NewRecorder(), r)
		w.is("set", "/a")
	})
}
