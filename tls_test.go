package cairn

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
	"github.com/cairn-kv/cairn/test/certs"
)

func parsed(t *testing.T, s string) []url.URL {
	us, err := parseURLs(s)
	require.NoError(t, err)
	return us
}

// echo lets connections in and sends back what they send.
func echo(t *testing.T, e *entrance) {
	done := make(chan error, 1)
	go func() {
		done <- e.run(func(c net.Conn) (func(), error) {
			return func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}, nil
		})
	}()
	t.Cleanup(func() {
		_ = e.Close()
		require.ErrorIs(t, <-done, net.ErrClosed)
	})
}

func answers(c net.Conn) error {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != "hello" {
		return errors.New(string(b))
	}
	return nil
}

func secretsOf(t *testing.T) (*tlsfiles.Source, *tls.Config) {
	ca := certs.NewCA(t, "ca")
	p := ca.Issue(t, "", []string{"127.0.0.1"})
	src, err := tlsfiles.Open(tlsfiles.Options{Files: tlsfiles.Files{Cert: p.Cert, Key: p.Key}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return src, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
}

// L-04: listeners of both kinds, and both kinds on one.
func TestEntrances(t *testing.T) {
	src, client := secretsOf(t)
	socket := filepath.Join(t.TempDir(), "s")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	both := free.Addr().String()
	require.NoError(t, free.Close())
	es, err := listen(parsed(t, "http://127.0.0.1:0,https://"+both+",http://"+both+",unixs://"+socket), src, "http/1.1")
	require.NoError(t, err)
	require.Len(t, es, 3, "one listener for each address")
	for i, want := range []struct {
		url           string
		plain, secure bool
	}{{"http://" + es[0].Addr().String(), true, false}, {"http://" + both, true, true}, {"unixs://" + socket, false, true}} {
		e := es[i]
		require.Equal(t, want.url, e.URL())
		echo(t, e)
		dial := func() net.Conn {
			c, err := net.Dial(e.Addr().Network(), e.Addr().String())
			require.NoError(t, err)
			return c
		}
		require.Equal(t, want.plain, answers(dial()) == nil)
		if want.secure {
			require.NoError(t, answers(tls.Client(dial(), client)))
		} else {
			c := dial() // it echoes the greeting of TLS, which is no answer to it
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			require.Error(t, tls.Client(c, client).HandshakeContext(t.Context()))
			_ = c.Close()
		}
	}
}

// A socket that somebody has left behind makes room, one that is in use and what is no socket do not.
func TestSocketsInTheFileSystem(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
	require.NoError(t, err)
	_, err = bind("unix", name)
	require.ErrorContains(t, err, "address already in use")
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	again, err := bind("unix", name)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.NoError(t, os.WriteFile(name, []byte("mine"), 0o600))
	_, err = bind("unix", name)
	require.ErrorContains(t, err, "is no socket")
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
}

// Whoever has not been let in yet is let go when the entrance closes.
func TestClosingAnEntrance(t *testing.T) {
	src, _ := secretsOf(t)
	es, err := listen(parsed(t, "https://127.0.0.1:0"), src, "h2")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- es[0].run(func(net.Conn) (func(), error) { return func() {}, nil }) }()
	c, err := net.Dial("tcp", es[0].Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.Eventually(t, func() bool {
		es[0].mu.Lock()
		defer es[0].mu.Unlock()
		return len(es[0].pending) == 1
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, es[0].Close())
	select {
	case err := <-done:
		require.ErrorIs(t, err, net.ErrClosed)
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for a handshake")
	}
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
}

// L-02, L-03, D-48: what options make of the files.
func TestWhatIsAskedOfOthers(t *testing.T) {
	ca := certs.NewCA(t, "ca")
	p := ca.Issue(t, "", []string{"127.0.0.1"})
	log := slog.New(slog.DiscardHandler)
	open := func(args ...string) (Config, secrets) {
		c, err := check(append(args, "--data-dir", t.TempDir(), "--advertise-client-urls=http://localhost:1"), nil)
		require.NoError(t, err)
		s, err := c.openTLS(log)
		require.NoError(t, err)
		return c, s
	}
	asks := func(s *tlsfiles.Source) tls.ClientAuthType {
		c, err := s.Server("h2").GetConfigForClient(&tls.ClientHelloInfo{Conn: &net.TCPConn{}})
		require.NoError(t, err)
		return c.ClientAuth
	}
	serve := []string{"--listen-client-urls=https://127.0.0.1:0", "--cert-file", p.Cert, "--key-file", p.Key}
	c, s := open(serve...)
	require.Equal(t, tls.NoClientCert, asks(s.clients))
	require.Empty(t, s.peers.Client().ServerName)
	_, s = open(append(serve, "--trusted-ca-file", ca.File)...)
	require.Equal(t, tls.RequireAndVerifyClientCert, asks(s.clients))
	require.False(t, c.ClientTLS.ClientCertAuth, "their names are no users'")
	c, s = open(append(serve, "--ca-file", ca.File)...)
	require.Equal(t, tls.RequireAndVerifyClientCert, asks(s.clients))
	require.True(t, c.ClientTLS.ClientCertAuth)
	_, s = open(append(serve, "--client-cert-auth")...)
	require.Equal(t, tls.RequireAndVerifyClientCert, asks(s.clients))
	_, s = open("--discovery-srv", "members.example")
	require.Equal(t, "members.example", s.peers.Client().ServerName)
	_, s = open("--discovery-srv", "members.example", "--peer-trusted-ca-file", ca.File)
	require.Empty(t, s.peers.Client().ServerName)
	_, s = open("--peer-auto-tls", "--listen-peer-urls=https://127.0.0.1:0")
	require.True(t, s.peers.Client().InsecureSkipVerify)
	require.Nil(t, s.clients)
}
