package v2client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// WatchOptions say which changes of a key are waited for.
type WatchOptions struct {
	// AfterIndex is the index behind which changes count. With 0 they count from when the server is asked.
	AfterIndex uint64
	Recursive  bool // also of what is below
}

// Watcher waits for changes of a key, one after the other. One goroutine uses it.
type Watcher struct {
	client    *Client
	path      string
	recursive bool
	next      uint64 // the index from which the next change counts
}

// Watch makes a watcher. Nothing is asked yet.
func (c *Client) Watch(key string, o WatchOptions) *Watcher {
	w := &Watcher{client: c, path: keyPath(key), recursive: o.Recursive}
	if o.AfterIndex > 0 {
		w.next = o.AfterIndex + 1
	}
	return w
}

// breather is how long a watcher waits before it asks again when a server ends watches as soon as they begin.
const breather = 100 * time.Millisecond

// Next waits for the next change. A server may end a request without one: it is then sent again.
func (w *Watcher) Next(ctx context.Context) (*Result, error) {
	for {
		asked := time.Now()
		res, err := w.client.key(ctx, &request{method: http.MethodGet, path: w.path, waits: true, query: url.Values{
			"wait":      {"true"},
			"waitIndex": {strconv.FormatUint(w.next, 10)},
			"recursive": {strconv.FormatBool(w.recursive)},
		}})
		if errors.Is(err, ErrEmptyBody) {
			if err := sleep(ctx, breather-time.Since(asked)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		w.next = res.Node.ModifiedIndex + 1
		return res, nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
