package official

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server that may open few files serves as many connections as leave it what it needs itself. Others wait, and come in when one ends.
func TestConnectionsLeaveFilesToTheServer(t *testing.T) {
	t.Parallel()
	p := &process{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: freeAddr(t), under: []string{"sh", "-c", `ulimit -n 200; exec "$0" "$@"`}}
	p.start()
	t.Cleanup(p.kill)
	c := p.client()
	fill(t, c, 1)
	var open []net.Conn
	t.Cleanup(func() {
		for _, c := range open {
			_ = c.Close()
		}
	})
	ask := func(c net.Conn, wait time.Duration) error {
		require.NoError(t, c.SetDeadline(time.Now().Add(wait)))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.ReadAll(resp.Body)
		return err
	}
	var waiting net.Conn
	for range 200 {
		c, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		open = append(open, c)
		_, err = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		wait := patience
		if len(open) > 40 {
			wait = time.Second
		}
		if err := ask(c, wait); err != nil {
			require.True(t, errors.Is(err, os.ErrDeadlineExceeded), err)
			waiting = c
			break
		}
	}
	require.NotNil(t, waiting, "all of them were let in")
	require.LessOrEqual(t, len(open)-1, 50)
	fill(t, c, 2) // on a connection that is there, with all files that it takes
	require.NoError(t, open[0].Close())
	require.NoError(t, ask(waiting, patience))
	for _, c := range open {
		_ = c.Close()
	}
	p.stop()
}

// One that may open too few says so, and leaves the disk alone.
func TestTooFewFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command("sh", "-c", `ulimit -n 150; exec "$0" "$@"`, binary, "--data-dir", dir, "--listen-client-urls", "http://"+freeAddr(t),
		"--advertise-client-urls", "http://localhost:1", "--listen-peer-urls", "http://127.0.0.1:0")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "file descriptor limit of the process is too low (150)")
	require.NoDirExists(t, dir)
}
