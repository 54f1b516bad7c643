package official

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestMaintenance(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	fill(t, c, 20)
	st, err := c.Status(ctx, p.addr)
	require.NoError(t, err)
	require.Equal(t, st.Header.MemberId, st.Leader)
	require.Positive(t, st.DbSize)
	require.GreaterOrEqual(t, st.DbSize, st.DbSizeInUse)
	require.Empty(t, st.Errors)
	require.Equal(t, st.RaftIndex, st.RaftAppliedIndex)
	members, err := c.MemberList(ctx)
	require.NoError(t, err)
	require.Len(t, members.Members, 1)
	require.Equal(t, []string{p.url()}, members.Members[0].ClientURLs)
	require.NoError(t, c.Sync(ctx))
	require.Equal(t, []string{p.url()}, c.Endpoints())
	_, err = c.Defragment(ctx, p.addr)
	require.NoError(t, err)
	_, err = c.MoveLeader(ctx, st.Leader)
	require.NoError(t, err)
	_, err = c.MoveLeader(ctx, 99)
	require.ErrorIs(t, err, rpctypes.ErrBadLeaderTransferee)
	h, err := grpc_health_v1.NewHealthClient(c.ActiveConnection()).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, h.Status)
	one, err := c.HashKV(ctx, p.addr, 10)
	require.NoError(t, err)
	fill(t, c, 5)
	two, err := c.HashKV(ctx, p.addr, 10)
	require.NoError(t, err)
	require.Equal(t, one.Hash, two.Hash, "the hash at a revision does not change")
}

// A snapshot taken while others write is a database of etcd's, with all that was acknowledged before it.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, patience)
	fill(t, c, 300)
	noise := p.client()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < 300; i++ {
			_, _ = noise.Put(ctx, "noise", strings.Repeat("n", 1000))
		}
	}()
	r, err := c.Snapshot(ctx)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, sha256.Size, len(b)%512)
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	require.True(t, bytes.Equal(sum[:], b[len(b)-sha256.Size:]), "the checksum behind the database")
	<-done

	file := filepath.Join(t.TempDir(), "backup.db")
	version, err := snapshot.SaveWithVersion(ctx, zap.NewNop(), clientv3.Config{Endpoints: []string{p.addr}}, file)
	require.NoError(t, err)
	require.Equal(t, "3.7.0", version)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data[:len(data)-sha256.Size], 0o600))
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		for _, name := range []string{"key", "meta", "lease", "members", "alarm", "auth", "authUsers", "authRoles"} {
			require.NotNil(t, tx.Bucket([]byte(name)), name)
		}
		require.Equal(t, 600, tx.Bucket([]byte("key")).Stats().KeyN)
		return nil
	}))
}

// A full database refuses to grow, still shrinks, and goes on once the alarm is disarmed.
func TestQuota(t *testing.T) {
	t.Parallel()
	p := start(t, "--quota-backend-bytes", fmt.Sprint(2<<20))
	c, ctx := p.client(), within(t, patience)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = c.Put(ctx, fmt.Sprintf("big%d", n), strings.Repeat("x", 500_000))
	}
	require.ErrorIs(t, err, rpctypes.ErrNoSpace)
	require.Greater(t, n, 2)
	_, err = c.Put(ctx, "small", "x")
	require.ErrorIs(t, err, rpctypes.ErrNoSpace)
	_, err = c.Grant(ctx, 10)
	require.ErrorIs(t, err, rpctypes.ErrNoSpace)
	alarms, err := c.AlarmList(ctx)
	require.NoError(t, err)
	require.Len(t, alarms.Alarms, 1)
	require.Equal(t, pb.AlarmType_NOSPACE, alarms.Alarms[0].Alarm)
	code, body := p.get("/health")
	require.Equal(t, 503, code)
	require.Equal(t, `{"health":"false","reason":"ALARM NOSPACE"}`+"\n", body)
	code, _ = p.get("/readyz")
	require.Equal(t, 200, code)

	_, err = c.Get(ctx, "big0")
	require.NoError(t, err)
	del, err := c.Delete(ctx, "big", clientv3.WithPrefix())
	require.NoError(t, err)
	_, err = c.Compact(ctx, del.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	_, err = c.Defragment(ctx, p.addr)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
			return false
		}
		_, err := c.Put(ctx, "small", "x")
		return err == nil
	}, patience, 200*time.Millisecond, "what was deleted leaves no room")
}
