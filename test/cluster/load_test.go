package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// load is clients that write and read until they are stopped. Each counts a key of its own up.
type load struct {
	t      testing.TB
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	acked  map[string]int // the last value that was acknowledged
	calls  int
	failed []error
	gap    time.Duration // the longest time of one writer between two acknowledged writes
}

// startLoad starts writers on a client each.
func startLoad(t testing.TB, g *process.Group, writers int, timeout time.Duration) *load {
	l := &load{t: t, acked: map[string]int{}}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	for i := range writers {
		c := g.Connect()
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			l.write(ctx, c, fmt.Sprintf("load/%d", i), timeout)
		}()
	}
	return l
}

func (l *load) write(ctx context.Context, c *clientv3.Client, key string, timeout time.Duration) {
	last := time.Now()
	for n := 1; ctx.Err() == nil; n++ {
		call, cancel := context.WithTimeout(ctx, timeout)
		_, err := c.Put(call, key, fmt.Sprint(n))
		cancel()
		if err == nil && n%3 == 0 {
			call, cancel = context.WithTimeout(ctx, timeout)
			var r *clientv3.GetResponse
			if r, err = c.Get(call, key); err == nil && (len(r.Kvs) != 1 || string(r.Kvs[0].Value) != fmt.Sprint(n)) {
				err = fmt.Errorf("key %s: read %v after %d was acknowledged", key, r.Kvs, n)
			}
			cancel()
		}
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		l.mu.Lock()
		l.calls++
		if err != nil {
			l.failed = append(l.failed, fmt.Errorf("%s after %v: %w", key, now.Sub(last), err))
		} else {
			l.acked[key] = n
			l.gap = max(l.gap, now.Sub(last))
			last = now
		}
		l.mu.Unlock()
	}
}

// stop ends the load and checks that everything acknowledged is there.
func (l *load) stop(g *process.Group) {
	l.t.Helper()
	l.cancel()
	l.wg.Wait()
	c := g.Connect()
	for key, n := range l.acked {
		r, err := c.Get(within(l.t, patience), key)
		require.NoError(l.t, err)
		require.Len(l.t, r.Kvs, 1)
		var got int
		_, err = fmt.Sscan(string(r.Kvs[0].Value), &got)
		require.NoError(l.t, err)
		require.GreaterOrEqual(l.t, got, n, key)
	}
}

// resetGap begins to measure anew.
func (l *load) resetGap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = 0
}
