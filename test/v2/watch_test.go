package v2

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// running is a command line that has not ended.
type running struct {
	t         *testing.T
	cmd       *exec.Cmd
	out, errs *process.Output
}

func (c *tool) start(words ...string) *running {
	c.t.Helper()
	r := &running{c.t, c.command(process.Within(c.t, process.Patience), words...), &process.Output{}, &process.Output{}}
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.errs
	require.NoError(c.t, r.cmd.Start())
	c.t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// shows waits for what the command line prints.
func (r *running) shows(want string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.out.String() == want }, process.Patience, 10*time.Millisecond, "wanted %q, got %q, %q", want, r.out, r.errs)
}

// interrupt is Ctrl-C.
func (r *running) interrupt() int {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(os.Interrupt))
	_ = r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// The example of section 8, W-C01, W-C03 to W-C05.
func TestWatch(t *testing.T) {
	t.Parallel()
	c := newTool(t, start(t))
	w := c.start("watch", "--recursive", "--forever", "--after-index", "3", "/cfg")
	c.story([]step{
		{"set /cfg/a 1", out("1\n")}, {"set /cfg/b 2", out("2\n")}, {"mkdir /cfg/d", result{}}, {"rm /cfg/a", out("PrevNode.Value: 1\n")},
		{"set /cfg/e 1 --ttl 1", out("1\n")},
	})
	w.shows("[set] /cfg/a\n1\n[set] /cfg/b\n2\n[delete] /cfg/a\nPrevNode.Value: 1\n[set] /cfg/e\n1\n[expire] /cfg/e\n\n")
	require.Equal(t, 0, w.interrupt())
	require.Empty(t, w.errs.String())

	one := c.start("watch", "--after-index", "20", "/cfg/b")
	for range 20 { // most of them with a lower index
		c.run("", "set", "/cfg/b", "x")
	}
	require.NoError(t, one.cmd.Wait())
	require.Equal(t, "x\n", one.out.String())
}

// W-C06: what has been forgotten, and a member that goes away.
func TestWatchFails(t *testing.T) {
	t.Parallel()
	m := start(t)
	c := newTool(t, m)
	w := c.start("watch", "--forever", "/k")
	require.Eventually(t, func() bool { return c.run("", "set", "/k", "v").code == 0 && w.out.String() != "" }, process.Patience, 10*time.Millisecond)
	require.NoError(t, m.Cmd.Process.Signal(syscall.SIGKILL))
	m.AwaitEnd()
	_ = w.cmd.Wait()
	require.Equal(t, 4, w.cmd.ProcessState.ExitCode())
	require.Contains(t, w.errs.String(), "Error:  client: etcd cluster is unavailable or misconfigured; error #0: ")
}

// W-C10, W-C12, G-03: the program sees the change, and not which API it came through.
func TestExecWatch(t *testing.T) {
	t.Parallel()
	c := newTool(t, start(t))
	c.run("", "set", "/cfg/b", "1")
	w := c.start("exec-watch", "--recursive", "--after-index", "3", "/cfg", "--", "sh", "-c",
		`echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY=$ETCD_WATCH_VALUE @$ETCD_WATCH_MODIFIED_INDEX API=$ETCDCTL_API"`)
	w.shows("set /cfg/b=1 @4 API=\n")
	c.run("", "mkdir", "/cfg/d")
	c.run("", "set", "/cfg/c", "9")
	w.shows("set /cfg/b=1 @4 API=\nset /cfg/c=9 @6 API=\n")
	require.Equal(t, 0, w.interrupt())
	require.Equal(t, "Ignored dir /cfg/d change\n", w.errs.String())
}
