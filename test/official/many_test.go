package official

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A thousand clients, each with a connection, a watch and a lease of its own, get what is theirs.
func TestManyClients(t *testing.T) {
	t.Parallel()
	n := 1000
	if *long {
		n = 5000
	}
	p := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failures []string
	room := make(chan struct{}, 200) // clients that connect at a time
	connected := make(chan *clientv3.Client, n)
	for i := range n {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			c, err := clientv3.New(clientv3.Config{Endpoints: []string{p.addr}, DialTimeout: patience, Logger: zap.NewNop()})
			if err == nil {
				connected <- c
				err = one(ctx, c, i)
			}
			if err != nil {
				mu.Lock()
				failures = append(failures, fmt.Sprintf("client %d: %v", i, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Empty(t, failures)
	t.Logf("%d clients served in %v", n, time.Since(began))
	c := p.client()
	get, err := c.Get(ctx, "many/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, n, get.Count)
	leases, err := c.Leases(ctx)
	require.NoError(t, err)
	require.Len(t, leases.Leases, n)
	close(connected)
	for c := range connected {
		_ = c.Close()
	}
	// What the clients held is let go with them.
	require.Eventually(t, func() bool {
		_, body := p.get("/metrics")
		return contains(body, "etcd_debugging_mvcc_watch_stream_total 0")
	}, patience, 50*time.Millisecond)
	p.stop()
}

// one does what each of the many does. Its watch stays open.
func one(ctx context.Context, c *clientv3.Client, i int) error {
	key := fmt.Sprintf("many/%05d", i)
	l, err := c.Grant(ctx, 600)
	if err != nil {
		return err
	}
	w := c.Watch(clientv3.WithRequireLeader(ctx), key, clientv3.WithCreatedNotify())
	if resp := <-w; !resp.Created {
		return fmt.Errorf("the watch was not made: %v", resp.Err())
	}
	put, err := c.Put(ctx, key, "v", clientv3.WithLease(l.ID))
	if err != nil {
		return err
	}
	resp := <-w
	if len(resp.Events) != 1 || resp.Events[0].Kv.ModRevision != put.Header.Revision {
		return fmt.Errorf("watched %+v, wrote revision %d", resp, put.Header.Revision)
	}
	get, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(get.Kvs) != 1 || get.Kvs[0].Lease != int64(l.ID) {
		return fmt.Errorf("read %v", get.Kvs)
	}
	return nil
}
