package concurrency_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdconcurrency "go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/cairn-kv/cairn/client/concurrency"
)

// etcd's own client and this one take part in the same lock and election.
func TestTogetherWithEtcdsClient(t *testing.T) {
	s, c := setup(t)
	wait := watching(t, s)
	theirs, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Addr}, Logger: zap.NewNop()})
	require.NoError(t, err)
	defer theirs.Close()
	their, err := etcdconcurrency.NewSession(theirs)
	require.NoError(t, err)
	our := session(t, c)

	ours, lock := concurrency.NewMutex(our, "/l"), etcdconcurrency.NewMutex(their, "/l")
	require.NoError(t, ours.Lock(timeout(t)))
	require.Equal(t, etcdconcurrency.ErrLocked, lock.TryLock(timeout(t)))
	got := make(chan error, 1)
	go func() { got <- lock.Lock(timeout(t)) }()
	wait(1)
	require.NoError(t, ours.Unlock(timeout(t)))
	require.NoError(t, <-got)
	require.Equal(t, concurrency.ErrLocked, ours.TryLock(timeout(t)))
	require.NoError(t, lock.Unlock(timeout(t)))

	e := etcdconcurrency.NewElection(their, "/e")
	require.NoError(t, e.Campaign(timeout(t), "theirs"))
	resp, err := concurrency.NewElection(our, "/e").Leader(timeout(t))
	require.NoError(t, err)
	require.Equal(t, e.Key(), string(resp.Kvs[0].Key))
	require.Equal(t, "theirs", string(resp.Kvs[0].Value))
}
