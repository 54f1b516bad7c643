package v2

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

const poll = 20 * time.Millisecond

// identity is whom a member belongs to.
func identity(t *testing.T, m *process.Member) string {
	resp, err := http.Head(m.URL() + "/v2/keys")
	require.NoError(t, err)
	resp.Body.Close()
	return resp.Header.Get("X-Etcd-Cluster-Id")
}

// V-04 and B-C01 to B-C04: a backup of a member that runs and is written to. A new cluster of it has all that was written before, and
// is not the old one.
func TestBackup(t *testing.T) {
	t.Parallel()
	m := start(t)
	c := newTool(t, m)
	c.story([]step{
		{"set /app/color red", out("red\n")},
		{"set /app/ttl x --ttl 1000", out("x\n")},
		{"mkdir /app/empty", result{}},
		{"user add root:pw", out("User root created\n")},
	})
	v3 := &tool{t: t, path: c.path, env: []string{"ETCDCTL_ENDPOINTS=" + m.Client}}
	require.Equal(t, out("OK\n"), v3.run("", "put", "v3", "yes"))

	quit, written := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-quit:
				written <- n
				return
			default:
			}
			if c.command(t.Context(), "set", fmt.Sprintf("/load/%d", n), "v").Run() == nil {
				n++
			}
		}
	}()
	dir := t.TempDir()
	require.Equal(t, result{}, c.run("", "backup", "--data-dir", m.Dir, "--backup-dir", filepath.Join(dir, "one")))
	require.Equal(t, result{}, c.run("", "backup", "--data-dir", m.Dir, "--backup-dir", filepath.Join(dir, "two"), "--backup-wal-dir", filepath.Join(dir, "log"), "--with-v3"))
	close(quit)
	require.Positive(t, <-written)
	old := identity(t, m)
	m.Stop()

	for name, flags := range map[string][]string{"one": nil, "two": {"--wal-dir", filepath.Join(dir, "log")}} {
		restored := process.NewMember(t, "r0", append([]string{"--enable-v2"}, flags...)...)
		restored.Dir = filepath.Join(dir, name)
		restored.Start("--force-new-cluster")
		require.NotEqual(t, old, identity(t, restored), "B-C02")
		c := newTool(t, restored)
		c.story([]step{
			{"get /app/color", out("red\n")},
			{"ls --sort /app", out("/app/color\n/app/empty\n/app/ttl\n")},
			{"user list", out("root\n")},
			{"set /app/color blue", out("blue\n")},
		})
		v3.env = []string{"ETCDCTL_ENDPOINTS=" + restored.Client}
		require.Equal(t, out("v3\nyes\n"), v3.run("", "get", "v3"))
		restored.Stop()
		restored.Start() // without the flag it goes on
		require.Equal(t, out("blue\n"), c.run("", "get", "/app/color"))
		require.Regexp(t, `^[0-9a-f]+: name=r0 peerURLs=http://localhost:2380 clientURLs=`+restored.URL()+" isLeader=true\n$", c.run("", "member", "list").out)
		restored.Stop()
	}
}

// A member of a cluster becomes a cluster of its own.
func TestBackupOfOneOfThree(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--enable-v2")
	c := newTool(t, g.Followers()[0])
	require.Equal(t, out("v\n"), c.run("", "set", "/k", "v"))
	follower := g.Followers()[0]
	require.Eventually(t, func() bool { return newTool(t, follower).run("", "--no-sync", "get", "/k").code == 0 }, process.Patience, poll)
	dir := filepath.Join(t.TempDir(), "copy")
	require.Equal(t, result{}, c.run("", "backup", "--data-dir", follower.Dir, "--backup-dir", dir))

	restored := process.NewMember(t, "alone", "--enable-v2")
	restored.Dir = dir
	restored.Start("--force-new-cluster")
	r := newTool(t, restored)
	r.story([]step{{"get /k", out("v\n")}, {"set /k w", out("w\n")}})
	require.Regexp(t, `^[0-9a-f]+: name=alone .* isLeader=true\n$`, r.run("", "member", "list").out)
	require.Equal(t, out("v\n"), c.run("", "get", "/k"), "the old cluster goes on")
}

// What cannot be copied, or must not be overwritten.
func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	c := &tool{t: t, path: etcdctl(t), env: []string{"ETCDCTL_API=2"}}
	dir := t.TempDir()
	refuse := func(want string, words ...string) {
		t.Helper()
		r := c.run("", append([]string{"backup"}, words...)...)
		require.Equal(t, 1, r.code)
		require.Empty(t, r.out)
		require.Regexp(t, `^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} `+want+"\n$", r.err)
	}
	refuse("--data-dir and --backup-dir have to be given")
	refuse("cairn: there is no member's log in "+dir+"/none/member/wal", "--data-dir", dir+"/none", "--backup-dir", dir+"/copy")
	require.NoError(t, os.MkdirAll(dir+"/etcd/member/snap", 0o700))
	require.NoError(t, os.WriteFile(dir+"/etcd/member/snap/db", nil, 0o600))
	refuse("cairn: "+dir+"/etcd/member holds an etcd server's database: .*", "--data-dir", dir+"/etcd", "--backup-dir", dir+"/copy")
	require.NoError(t, os.MkdirAll(dir+"/full/member/wal", 0o700))
	refuse("cairn: "+dir+"/full/member is not empty", "--data-dir", dir+"/none", "--backup-dir", dir+"/full")
	require.NoDirExists(t, dir+"/copy")
}
