package golden2

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// watcher is a request that waits, on a connection of its own. Its goroutine reads until the answer or the connection ends.
type watcher struct {
	conn net.Conn
	head answer // with the body, if it is no success
	done chan struct{}

	mu    sync.Mutex
	got   []string // lines, each with its end
	ended bool
}

func openWatcher(addr string, q *request) (*watcher, error) {
	conn, in, err := dial(addr, "")
	if err != nil {
		return nil, err
	}
	w := &watcher{conn: conn, done: make(chan struct{})}
	resp, err := w.begin(in, q)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	go w.read(resp.Body)
	return w, nil
}

func (w *watcher) begin(in *bufio.Reader, q *request) (*http.Response, error) {
	if err := w.conn.SetDeadline(time.Now().Add(callLimit)); err != nil {
		return nil, err
	}
	if _, err := w.conn.Write(q.bytes()); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(in, &http.Request{Method: q.method})
	if err != nil {
		return nil, err
	}
	w.head = answer{status: resp.StatusCode, head: resp.Header, length: resp.ContentLength}
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		w.head.body, resp.Body = string(b), http.NoBody
	}
	return resp, w.conn.SetDeadline(time.Time{})
}

func (w *watcher) read(body io.Reader) {
	defer close(w.done)
	in := bufio.NewReader(body)
	for {
		line, err := in.ReadString('\n')
		w.mu.Lock()
		if line != "" {
			w.got = append(w.got, line)
		}
		w.ended = err != nil
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// lines are those that have come.
func (w *watcher) lines() ([]string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got[:len(w.got):len(w.got)], w.ended
}

func (w *watcher) close() {
	_ = w.conn.Close()
	<-w.done
}
