package ctl

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// background starts a command; interrupt sends it a signal, done waits for its
// exit code.
func background(t *testing.T, s *fake.Server, args ...string) (out, errs *syncBuffer, interrupt func(), done func() int) {
	t.Helper()
	p, out, errs := program(t, s, "", args...)
	signals := make(chan os.Signal, 1)
	p.Signals = signals
	code := make(chan int, 1)
	go func() { code <- p.Run() }()
	return out, errs, func() { signals <- syscall.SIGINT }, func() int { return <-code }
}

func TestLockIsHeldUntilInterrupted(t *testing.T) {
	s := fake.Start(t)
	out, errs, interrupt, done := background(t, s, "lock", "mylock")
	out.await(t, "mylock/694d7550f0e4bb0c\n\n")
	require.EqualValues(t, 10, s.Calls("Lease/LeaseGrant")[0].Req.(*pb.LeaseGrantRequest).TTL)

	// A second one waits, and may stop waiting.
	_, errs2, interrupt2, done2 := background(t, s, "lock", "mylock", "--ttl", "7")
	for len(s.Calls("Watch/Watch")) == 0 {
		_, err := s.Range(context.Background(), &pb.RangeRequest{Key: []byte("x")})
		require.NoError(t, err)
	}
	interrupt2()
	require.Equal(t, 1, done2())
	errs2.await(t, "Error: context canceled\n")

	interrupt()
	require.Equal(t, 0, done())
	require.Empty(t, errs.String())
	require.Equal(t, "", run(t, s, "", "get", "mylock/", "--prefix").out, "the key is gone")
	require.Equal(t, "found 0 leases\n", run(t, s, "", "lease", "list").out)
}

func TestLockJSON(t *testing.T) {
	s := fake.Start(t)
	out, _, interrupt, done := background(t, s, "lock", "l", "-w", "json")
	out.await(t, `{"header":`+at(header, "2")+`,"kvs":[{"key":"bC82OTRkNzU1MGYwZTRiYjBj","create_revision":2,"mod_revision":2,"version":1,"lease":7587849937688509196}],"count":1}`+"\n")
	interrupt()
	require.Equal(t, 0, done())
}

func TestLockEndsWithItsSession(t *testing.T) {
	s := fake.Start(t)
	out, errs, _, done := background(t, s, "lock", "l", "--ttl", "1")
	out.await(t, "l/694d7550f0e4bb0c\n\n")
	s.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: fake.LeaseID})
	require.Equal(t, 1, done())
	errs.await(t, "Error: session expired\n")
}

func TestLockRunsACommand(t *testing.T) {
	s := fake.Start(t)
	got := run(t, s, "", "lock", "l", "--", "sh", "-c", `echo $ETCD_LOCK_KEY $ETCD_LOCK_REV $ETCD_LOCK_CREATE_REV; exit 7`)
	require.Equal(t, result{"l/694d7550f0e4bb0c 2 2\n", "Error: exit status 7\n", 7}, got)
	require.Equal(t, result{out: "-l\n"}, run(t, s, "", "lock", "l", "--", "echo", "-l"))
	require.Equal(t, result{out: "mine\n"}, runEnv(t, s, []string{"ETCD_LOCK_KEY=mine"}, "", "lock", "l", "--", "sh", "-c", "echo $ETCD_LOCK_KEY"))
	got = run(t, s, "", "lock", "l", "--", "/nonexistent/command")
	require.Equal(t, 1, got.code)
	require.True(t, strings.HasPrefix(got.err, "Error: "), got.err)
	require.Equal(t, "found 0 leases\n", run(t, s, "", "lease", "list").out)
	require.Equal(t, result{err: "Error: lock takes a lock name argument and an optional command to execute\n", code: 128}, run(t, nil, "", "lock"))
}

func TestLockCommandDiesWithTheSession(t *testing.T) {
	s := fake.Start(t)
	out, _, _, done := background(t, s, "lock", "l", "--ttl", "1", "--", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
	out.await(t, "up\n")
	s.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: fake.LeaseID})
	require.Equal(t, 3, done())
	out.await(t, "bye\n")
}

func TestElect(t *testing.T) {
	s := fake.Start(t)
	seen, _, stopWatching, doneWatching := background(t, s, "elect", "-l", "e")
	out, _, interrupt, done := background(t, s, "elect", "e", "foo")
	out.await(t, "\nfoo\n")
	seen.await(t, "e/694d7550f0e4bb0")
	seen.await(t, "\nfoo\n")
	require.EqualValues(t, 60, s.Calls("Lease/LeaseGrant")[0].Req.(*pb.LeaseGrantRequest).TTL)
	interrupt()
	require.Equal(t, 0, done())
	require.Equal(t, "", run(t, s, "", "get", "e/", "--prefix").out)
	stopWatching()
	require.Equal(t, 0, doneWatching())

	for args, want := range map[string]string{
		"elect":          "elect takes one election name argument and an optional proposal argument",
		"elect a b c":    "elect takes one election name argument and an optional proposal argument",
		"elect e":        "no proposal argument but -l not set",
		"elect -l e foo": "proposal given but -l is set",
	} {
		require.Equal(t, result{err: "Error: " + want + "\n", code: 128}, run(t, nil, "", strings.Fields(args)...))
	}
}
