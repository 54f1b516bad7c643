package v2

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	_ "github.com/cairn-kv/cairn/internal/ctl2"
	"github.com/cairn-kv/cairn/test/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// start runs a cluster of one member.
func start(t *testing.T, flags ...string) *process.Member {
	t.Helper()
	m := process.NewMember(t, "infra0", append([]string{"--enable-v2"}, flags...)...)
	m.Start("--initial-cluster", "infra0="+m.PeerURL())
	return m
}

// etcdctl is the binary under the name that makes it the command line.
func etcdctl(t *testing.T) string {
	link := filepath.Join(t.TempDir(), "etcdctl")
	require.NoError(t, os.Symlink(process.Binary, link))
	return link
}

// result is what a command line left.
type result struct {
	out, err string
	code     int
}

// tool is the command line for a member.
type tool struct {
	t     *testing.T
	path  string
	env   []string
	first []string // the first words of each command line
}

func newTool(t *testing.T, m *process.Member) *tool {
	return &tool{t: t, path: etcdctl(t), env: []string{"PATH=" + os.Getenv("PATH"), "ETCDCTL_API=2", "ETCDCTL_ENDPOINTS=" + m.URL()}}
}

func (c *tool) command(ctx context.Context, words ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.path, append(append([]string(nil), c.first...), words...)...)
	cmd.Env = c.env
	return cmd
}

func (c *tool) run(stdin string, words ...string) result {
	c.t.Helper()
	cmd := c.command(process.Within(c.t, process.Patience), words...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// step is a command line of a story, and what it has to lead to.
type step struct {
	line string // words between blanks; single quotes hold blanks together
	want result
}

func (c *tool) story(steps []step) {
	c.t.Helper()
	for _, s := range steps {
		line, stdin, _ := strings.Cut(s.line, " <<< ")
		got := c.run(strings.ReplaceAll(stdin, `\n`, "\n"), split(line)...)
		got.out = moment.ReplaceAllString(got.out, "TIME")
		require.Equal(c.t, s.want, got, s.line)
	}
}

var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// split takes words apart at blanks outside of single quotes.
func split(text string) (out []string) {
	for i, part := range strings.Split(text, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

func out(s string) result { return result{out: s} }

func refused(s string) result { return result{err: "Error:  " + s + "\n", code: 4} }
