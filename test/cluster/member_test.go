package cluster

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	// Nothing of it is used: go test must not answer from its cache when the server has changed.
	_ "github.com/cairn-kv/cairn"
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
		dir, err := os.MkdirTemp("", "cairn-cluster-")
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
const patience = 30 * time.Second

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
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

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// member is one process and its data. It may be killed and started again.
type member struct {
	t            testing.TB
	name, dir    string
	client, peer string // addresses
	flags        []string
	cmd          *exec.Cmd
	out          *buffer
	ended        chan struct{}
}

func newMember(t testing.TB, name string, flags ...string) *member {
	m := &member{t: t, name: name, dir: filepath.Join(t.TempDir(), name), client: freeAddr(t), peer: freeAddr(t), flags: flags}
	t.Cleanup(m.kill)
	return m
}

func (m *member) url() string     { return "http://" + m.client }
func (m *member) peerURL() string { return "http://" + m.peer }

// launch starts the process and does not wait for it to serve.
func (m *member) launch(flags ...string) {
	m.t.Helper()
	_ = os.Getenv("CAIRN_BIN") // go test notes what a test reads, not what TestMain does
	_, err := os.Stat(binary)
	require.NoError(m.t, err)
	m.out = &buffer{}
	args := append([]string{"--name", m.name, "--data-dir", m.dir, "--listen-client-urls", m.url(), "--advertise-client-urls", m.url(),
		"--listen-peer-urls", m.peerURL(), "--initial-advertise-peer-urls", m.peerURL()}, m.flags...)
	m.cmd = exec.Command(binary, append(args, flags...)...)
	m.cmd.Stdout, m.cmd.Stderr = m.out, m.out
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(m.t, m.cmd.Start())
	cmd, ended := m.cmd, make(chan struct{})
	m.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
}

// await waits until the member serves.
func (m *member) await() {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get(m.url() + "/health"); err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-m.ended:
			m.t.Fatalf("member %s has ended: %s", m.name, m.out)
		default:
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("member %s does not serve: %s", m.name, m.out)
		}
	}
}

func (m *member) start(flags ...string) {
	m.t.Helper()
	m.launch(flags...)
	m.await()
}

func (m *member) signal(s syscall.Signal) { require.NoError(m.t, m.cmd.Process.Signal(s)) }

func (m *member) kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill()
	<-m.ended
}

// stop ends the process as an operator does.
func (m *member) stop() {
	m.t.Helper()
	m.signal(syscall.SIGTERM)
	m.awaitEnd()
}

func (m *member) awaitEnd() {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(patience):
		m.t.Fatalf("member %s does not end: %s", m.name, m.out)
	}
}

// group is the members of a cluster.
type group struct {
	t       testing.TB
	members []*member
}

// newGroup starts a cluster of n members, named a, b, c and so on.
func newGroup(t testing.TB, n int, flags ...string) *group {
	t.Helper()
	g := &group{t: t}
	for i := range n {
		g.members = append(g.members, newMember(t, string(rune('a'+i)), flags...))
	}
	for _, m := range g.members {
		m.launch("--initial-cluster", g.initial())
	}
	for _, m := range g.members {
		m.await()
	}
	return g
}

// initial is the value of --initial-cluster.
func (g *group) initial(more ...*member) string {
	var parts []string
	for _, m := range append(append([]*member(nil), g.members...), more...) {
		parts = append(parts, m.name+"="+m.peerURL())
	}
	return strings.Join(parts, ",")
}

// connect is a client of some members, of all if none are named.
func (g *group) connect(ms ...*member) *clientv3.Client {
	g.t.Helper()
	if len(ms) == 0 {
		ms = g.members
	}
	var endpoints []string
	for _, m := range ms {
		endpoints = append(endpoints, m.url())
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: patience, Logger: zap.NewNop()})
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

// leader is the member that leads, once one does.
func (g *group) leader() *member {
	g.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, m := range g.members {
			if s := g.status(m); s != nil && s.Leader == s.Header.MemberId {
				return m
			}
		}
	}
	g.t.Fatal("nobody leads")
	return nil
}

func (g *group) followers() (out []*member) {
	l := g.leader()
	for _, m := range g.members {
		if m != l {
			out = append(out, m)
		}
	}
	return out
}

// status is what a member says of itself, nil if it does not.
func (g *group) status(m *member) *clientv3.StatusResponse {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{m.url()}, Logger: zap.NewNop()})
	require.NoError(g.t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := c.Status(ctx, m.url())
	if err != nil {
		return nil
	}
	return s
}

// agree waits until all members have applied the same and checks that they hold the same.
func (g *group) agree() {
	g.t.Helper()
	same := func() bool {
		var first *clientv3.StatusResponse
		for _, m := range g.members {
			s := g.status(m)
			if s == nil {
				return false
			}
			if first == nil {
				first = s
			} else if s.RaftAppliedIndex != first.RaftAppliedIndex || s.Header.Revision != first.Header.Revision {
				return false
			}
		}
		return true
	}
	require.Eventually(g.t, same, patience, 50*time.Millisecond, "the members do not come to the same index")
	hashes := map[uint32]string{}
	for _, m := range g.members {
		c := g.connect(m)
		h, err := c.HashKV(within(g.t, patience), m.url(), 0)
		require.NoError(g.t, err)
		hashes[h.Hash] += m.name
	}
	require.Len(g.t, hashes, 1, "the members hold different data: %v", hashes)
}
