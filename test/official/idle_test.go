package official

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A connection that does not become a request costs nothing for long.
func TestSilentConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	p := start(t)
	limit := 12 * time.Second
	heads := []string{"", "P", "GE", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\xff\xff\x04\x00\x00\x00\x00\x00"}
	if *long {
		limit = 35 * time.Second
		heads = append(heads, "GET /health HTTP/1.1\r\nX: ", "GET /v2/keys/k HTTP/1.1\r\nHos")
	}
	var wg sync.WaitGroup
	for i := range 50 * len(heads) {
		c, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, heads[i%len(heads)])
		require.NoError(t, err)
		wg.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(limit))
			_, err := io.Copy(io.Discard, c)
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("still open after %v: %q", limit, heads[i%len(heads)])
			}
		})
	}
	if *long { // those who send on and on, and those who come as members
		for _, head := range []string{"GET /health HTTP/1.1\r\nHost: a\r\nX: ", "GET /v2/keys/k HTTP/1.1\r\nHost: ", "PUT /v2/keys/k HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n", "GET /ra", ""} {
			addrs := []string{peerAddress.FindStringSubmatch(p.out.String())[1]}
			if strings.HasPrefix(head, "GET /health") || strings.HasPrefix(head, "GET /ra") {
				addrs = append(addrs, p.addr)
			} else if head != "" {
				addrs = []string{p.addr}
			}
			for _, addr := range addrs {
				c, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer c.Close()
				_, err = io.WriteString(c, head)
				require.NoError(t, err)
				over := make(chan struct{})
				wg.Go(func() {
					defer close(over)
					_ = c.SetReadDeadline(time.Now().Add(limit))
					if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("still open after %v: %q to %s", limit, head, addr)
					}
				})
				wg.Go(func() {
					for head != "" {
						select {
						case <-over:
							return
						case <-time.After(time.Second):
							_, _ = c.Write([]byte("x"))
						}
					}
				})
			}
		}
	}
	fill(t, p.client(), 1) // others are served
	wg.Wait()
	p.stop()
}

var peerAddress = regexp.MustCompile(`serving peer traffic insecurely","address":"([^"]+)"`)

// A head without an end is refused.
func TestAnEndlessHeadIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() {
		_, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: a\r\n")
		for err == nil { // until the connection is closed
			_, err = io.WriteString(c, "X: "+strings.Repeat("x", 64<<10)+"\r\n")
		}
	}()
	line, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "431")
	p.alive()
	fill(t, p.client(), 1)
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func (p *process) goroutines() int {
	_, body := p.get("/metrics")
	m := goroutines.FindStringSubmatch(body)
	require.NotNil(p.t, m)
	n, err := strconv.Atoi(m[1])
	require.NoError(p.t, err)
	return n
}

// Clients that come and go leave nothing behind.
func TestClientsComeAndGo(t *testing.T) {
	t.Parallel()
	p := start(t)
	fill(t, p.client(), 1)
	before := p.goroutines()
	room := make(chan struct{}, 50)
	var wg sync.WaitGroup
	for range 1000 {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			c := p.client()
			if _, err := c.Get(within(t, patience), "key0"); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return p.goroutines() < before+50 }, patience, 100*time.Millisecond)
	p.stop()
}
