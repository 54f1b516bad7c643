package ctl

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// limit bounds every wait of these tests; it is only reached by failures.
const limit = 10 * time.Second

const (
	header      = `{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":REV,"raft_term":2}`
	memberHead  = `{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"raft_term":2}`
	fieldHeader = `"ClusterID" : 14841639068965178418
"MemberID" : 10276657743932975437
"Revision" : REV
"RaftTerm" : 2
`
)

// at puts a revision into the texts above.
func at(text, rev string) string { return strings.ReplaceAll(text, "REV", rev) }

// result is what a run left.
type result struct {
	out, err string
	code     int
}

// run executes one command line against a fake, without any environment.
func run(t *testing.T, s *fake.Server, stdin string, args ...string) result {
	t.Helper()
	return runEnv(t, s, nil, stdin, args...)
}

func runEnv(t *testing.T, s *fake.Server, env []string, stdin string, args ...string) result {
	t.Helper()
	p, out, errs := program(t, s, stdin, args...)
	p.Environ = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	code := p.Run()
	return result{out.String(), errs.String(), code}
}

func program(t *testing.T, s *fake.Server, stdin string, args ...string) (*Program, *syncBuffer, *syncBuffer) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	if s != nil {
		args = append([]string{"--endpoints", s.Addr}, args...)
	}
	out, errs := newSyncBuffer(), newSyncBuffer()
	p := &Program{
		Args: args, Stdin: strings.NewReader(stdin), Stdout: out, Stderr: errs,
		Environ: []string{"PATH=" + os.Getenv("PATH")}, Context: ctx, Signals: make(chan os.Signal),
		sleep: noSleep,
	}
	return p, out, errs
}

// syncBuffer is a buffer that can be waited on.
type syncBuffer struct {
	mu   sync.Mutex
	more *sync.Cond
	b    bytes.Buffer
}

func newSyncBuffer() *syncBuffer {
	s := &syncBuffer{}
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.more.Broadcast()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// await waits until the text contains want.
func (s *syncBuffer) await(t *testing.T, want string) {
	t.Helper()
	stop := time.AfterFunc(limit, s.more.Broadcast)
	defer stop.Stop()
	deadline := time.Now().Add(limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	for !strings.Contains(s.b.String(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("expected %q in %q", want, s.b.String())
		}
		s.more.Wait()
	}
}

// example is one command line with what it has to leave.
type example struct {
	name  string
	setup func(s *fake.Server)
	stdin string
	args  string // split at blanks; '' is an empty word
	want  result
}

func (e example) words() []string {
	words := strings.Fields(e.args)
	for i, w := range words {
		if w == "''" {
			words[i] = ""
		}
	}
	return words
}

func try(t *testing.T, list []example) {
	t.Helper()
	for _, e := range list {
		name := e.name
		if name == "" {
			name = e.args
		}
		t.Run(name, func(t *testing.T) {
			s := fake.Start(t)
			if e.setup != nil {
				e.setup(s)
			}
			require.Equal(t, e.want, run(t, s, e.stdin, e.words()...))
		})
	}
}

func foobar(s *fake.Server) { s.Set("foo=bar") }

func TestProcessModel(t *testing.T) {
	for _, tc := range []struct {
		args     string
		code     int
		out, err string // parts
	}{
		{"version", 0, "etcdctl version: 3.7.3\nAPI version: 3.7\n", ""},
		{"", 0, "Key-value commands:", ""},
		{"help", 0, `Use "etcdctl options" for a list of global command-line options (applies to all commands).` + "\n", ""},
		{"get --help", 0, "--print-value-only", ""},
		{"-h", 0, "Cluster maintenance commands:", ""},
		{"options", 0, "The following options can be passed to any command:\n\n", ""},
		{"member", 0, "promote", ""},
		{"foo", 1, "", "Error: unknown command \"foo\" for \"etcdctl\"\nRun 'etcdctl --help' for usage.\n"},
		{"member lst", 1, "", "Error: unknown command \"lst\" for \"etcdctl member\"\n"},
		{"endpoint h", 1, "", "Error: unknown command \"h\" for \"etcdctl endpoint\"\n"},
		{"get --foo k", 1, "", "Error: unknown flag: --foo\nUsage:"},
		{"get --limit x k", 1, "", `Error: invalid argument "x" for "--limit" flag:`},
		{"--version", 1, "", "Error: unknown flag: --version\n"},
		{"completion bash", 0, "__start_etcdctl", ""},
		{"completion zsh", 0, "#compdef etcdctl", ""},
		{"completion fish", 0, "complete -c etcdctl", ""},
		{"completion powershell", 0, "Register-ArgumentCompleter", ""},
		{"completion", 1, "", "Error: "},
		{"completion tcsh", 1, "", "Error: "},
		{"__complete get --order ''", 0, "ASCEND\nDESCEND\n", ""},
		{"__complete --write-out ''", 0, "protobuf\n", ""},
		{"snapshot status f", 1, "", "Error: snapshot status works on files: use \"etcdutl snapshot status\"\n"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			got := run(t, nil, "", example{args: tc.args}.words()...)
			require.Equal(t, tc.code, got.code, got.err)
			require.Contains(t, got.out, tc.out)
			require.Contains(t, got.err, tc.err)
			if tc.out == "" {
				require.Empty(t, got.out)
			}
		})
	}
}

func TestPrefixesSelectCommands(t *testing.T) {
	s := fake.Start(t)
	s.Set("a=1", "a=2")
	require.Equal(t, result{"compacted revision 3\n", "", 0}, run(t, s, "", "compact", "3"))
	require.Equal(t, 0, run(t, s, "", "endpoint", "stat").code)
	require.Equal(t, "a\n2\n", run(t, s, "", "ge", "a").out)
}

func TestMovedAndOtherTools(t *testing.T) {
	tool := func(code int) Tool {
		return func(args []string, _ io.Reader, stdout, _ io.Writer) int {
			io.WriteString(stdout, strings.Join(args, " "))
			return code
		}
	}
	p, out, errs := program(t, nil, "", "snapshot", "restore", "f", "--data-dir", "d")
	p.Offline = tool(7)
	require.Equal(t, 7, p.Run())
	require.Equal(t, "snapshot restore f --data-dir d", out.String())
	require.Equal(t, "Deprecated: Use `etcdutl snapshot restore` instead.\n\n", errs.String())

	p, out, _ = program(t, nil, "", "set", "k")
	p.Environ, p.V2 = []string{"ETCDCTL_API=2"}, tool(0)
	require.Equal(t, 0, p.Run())
	require.Equal(t, "set k", out.String())

	for _, api := range []string{"2", "9", "v3"} { // G-01
		p, out, errs = program(t, nil, "", "get", "k")
		p.Environ = []string{"ETCDCTL_API=" + api}
		require.Equal(t, 1, p.Run())
		require.Equal(t, "unsupported API version "+api+"\n", errs.String())
		require.Empty(t, out.String())
	}
}

// noSleep passes over short waits; long ones last until the command ends.
func noSleep(ctx context.Context, d time.Duration) error {
	if d > limit {
		<-ctx.Done()
	}
	return ctx.Err()
}
