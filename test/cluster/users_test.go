package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	"github.com/cairn-kv/cairn/test/process"
)

// TestUsersInACluster: a token counts at every member at once, and ends at every member at once. What members do by themselves
// goes on, and clients log in again where they have to.
func TestUsersInACluster(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--bcrypt-cost", "4")
	plain := g.Connect()
	ctx := within(t, 4*patience)
	for _, u := range []string{"root", "ann"} {
		_, err := plain.UserAdd(ctx, u, "pw")
		require.NoError(t, err)
	}
	_, err := plain.RoleAdd(ctx, "app")
	require.NoError(t, err)
	_, err = plain.RoleGrantPermission(ctx, "app", "app/", clientv3.GetPrefixRangeEnd("app/"), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	_, err = plain.UserGrantRole(ctx, "ann", "app")
	require.NoError(t, err)
	_, err = plain.UserGrantRole(ctx, "root", "root")
	require.NoError(t, err)
	_, err = plain.AuthEnable(ctx)
	require.NoError(t, err)

	alone := map[*process.Member]*clientv3.Client{}
	for _, m := range g.Members {
		alone[m] = g.Connect(m)
	}
	use := func(m *process.Member, token string) error {
		_, err := pb.NewKVClient(alone[m].ActiveConnection()).Put(metadata.AppendToOutgoingContext(ctx, "token", token), &pb.PutRequest{Key: []byte("app/k")})
		return err
	}
	login := func(m *process.Member) string {
		r, err := pb.NewAuthClient(alone[m].ActiveConnection()).Authenticate(ctx, &pb.AuthenticateRequest{Name: "ann", Password: "pw"})
		require.NoError(t, err)
		return r.Token
	}
	var token string
	for i := range 30 {
		token = login(g.Members[i%3])
		for _, m := range g.Members {
			require.NoError(t, use(m, token), "login %d", i)
		}
	}
	as := func(user string) *clientv3.Client {
		var endpoints []string
		for _, m := range g.Members {
			endpoints = append(endpoints, m.URL())
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Username: user, Password: "pw", DialTimeout: patience, Logger: zap.NewNop()})
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	root, ann := as("root"), as("ann")

	// Leases end although nobody is there who may end them.
	lease, err := ann.Grant(ctx, 2)
	require.NoError(t, err)
	_, err = ann.Put(ctx, "app/leased", "v", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		r, err := ann.Get(ctx, "app/leased")
		return err == nil && len(r.Kvs) == 0
	}, patience, 100*time.Millisecond)

	// Members come back without their tokens; those who use them do not notice.
	for _, m := range g.Members {
		m.Stop()
		m.Start()
		for i := range 20 {
			_, err = ann.Put(ctx, fmt.Sprint("app/", i), "v")
			require.NoError(t, err)
		}
		_, err = ann.Put(ctx, "other", "v")
		require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	}
	require.ErrorContains(t, use(g.Members[0], token), "invalid auth token", "it is known to nobody any more")

	token = login(g.Members[1])
	_, err = root.UserChangePassword(ctx, "ann", "new")
	require.NoError(t, err)
	for _, m := range g.Members {
		require.Eventually(t, func() bool { return use(m, token) != nil }, patience, 10*time.Millisecond)
	}
	_, err = root.AuthDisable(ctx)
	require.NoError(t, err)
	require.NoError(t, use(g.Members[2], "anything"), "nobody asks")
	g.Agree()
}
