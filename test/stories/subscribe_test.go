package stories

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// S2.5: publish and subscribe with v3.
func TestS2_5(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	put(t, c, "conf/app/log_level", "info")
	rev := get(t, c, "conf/app/", clientv3.WithPrefix()).Header.Revision

	var subs []*events
	for i := range 20 {
		subs = append(subs, follow(t, g.Connect(g.Members[i%3]), "conf/app/", rev+1, clientv3.WithPrevKV()))
	}
	subs[0].none(500 * time.Millisecond)
	put(t, c, "conf/app/log_level", "debug")
	done := time.Now()
	for _, s := range subs {
		e := s.next(tEvent)
		require.Equal(t, []string{"PUT conf/app/log_level=debug", "info"}, []string{e.String(), string(e.PrevKv.Value)})
		require.WithinDuration(t, done, e.at, tEvent)
	}

	// A subscriber sleeps over 100,000 writes and gets them all: two thousand txns of fifty.
	slept := get(t, c, "conf/app/").Header.Revision
	const txns, each = 2000, 50
	for i := range txns {
		var ops []clientv3.Op
		for j := range each {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("conf/app/k%02d", j), fmt.Sprint(i)))
		}
		_, err := c.Txn(within(t, patience)).Then(ops...).Commit()
		require.NoError(t, err)
	}
	sleeper := follow(t, g.Connect(), "conf/app/", slept+1)
	for i := range txns {
		for j := range each {
			e := sleeper.next(patience)
			sleeper.seen = nil
			require.Equal(t, slept+1+int64(i), e.Kv.ModRevision)
			require.Equal(t, fmt.Sprintf("PUT conf/app/k%02d=%d", j, i), e.String())
		}
	}

	// What it slept over is compacted.
	put(t, c, "conf/app/log_level", "warn")
	at := get(t, c, "conf/app/").Header.Revision
	_, err := c.Compact(within(t, patience), at)
	require.NoError(t, err)
	r := <-c.Watch(within(t, patience), "conf/app/", clientv3.WithPrefix(), clientv3.WithRev(slept+1))
	require.True(t, r.Canceled)
	require.ErrorIs(t, r.Err(), rpctypes.ErrCompacted)
	require.Equal(t, at, r.CompactRevision)
	again := get(t, c, "conf/app/", clientv3.WithPrefix())
	require.Len(t, again.Kvs, each+1)
	resumed := c.Watch(within(t, patience), "conf/app/", clientv3.WithPrefix(), clientv3.WithRev(again.Header.Revision+1))

	// Two keys of one txn are told together.
	_, err = c.Txn(within(t, patience)).Then(clientv3.OpPut("conf/app/a", "1"), clientv3.OpPut("conf/app/b", "2")).Commit()
	require.NoError(t, err)
	both := <-resumed
	require.Len(t, both.Events, 2)
	require.Equal(t, both.Events[0].Kv.ModRevision, both.Events[1].Kv.ModRevision)
}
