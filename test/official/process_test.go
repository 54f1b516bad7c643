package official

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	processes "github.com/cairn-kv/cairn/test/process"
)

var long = flag.Bool("long", false, "run the long variants")

// binary is the server under test.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if binary = os.Getenv("CAIRN_BIN"); binary == "" {
		dir, err := os.MkdirTemp("", "cairn-official-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "cairn")
		build := exec.Command("go", "build", "-o", binary, "../../cmd/cairn")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the server:", err)
			return 1
		}
	}
	return m.Run()
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// process is one server and its data directory. It may be killed and started again, on the same address.
type process struct {
	t     testing.TB
	dir   string
	addr  string
	flags []string
	under []string // the command that the binary is given to, if any
	cmd   *exec.Cmd
	out   *buffer
	ended chan error
}

// start starts a server on an empty directory and waits until it serves.
func start(t testing.TB, flags ...string) *process {
	t.Helper()
	p := &process{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: freeAddr(t), flags: flags}
	p.start()
	t.Cleanup(p.kill)
	return p
}

// freeAddr is an address that nobody listens on at the moment.
func freeAddr(t testing.TB) string { return processes.FreeAddr(t) }

func (p *process) url() string { return "http://" + p.addr }

// launch starts the server and returns without waiting for it.
func (p *process) launch() {
	p.t.Helper()
	_ = os.Getenv("CAIRN_BIN") // go test notes what a test reads, not what TestMain does
	processes.NoteSources()
	_, err := os.Stat(binary)
	require.NoError(p.t, err)
	p.out = &buffer{}
	args := append(slices.Clone(p.under), binary, "--data-dir", p.dir, "--listen-client-urls", p.url(), "--advertise-client-urls", p.url(),
		"--listen-peer-urls", "http://127.0.0.1:0")
	args = append(args, p.flags...)
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(p.t, p.cmd.Start())
	ended := make(chan error, 1)
	cmd := p.cmd
	go func() { ended <- cmd.Wait() }()
	p.ended = ended
}

func (p *process) start() {
	p.t.Helper()
	p.launch()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if resp, err := http.Get(p.url() + "/health"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			p.t.Fatalf("the server ended before it served: %v\n%s", err, p.out)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server does not serve\n%s", p.out)
		}
	}
}

// kill ends the server as a crash of the process would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	err := <-p.ended
	p.ended <- err
}

// stop ends the server politely. Its exit code must be 0.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.ended:
		p.ended <- err
		require.NoError(p.t, err, "%s", p.out)
	case <-time.After(patience):
		p.t.Fatalf("the server does not stop\n%s", p.out)
	}
}

// refusal starts the server and returns what it printed. It must end with an error.
func (p *process) refusal() string {
	p.t.Helper()
	p.launch()
	select {
	case err := <-p.ended:
		p.ended <- err
		require.Error(p.t, err, "the server ended without an error\n%s", p.out)
	case <-time.After(patience):
		p.t.Fatalf("the server runs, although it should refuse to\n%s", p.out)
	}
	return p.out.String()
}

// alive fails the test if the server has ended by itself.
func (p *process) alive() {
	p.t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		p.t.Fatalf("the server has ended: %v\n%s", err, p.out)
	default:
	}
}

func (p *process) client(change ...func(*clientv3.Config)) *clientv3.Client {
	p.t.Helper()
	cfg := clientv3.Config{Endpoints: []string{p.addr}, DialTimeout: patience, Logger: zap.NewNop()}
	for _, f := range change {
		f(&cfg)
	}
	c, err := clientv3.New(cfg)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = c.Close() })
	return c
}

// buffer collects what a process prints.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
