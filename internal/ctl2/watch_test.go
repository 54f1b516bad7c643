package ctl2

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const gone = `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [9/3]","index":10}`

func at(action, key, index, more string) answer {
	return ok(`{"action":"` + action + `","node":{"key":"` + key + `"` + more + `,"modifiedIndex":` + index + `,"createdIndex":4}` + map[bool]string{true: `,"prevNode":{"key":"x","value":"old"}`}[action != "set"] + `}`)
}

// W-C01 to W-C06, trap 4. The answer without an event takes longer than the command may, but for watching.
func TestWatch(t *testing.T) {
	s := serve(t)
	events := []answer{
		{status: 200}, at("set", "/d/x", "5", `,"dir":true`), at("set", "/d/a", "6", `,"value":"1"`), at("delete", "/d/a", "8", ""),
		at("expire", "/d", "9", `,"dir":true`), at("expire", "/d/b", "10", ""), at("compareAndDelete", "/d/c", "11", ""), {status: 400, body: gone},
	}
	cleared := "Error:  401: The event in requested index is outdated and cleared (the requested history has been cleared [9/3]) [10]\n"
	wait := func(recursive string, indexes ...string) (out []string) {
		for _, i := range indexes {
			out = append(out, "GET /v2/keys/d?recursive="+recursive+"&wait=true&waitIndex="+i)
		}
		return out
	}
	for _, c := range []struct {
		line  string
		want  result
		asked []string
	}{
		{"watch d", result{out: "1\n"}, wait("false", "0", "0", "6")},
		{"watch --after-index 3 d", result{out: "1\n"}, wait("false", "4", "4", "6")},
		{"watch d -r", result{out: "[set] /d/a\n1\n"}, wait("true", "0", "0", "6")},
		{"watch --forever --recursive d", result{"[set] /d/a\n1\n[delete] /d/a\nPrevNode.Value: old\n[expire] /d/b\n\n[compareAndDelete] /d/c\n\n", cleared, 4},
			wait("true", "0", "0", "6", "7", "9", "10", "11", "12")},
		{"watch -f d", result{"1\nPrevNode.Value: old\n\n\n", cleared, 4}, wait("false", "0", "0", "6", "7", "9", "10", "11", "12")},
		{"-o json watch d", result{out: `{"action":"set","node":{"key":"/d/a","value":"1","nodes":null,"createdIndex":4,"modifiedIndex":6},"prevNode":null}` + "\n"}, wait("false", "0", "0", "6")},
		{"-o extended watch -r d", result{out: "[set] /d/a\nKey: /d/a\nCreated-Index: 4\nModified-Index: 6\nTTL: 0\nIndex: 9\n\n1\n"}, wait("true", "0", "0", "6")},
		{"-o yaml watch d", result{err: "Unsupported output format: yaml\n"}, wait("false", "0", "0", "6")},
		{"--total-timeout 80ms --no-sync watch d", result{out: "1\n"}, wait("false", "0", "0", "6")},
	} {
		s.on("GET /v2/keys/d", events...)
		require.Equal(t, c.want, run(t, s, "", words(c.line)...), c.line)
		require.Equal(t, c.asked, s.requests(), c.line)
	}
}

// An interrupt ends what would go on for ever, with exit code 0.
func TestInterrupt(t *testing.T) {
	s := serve(t)
	s.on("GET /v2/keys/d", answer{late: true})
	s.on("GET /health", ok(`{"health":"true"}`))
	for _, line := range []string{"watch d", "watch -f d", "exec-watch d -- true", "cluster-health --forever"} {
		p, _, errs := program(t, s, "", words(line)...)
		ctx, cancel := context.WithCancel(context.Background())
		p.Context = ctx
		done := make(chan int)
		go func() { done <- p.Run() }()
		require.Eventually(t, func() bool { return len(s.requests()) > 0 }, limit, poll, line)
		cancel()
		require.Equal(t, 0, <-done, line)
		require.Empty(t, errs.String(), line)
	}
}

// W-C10 to W-C14, G-03.
func TestExecWatch(t *testing.T) {
	s := serve(t)
	show := `echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY=$ETCD_WATCH_VALUE @$ETCD_WATCH_MODIFIED_INDEX $MINE $ETCDCTL_API."`
	for _, words := range [][]string{
		{"exec-watch", "--recursive", "/d", "--", "sh", "-c", show},
		{"exec-watch", "/d", "--recursive", "--", "sh", "-c", show},
		{"exec-watch", "--recursive", "--", "/d", "sh", "-c", show},
	} {
		s.on("GET /v2/keys/d", at("set", "/d/x", "5", `,"dir":true`), at("set", "/d/a", "6", `,"value":"1"`), at("delete", "/d/a", "8", ""), answer{late: true})
		p, out, errs := program(t, s, "", words...)
		p.Environ = append(p.Environ, "MINE=yes", "ETCDCTL_API=2")
		ctx, cancel := context.WithCancel(context.Background())
		p.Context = ctx
		done := make(chan int)
		go func() { done <- p.Run() }()
		require.Eventually(t, func() bool { return strings.Count(out.String(), "\n") == 2 }, limit, poll, "%s %s", out, errs)
		// The wait that is never answered has come: it cannot take an answer of the next round.
		var asked []string
		require.Eventually(t, func() bool { asked = append(asked, s.requests()...); return len(asked) == 4 }, limit, poll)
		cancel()
		require.Equal(t, 0, <-done)
		require.ElementsMatch(t, []string{"set /d/a=1 @6 yes .", "delete /d/a= @8 yes .", ""}, strings.Split(out.String(), "\n"))
		require.Equal(t, "Ignored dir /d/x change\n", errs.String())
		require.Equal(t, "GET /v2/keys/d?recursive=true&wait=true&waitIndex=0", asked[0])
	}
	s.on("GET /v2/keys/d", at("set", "/d", "6", `,"value":"1"`))
	r := run(t, s, "", "exec-watch", "--after-index", "3", "/d", "--", "/nonexistent/program")
	require.Equal(t, result{err: "fork/exec /nonexistent/program: no such file or directory\n", code: 1}, r)
	require.Equal(t, []string{"GET /v2/keys/d?recursive=false&wait=true&waitIndex=4"}, s.requests())
	s.on("GET /v2/keys/d", answer{status: 400, body: gone})
	require.Equal(t, 4, run(t, s, "", "exec-watch", "/d", "--", "true").code)
}

// Programs run side by side: the next change does not wait for one.
func TestExecWatchDoesNotWait(t *testing.T) {
	s := serve(t)
	s.on("GET /v2/keys/d", at("set", "/d", "6", `,"value":"1"`), at("set", "/d", "7", `,"value":"2"`), answer{late: true})
	// The first one ends when the second one has made its file.
	file := t.TempDir() + "/second"
	p, out, errs := program(t, s, "", "exec-watch", "/d", "--", "sh", "-c",
		`if [ $ETCD_WATCH_VALUE = 2 ]; then touch `+file+`; else until [ -e `+file+` ]; do sleep 0.01; done; echo first; fi`)
	ctx, cancel := context.WithCancel(context.Background())
	p.Context = ctx
	done := make(chan int)
	go func() { done <- p.Run() }()
	require.Eventually(t, func() bool { return out.String() == "first\n" }, limit, poll, "%s", errs)
	cancel()
	require.Equal(t, 0, <-done)
}
