package cluster

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/test/process"
)

// mostPollMemory is what 10,000 long polls may take, in bytes: with everything else that the member holds.
const mostPollMemory = 300 << 20

// TestTenThousandPolls has 10,000 clients wait for a change of a directory, and then tells all of them.
func TestTenThousandPolls(t *testing.T) {
	const polls = 10_000
	var files syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	if files.Cur < polls+1000 {
		t.Skipf("this process may open %d files only", files.Cur)
	}
	m := process.NewMember(t, "a", "--enable-v2")
	m.Start()
	conns := make([]net.Conn, polls)
	heads := make([]*bufio.Reader, polls)
	t.Cleanup(func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	each(t, polls, func(i int) error {
		c, err := net.Dial("tcp", m.Client)
		if err != nil {
			return err
		}
		conns[i] = c
		if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
			return err
		}
		if _, err = io.WriteString(c, "GET /v2/keys/polled?wait=true&recursive=true HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		heads[i] = bufio.NewReaderSize(c, 512)
		return awaitHead(heads[i])
	})
	status, body := v2(t, http.MethodGet, m.URL()+"/v2/stats/store", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, fmt.Sprintf(`"watchers":%d`, polls))
	rss := resident(t, m.Cmd.Process.Pid)
	t.Logf("%d polls: %d MB resident", polls, rss>>20)
	require.Less(t, rss, mostPollMemory)

	began := time.Now()
	status, body = v2(t, http.MethodPut, m.URL()+"/v2/keys/polled/k", "value=news")
	require.Equal(t, http.StatusCreated, status, body)
	each(t, polls, func(i int) error {
		if _, err := heads[i].ReadString('\n'); err != nil { // the size of the chunk
			return err
		}
		line, err := heads[i].ReadString('\n')
		if err == nil && !strings.Contains(line, `"value":"news"`) {
			err = fmt.Errorf("an event of %q", line)
		}
		return err
	})
	t.Logf("all have it after %v", time.Since(began))
}

// awaitHead reads up to the end of an answer's head.
func awaitHead(r *bufio.Reader) error {
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case first && !strings.Contains(line, " 200 "):
			return fmt.Errorf("the answer is %q", line)
		case line == "\r\n":
			return nil
		}
	}
}

// each runs f for 0 to n-1, some at once.
func each(t *testing.T, n int, f func(i int) error) {
	var wg sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	errs := make(chan error, n)
	for range 32 {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

// resident is the memory of a process, in bytes.
func resident(t *testing.T, pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("this system does not tell how much memory a process takes")
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return n << 10
}
