package ctl

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// history makes events at revisions 2 to 4 and a server that loses its leader as
// soon as a watch has them all, so that the command ends by itself.
func history(s *fake.Server) {
	s.Set("foo=bar", "foo=new")
	s.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte("foo")})
}

// ending runs watch until want is on stdout, then makes the server lose its
// leader and returns what the command left.
func ending(t *testing.T, s *fake.Server, env []string, want string, args ...string) result {
	t.Helper()
	p, out, errs := program(t, s, "", args...)
	p.Environ = append(p.Environ, env...)
	code := make(chan int, 1)
	go func() { code <- p.Run() }()
	out.await(t, want)
	s.Hook = func(_ context.Context, m string, _ any) error {
		return rpctypes.ErrGRPCPermissionDenied // what a reconnect meets ends the watch
	}
	s.Stop()
	s.Restart(t)
	exit := <-code
	return result{out.String(), errs.String(), exit}
}

const lost = "watch was canceled (etcdserver: permission denied)\nError: watch is canceled by the server\n"

func TestWatchFormats(t *testing.T) {
	head := func(rev string) string { return `{"Header":` + at(header, rev) + `,"Events":[` }
	const tail = `],"CompactRevision":0,"Canceled":false,"Created":false,"CancelReason":""}` + "\n"
	const end = `{"Header":{},"Events":null,"CompactRevision":0,"Canceled":true,"Created":false,"CancelReason":""}` + "\n"
	for args, want := range map[string]string{
		"watch foo --rev 2":           "PUT\nfoo\nbar\nPUT\nfoo\nnew\nDELETE\nfoo\n\n",
		"watch foo --rev 3 --prev-kv": "PUT\nfoo\nbar\nfoo\nnew\nDELETE\nfoo\nnew\nfoo\n\n",
		"watch f g --rev 4":           "DELETE\nfoo\n\n",
		"watch '' --prefix --rev 4":   "DELETE\nfoo\n\n",
		"watch foo --rev 4 --hex":     "DELETE\n\\x66\\x6f\\x6f\n\n",
		"watch foo --rev 3 -w json": head("3") + `{"kv":{"key":"Zm9v","create_revision":2,"mod_revision":3,"version":2,"value":"bmV3"}}` + tail +
			head("4") + `{"type":1,"kv":{"key":"Zm9v","mod_revision":4}}` + tail,
		"watch foo --rev 4 --prev-kv -w json": head("4") + `{"type":1,"kv":{"key":"Zm9v","mod_revision":4},"prev_kv":{"key":"Zm9v","create_revision":2,"mod_revision":3,"version":2,"value":"bmV3"}}` + tail,
		"watch foo --rev 4 -w fields":         at(fieldHeader, "4") + "\"Type\" : DELETE\n\"Key\" : \"foo\"\n\"CreateRevision\" : 0\n\"ModRevision\" : 4\n\"Version\" : 0\n\"Value\" : \"\"\n\"Lease\" : 0\n",
	} {
		t.Run(args, func(t *testing.T) {
			s := fake.Start(t)
			history(s)
			got := ending(t, s, nil, want, example{args: args}.words()...)
			after := ""
			switch {
			case strings.Contains(args, "json"):
				after = end
			case strings.Contains(args, "fields"):
				after = "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"RaftTerm\" : 0\n"
			}
			require.Equal(t, result{want + after, lost, 5}, got)
		})
	}
}

func TestWatchProtobuf(t *testing.T) {
	s := fake.Start(t)
	history(s)
	got := ending(t, s, nil, "foo", "watch", "foo", "--rev", "4", "-w", "protobuf")
	require.Equal(t, 5, got.code)
	require.Contains(t, got.out, "\x5a\x0b\x08\x01\x12\x07\x0a\x03foo\x18\x04", "one event, field 11")
}

func TestWatchOfCompactedHistory(t *testing.T) {
	s := fake.Start(t)
	history(s)
	s.Compact(context.Background(), &pb.CompactionRequest{Revision: 4})
	require.Equal(t, result{"", "watch was canceled (etcdserver: mvcc: required revision has been compacted)\nError: watch is canceled by the server\n", 5},
		run(t, s, "", "watch", "foo", "--rev", "2"))
	require.Equal(t, []string{"true"}, s.Calls("Watch/Watch")[0].MD.Get("hasleader"))
}

func TestWatchArguments(t *testing.T) {
	for _, tc := range []struct {
		args, env, err string
	}{
		{"watch", "", "bad number of arguments"},
		{"watch a b c", "", "bad number of arguments"},
		{"watch a b --prefix", "", "`range_end` and `--prefix` are mutually exclusive"},
		{"watch k --", "", "bad number of arguments (found separator --, but no commands)"},
		{"watch -- cmd", "", "bad number of arguments"},
		{"watch", "ETCDCTL_WATCH_RANGE_END=z", `ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END="z"`},
		{"watch a", "ETCDCTL_WATCH_KEY=k", "bad number of arguments (found conflicting environment key)"},
	} {
		got := runEnv(t, nil, []string{tc.env}, "", strings.Fields(tc.args)...)
		require.Equal(t, result{err: "Error: " + tc.err + "\n", code: 128}, got, tc.args)
	}
	for _, tc := range []struct {
		args     []string
		dash     int
		key, end string
		exec     []string
	}{
		{[]string{"k"}, -1, "k", "", nil},
		{[]string{"k", "cmd", "a", "k"}, 1, "k", "", []string{"cmd", "a", "k"}},
		{[]string{"k", "echo", "echo"}, 1, "k", "", []string{"echo", "echo"}},
		{[]string{"k", "e", "cmd"}, 2, "k", "e", []string{"cmd"}},
		{[]string{"cmd"}, 0, "envkey", "envend", []string{"cmd"}},
	} {
		envKey, envEnd := "", ""
		if tc.key == "envkey" {
			envKey, envEnd = tc.key, tc.end
		}
		var o watchOptions
		r, err := o.parseWatch(tc.args, tc.dash, envKey, envEnd)
		require.NoError(t, err)
		require.Equal(t, tc.key, r.key)
		require.ElementsMatch(t, tc.exec, r.exec)
	}
}

func TestWatchKeyFromTheEnvironment(t *testing.T) {
	s := fake.Start(t)
	history(s)
	got := ending(t, s, []string{"ETCDCTL_WATCH_KEY=f", "ETCDCTL_WATCH_RANGE_END=g"}, "DELETE\n", "watch", "--rev", "4")
	require.Equal(t, lost, got.err, "and no warning about the variables")
}

func TestWatchRunsACommandPerEvent(t *testing.T) {
	s := fake.Start(t)
	s.Set(`k="q"`)
	got := ending(t, s, nil, "2 \"PUT\" \"k\" \"\\\"q\\\"\"\n", "watch", "k", "--rev", "2", "--", "sh", "-c",
		`echo "$ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"`)
	require.Equal(t, 5, got.code)

	s = fake.Start(t)
	s.Set(`k="q"`)
	got = run(t, s, "", "watch", "k", "--rev", "2", "--", "false")
	require.Equal(t, result{"PUT\nk\n\"q\"\n", "command [\"false\"] error (exit status 1)\n", 1}, got)
}

func TestWatchProgressAndInteractiveMode(t *testing.T) {
	s := fake.Start(t)
	s.Set("foo=bar", "x=1")
	p, out, errs := program(t, s, "", "watch", "-i")
	in, feed := io.Pipe()
	p.Stdin = in
	code := make(chan int, 1)
	go func() { code <- p.Run() }()
	say := func(line string) { io.WriteString(feed, line+"\n") }

	say("watch foo --rev 2")
	out.await(t, "PUT\nfoo\nbar\n")
	say("watch x --rev=2 --prev-kv")
	out.await(t, "PUT\nx\n1\n")
	say("progress")
	out.await(t, "progress notify: 3\nprogress notify: 3\n")
	say("")
	errs.await(t, "Invalid command:  (watch and progress supported)\n")
	say("frob foo")
	errs.await(t, "Invalid command frob foo (only support watch)\n")
	say("watch")
	errs.await(t, "Invalid command watch (command type or key is not provided)\n")
	feed.Close()
	require.Equal(t, 3, <-code)
	errs.await(t, "Error: error reading watch request line: EOF\n")

	got := run(t, s, "watch a b --prefix\n", "watch", "-i")
	require.Equal(t, result{err: "Error: `range_end` and `--prefix` are mutually exclusive\n", code: 128}, got)
}
