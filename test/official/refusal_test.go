package official

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What cannot start says why in one line, with an exit code that scripts can tell apart, and leaves the disk alone.
func TestWhatCannotStart(t *testing.T) {
	t.Parallel()
	urls := "--listen-client-urls=http://" + freeAddr(t) + " --advertise-client-urls=http://localhost:1 --listen-peer-urls=http://127.0.0.1:0 "
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--data-dir=file", 1, "cannot make the data directory file: "},
		{"--data-dir=file/data", 1, "cannot make the data directory file/data: "},
		{"--data-dir=new --wal-dir=file", 1, "wal: create file: not a directory"},
		{"--data-dir=new --log-outputs=.", 1, "--log-outputs: open .: is a directory"},
		{"--data-dir=new --initial-cluster-state=existing", 1, "--initial-cluster names no other member to ask"},
		{"--data-dir=new --initial-cluster=a=http://localhost:1", 1, `couldn't find local name "default" in the initial cluster configuration`},
		{"--data-dir=new --initial-cluster=default=http://localhost:1", 1, "missing from --initial-advertise-peer-urls"},
		{"--data-dir=new --peer-cert-file=file", 1, "TLS for members: KeyFile and CertFile must both be present[key: , cert: file]"},
		{"--data-dir=new --peer-trusted-ca-file=file", 1, "TLS for members: no certificate found in file"},
		{"--data-dir=new --listen-metrics-urls=https://127.0.0.1:0 --cert-file=file --key-file=file", 1, "TLS for clients: tls: failed to find any PEM data"},
		{"--data-dir=new --peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b", 1, "mutually exclusive"},
		{"--data-dir=new --listen-client-urls=unix://file", 1, "file is there and is no socket"},
		{"--data-dir=new --listen-client-urls=http://192.0.2.1:1", 1, "cannot listen on http://192.0.2.1:1"},
		{"--data-dir=new --listen-client-urls=unix:///nowhere/socket", 1, "cannot listen on unix:///nowhere/socket"},
		{"--data-dir=new --log-level=loud", 1, `unrecognized level: "loud"`},
		{"--data-dir=new --quota-backend-bytes=much", 2, "a whole number is expected"},
		{"--data-dir=new --wings", 2, "flag provided but not defined: -wings"},
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		cmd := exec.CommandContext(within(t, patience), binary, strings.Fields(urls+c.args)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.Error(t, err, c.args)
		require.Equal(t, c.code, cmd.ProcessState.ExitCode(), "%s: %s", c.args, out)
		require.Contains(t, string(out), c.want, c.args)
		fi, err := os.Stat(filepath.Join(dir, "file"))
		require.NoError(t, err)
		require.True(t, fi.Mode().IsRegular(), c.args)
		if !strings.Contains(c.args, "--wal-dir") {
			require.NoDirExists(t, filepath.Join(dir, "new"), c.args)
		}
	}
}

// A member that has data does not look at what was for its first start.
func TestBootstrapOptionsAreForTheFirstStart(t *testing.T) {
	t.Parallel()
	p := start(t)
	fill(t, p.client(), 1)
	p.stop()
	p.flags = []string{"--initial-cluster-state=existing", "--initial-cluster=a=http://localhost:1,b=http://localhost:2", "--initial-cluster-token=other"}
	p.start()
	get, err := p.client().Get(within(t, patience), "key0")
	require.NoError(t, err)
	require.EqualValues(t, 1, get.Count)
	p.stop()
}

// Version and help are given wherever they are asked for.
func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(binary, "--name", "x", "-version").Output()
	require.NoError(t, err)
	require.Regexp(t, `^etcd Version: \d+\.\d+\.\d+\nGit SHA: .+\nGo Version: go.+\nGo OS/Arch: \w+/\w+\n$`, string(out))
	out, err = exec.Command(binary, "--name", "x", "--help").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "--data-dir")
}
