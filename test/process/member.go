package process

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Place is a network that is not the test's own: it calls f where sockets and processes that f makes belong to it. The
// nil Place is the test's own network.
type Place func(f func() error) error

func (p Place) do(f func() error) error {
	if p == nil {
		return f()
	}
	return p(f)
}

// Dial connects to a TCP address.
func (p Place) Dial(ctx context.Context, addr string) (conn net.Conn, err error) {
	err = p.do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", addr)
		return err
	})
	return conn, err
}

// Member is one process and its data. It may be killed and started again.
type Member struct {
	T            testing.TB
	Name, Dir    string
	Client, Peer string      // addresses
	TLS          *tls.Config // of those who talk to it, if it serves clients over TLS
	PeerTLS      bool        // it serves members over TLS
	Place        Place       // where it runs
	Flags        []string
	Under        []string // the command, such as nice, that the binary is given to, if any
	Cmd          *exec.Cmd
	Out          *Output       // of the process that was started last
	Ended        chan struct{} // closed when it has ended
}

// NewMember is a member on free ports of this machine. Nothing is started.
func NewMember(t testing.TB, name string, flags ...string) *Member {
	m := &Member{T: t, Name: name, Dir: filepath.Join(t.TempDir(), name), Client: FreeAddr(t), Peer: FreeAddr(t), Flags: flags}
	t.Cleanup(m.Kill)
	return m
}

// URL is where clients find it, PeerURL where other members do.
func (m *Member) URL() string     { return scheme(m.TLS != nil) + m.Client }
func (m *Member) PeerURL() string { return scheme(m.PeerTLS) + m.Peer }

func scheme(secure bool) string {
	if secure {
		return "https://"
	}
	return "http://"
}

// Launch starts the process and does not wait for it to serve.
func (m *Member) Launch(flags ...string) {
	m.T.Helper()
	_ = os.Getenv("CAIRN_BIN") // go test notes what a test reads, not what TestMain does
	NoteSources()
	_, err := os.Stat(Binary)
	require.NoError(m.T, err)
	m.Out = &Output{}
	args := append(slices.Clone(m.Under), Binary, "--name", m.Name, "--data-dir", m.Dir, "--listen-client-urls", m.URL(), "--advertise-client-urls", m.URL(),
		"--listen-peer-urls", m.PeerURL(), "--initial-advertise-peer-urls", m.PeerURL())
	args = slices.Concat(args, m.Flags, flags)
	m.Cmd = exec.Command(args[0], args[1:]...)
	m.Cmd.Stdout, m.Cmd.Stderr = m.Out, m.Out
	m.Cmd.SysProcAttr = dieWithTest()
	m.Cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToLower(v), "=")
		return strings.HasSuffix(name, "_proxy")
	})
	require.NoError(m.T, m.Place.do(m.Cmd.Start))
	cmd, ended := m.Cmd, make(chan struct{})
	m.Ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
}

// Await waits until the member serves.
func (m *Member) Await() {
	m.T.Helper()
	way := &http.Transport{DisableKeepAlives: true, TLSClientConfig: m.TLS, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return m.Place.Dial(ctx, addr)
	}}
	c := http.Client{Transport: way, Timeout: Patience}
	for deadline := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		if resp, err := c.Get(m.URL() + "/health"); err == nil {
			resp.Body.Close()
			return
		}
		select {
		case <-m.Ended:
			m.T.Fatalf("member %s has ended: %s", m.Name, m.Out)
		default:
		}
		if time.Now().After(deadline) {
			m.T.Fatalf("member %s does not serve: %s", m.Name, m.Out)
		}
	}
}

// Start launches the process and waits until it serves.
func (m *Member) Start(flags ...string) {
	m.T.Helper()
	m.Launch(flags...)
	m.Await()
}

// Signal sends a signal to the process.
func (m *Member) Signal(s syscall.Signal) { require.NoError(m.T, m.Cmd.Process.Signal(s)) }

// Kill ends the process without a word.
func (m *Member) Kill() {
	if m.Cmd == nil {
		return
	}
	_ = m.Cmd.Process.Kill()
	<-m.Ended
}

// Stop ends the process as an operator does.
func (m *Member) Stop() {
	m.T.Helper()
	m.Signal(syscall.SIGTERM)
	m.AwaitEnd()
}

// AwaitEnd waits until the process has ended.
func (m *Member) AwaitEnd() {
	m.T.Helper()
	select {
	case <-m.Ended:
	case <-time.After(Patience):
		m.T.Fatalf("member %s does not end: %s", m.Name, m.Out)
	}
}
