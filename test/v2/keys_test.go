package v2

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// Section 14 of v2-etcdctl.md, row by row.
func TestAcceptanceRun(t *testing.T) {
	t.Parallel()
	m := start(t)
	c := newTool(t, m)
	c.story([]step{
		{"set /t/a 1", out("1\n")},
		{"get /t/a", out("1\n")},
		{"mk /t/a 2", refused("105: Key already exists (/t/a) [4]")},
		{"update /t/a 2", out("2\n")},
		{"set /t/a 3 --swap-with-index 4", refused("101: Compare failed ([4 != 5]) [5]")},
		{"set /t/a 3 --swap-with-index 5", out("3\n")},
		{"mkdir /t/d", result{}},
		{"ls -p --sort /t", out("/t/a\n/t/d/\n")},
		{"get /t/d", result{err: "/t/d: is a directory\n", code: 1}},
		{"rm /t/d", refused("102: Not a file (/t/d) [7]")},
		{"rmdir /t/d", result{}},
		{"rm /t/a", out("PrevNode.Value: 3\n")},
		{"get /t/a", refused("100: Key not found (/t/a) [9]")},
		{"set /t/a", result{err: "Error:  value required\n", code: 1}},
		{"get", result{err: "Error:  key required\n", code: 1}},
		{"-o yaml set /t/b 1", result{err: "Unsupported output format: yaml\n"}},
		{"watch --after-index 9 /t/b", out("1\n")},
		{"nonsense", result{err: "No help topic for 'nonsense'\n", code: 3}},
	})
	r := c.run("", "cluster-health")
	require.Equal(t, 0, r.code)
	require.Regexp(t, `^member [0-9a-f]+ is healthy: got healthy result from `+m.URL()+"\ncluster is healthy\n$", r.out)
	nobody := process.FreeAddr(t)
	for code, words := range map[int][]string{2: {"--endpoints", "http://" + nobody, "get", "/x"}, 4: {"--no-sync", "--endpoints", "http://" + nobody, "get", "/x"}} {
		r = c.run("", words...)
		require.Equal(t, code, r.code)
		require.True(t, strings.HasPrefix(r.err, "Error:  client: etcd cluster is unavailable or misconfigured; error #0: dial tcp "+nobody), r.err)
	}
	r = c.run("", "--bogus", "ls")
	require.True(t, strings.HasPrefix(r.out, "Incorrect Usage.\n\nNAME:\n   etcdctl - "), r.out)
	require.Equal(t, result{r.out, "flag provided but not defined: -bogus\n", 1}, r)
	c.env = []string{"ETCDCTL_API=9"}
	require.Equal(t, result{err: "unsupported API version 9\n", code: 1}, c.run("", "ls"))
}

// The worked examples of section 7 of v2-etcdctl.md, one after the other.
func TestWorkedExamples(t *testing.T) {
	t.Parallel()
	c := newTool(t, start(t))
	c.story([]step{
		{"set /app/color red", out("red\n")},
		{"set /app/color blue --swap-with-value red", out("blue\n")},
		{"set /app/color x --swap-with-value red", refused("101: Compare failed ([red != blue]) [5]")},
		{`set /app/text <<< two\nlines\n`, out("two\nlines\n\n")},
		{"-o extended set /app/color green --ttl 60", out("Key: /app/color\nCreated-Index: 7\nModified-Index: 7\nPrevNode.Value: blue\nTTL: 60\nIndex: 7\n\ngreen\n")},
		{"set -- /app/neg -5", out("-5\n")},
		{"mk /app/new v", out("v\n")},
		{"mk /app/new v", refused("105: Key already exists (/app/new) [9]")},
		{"-o extended mk --in-order /jobs j1", out("Key: /jobs/00000000000000000010\nCreated-Index: 10\nModified-Index: 10\nTTL: 0\nIndex: 10\n\nj1\n")},
		{"get /app/color", out("green\n")},
		{"get app/color", out("green\n")},
		{"get /app", result{err: "/app: is a directory\n", code: 1}},
		{"get /nope", refused("100: Key not found (/nope) [10]")},
		{"ls --sort", out("/app\n/jobs\n")},
		{"ls -p --sort /", out("/app/\n/jobs/\n")},
		{"ls --recursive --sort /app", out("/app/color\n/app/neg\n/app/new\n/app/text\n")},
		{"ls /app/color", out("/app/color\n")},
		{"update /app/color grey", out("grey\n")},
		{"update /nope x", refused("100: Key not found (/nope) [11]")},
		{"mkdir /d --ttl 30", result{}},
		{"mkdir /d", refused("105: Key already exists (/d) [12]")},
		{"setdir /d", refused("102: Not a file (/d) [12]")},
		{"setdir /d2", result{}},
		{"updatedir /d --ttl 60", result{}},
		{"-o extended updatedir /d --ttl 60", out("Key: /d\nCreated-Index: 12\nModified-Index: 15\nPrevNode.Value: \nTTL: 60\nIndex: 15\n\n\n")},
		{"rm /app/neg", out("PrevNode.Value: -5\n")},
		{"rm /app", refused("102: Not a file (/app) [16]")},
		{"rmdir /app", refused("108: Directory not empty (/app) [16]")},
		{"rm /app/new --with-value nope", refused("101: Compare failed ([nope != v]) [16]")},
		{"rm /app/new --with-value v", out("\n")},
		{"rm --recursive /app", result{}},
		{"rm /d2 --dir", result{}},
		{"set /x 1", out("1\n")},
		{"-o extended rm /x", out("Key: /x\nCreated-Index: 20\nModified-Index: 21\nPrevNode.Value: 1\nTTL: 0\nIndex: 21\n")},
		{"-o json set /j v", out(`{"action":"set","node":{"key":"/j","value":"v","nodes":null,"createdIndex":22,"modifiedIndex":22},"prevNode":null}` + "\n")},
		{"-o json get /j", out(`{"action":"get","node":{"key":"/j","value":"v","nodes":null,"createdIndex":22,"modifiedIndex":22},"prevNode":null}` + "\n")},
	})
}

// G-01, G-02: which command line it is.
func TestWhichAPI(t *testing.T) {
	t.Parallel()
	m := start(t)
	c := newTool(t, m)
	rest := c.env[2:]
	for _, way := range []struct {
		path, env string
		first     []string
		v2        bool
	}{
		{c.path, "ETCDCTL_API=2", nil, true},
		{c.path, "ETCDCTL_API=3", nil, false},
		{c.path, "ETCDCTL_API=", nil, false},
		{c.path, "X=", nil, false},
		{process.Binary, "ETCDCTL_API=2", []string{"ctl"}, true},
		{process.Binary, "ETCDCTL_API=2", []string{"etcdctl"}, true},
		{process.Binary, "X=", []string{"ctl"}, false},
		{process.Binary, "X=", []string{"ctl2"}, true},
		{process.Binary, "ETCDCTL_API=3", []string{"ctl2"}, true},
	} {
		c.path, c.first, c.env = way.path, way.first, append([]string{"PATH=" + os.Getenv("PATH"), way.env}, rest...)
		if way.v2 {
			require.Equal(t, out("v\n"), c.run("", "set", "k", "v"), "%v", way)
		} else {
			require.Equal(t, out("OK\n"), c.run("", "put", "k", "v"), "%v", way)
		}
	}
}
