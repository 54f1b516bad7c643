package cairn

import (
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFilesAreShared(t *testing.T) {
	for limit, want := range map[uint64]fileBudget{
		151:     {1, 80},
		1024:    {1024 - 150, 80},
		1280:    {1280 - 150, 80},
		2048:    {2048 - 150 - 48, 128},
		20_000:  {20_000 - 150 - 944, 1024},
		1 << 63: {1<<20 - 150 - 944, 1024},
	} {
		b, err := shareFiles(limit)
		require.NoError(t, err, limit)
		require.Equal(t, want, b, limit)
		require.LessOrEqual(t, uint64(b.connections), limit-reservedFiles)
	}
	for _, limit := range []uint64{0, 150} {
		_, err := shareFiles(limit)
		require.ErrorContains(t, err, "file descriptor limit of the process is too low")
	}
}

// Entrances share their places; one that is left is taken by who waits, whatever the kind of connection. Closing lets go who waits.
func TestConnectionsAreBounded(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	unix, err := net.Listen("unix", socket)
	require.NoError(t, err)
	a, b := &entrance{Listener: tcp}, &entrance{Listener: unix}
	fileBudget{connections: 2}.bound(a, b)
	accepted := make(chan net.Conn, 10)
	ended := make(chan error, 2)
	for _, e := range []*entrance{a, b} {
		go func() {
			for {
				c, err := e.Accept()
				if err != nil {
					ended <- err
					return
				}
				accepted <- c
			}
		}()
	}
	dial := func(l net.Listener) net.Conn {
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first, second := dial(tcp), dial(unix)
	one, two := <-accepted, <-accepted
	for _, c := range []net.Conn{one, two} {
		require.Implements(t, (*interface{ CloseWrite() error })(nil), c)
	}
	third, fourth := dial(tcp), dial(unix)
	select {
	case <-accepted:
		t.Fatal("a third connection was let in")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, one.Close())
	require.Error(t, one.Close()) // and leaves no second place
	three := <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection was let in")
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, two.Close())
	four := <-accepted
	require.NoError(t, four.Close())
	require.NoError(t, three.Close())
	for _, c := range []net.Conn{first, second, third, fourth} {
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	}

	dial(tcp)
	dial(unix)
	<-accepted
	<-accepted
	waiting := dial(tcp)
	require.Eventually(t, func() bool { return len(a.Listener.(*boundListener).places) == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, a.Listener.Close())
	require.NoError(t, b.Listener.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.ErrorIs(t, <-ended, net.ErrClosed)
	_, err = waiting.Read(make([]byte, 1))
	require.Error(t, err)
}

// A peer that is gone without a word is noticed: the kernel asks for it.
func TestAcceptedConnectionsAreKeptAlive(t *testing.T) {
	l, err := bind("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	e := &entrance{Listener: l}
	fileBudget{connections: 1}.bound(e)
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	s, err := e.Accept()
	require.NoError(t, err)
	defer s.Close()
	raw, err := s.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	var on int
	var gerr error
	require.NoError(t, raw.Control(func(fd uintptr) { on, gerr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) }))
	require.NoError(t, gerr)
	require.Equal(t, 1, on)
}
