package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/test/process"
)

// TestQuotasInACluster: a quota holds at every member, for one that gets a snapshot later too, and after restarts.
func TestQuotasInACluster(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--snapshot-catchup-entries", "20")
	c := g.Connect()
	own := func(m *process.Member) *client.Client {
		o, err := client.New(client.Config{Endpoints: []string{m.URL()}, DialTimeout: patience})
		require.NoError(t, err)
		t.Cleanup(func() { _ = o.Close() })
		return o
	}
	app := client.LimitTarget{Kind: client.LimitPrefix, Name: []byte("app/")}
	require.Eventually(t, func() bool { // until all members have connected
		err := own(g.Members[0]).LimitSet(within(t, patience), client.Limit{LimitTarget: app, MaxKeys: 3, MaxBytes: 40})
		return err == nil || status.Code(err) != codes.FailedPrecondition
	}, patience, 50*time.Millisecond)
	for i := range 3 {
		_, err := g.Connect(g.Members[i]).Put(within(t, patience), fmt.Sprint("app/", i), "v")
		require.NoError(t, err)
	}
	full := func(ms ...*process.Member) {
		t.Helper()
		for _, m := range ms {
			_, err := g.Connect(m).Put(within(t, patience), "app/x", "v")
			require.Equal(t, codes.ResourceExhausted, status.Code(err), m.Name)
			require.ErrorContains(t, err, `cairn: quota of prefix "app/" is 3 keys, and there would be 4`)
			_, err = g.Connect(m).Put(within(t, patience), "app/1", "a value that is far too long")
			require.ErrorContains(t, err, `cairn: quota of prefix "app/" is 40 bytes, and there would be`)
			list, err := own(m).LimitList(within(t, patience))
			require.NoError(t, err)
			require.Equal(t, []client.LimitStatus{{Limit: client.Limit{LimitTarget: app, MaxKeys: 3, MaxBytes: 40}, Keys: 3, Bytes: 18}}, list.Limits)
		}
	}
	full(g.Members...)
	// Room that was made through one member is there at all others.
	for i := range 9 {
		_, err := g.Connect(g.Members[i%3]).Delete(within(t, patience), "app/0")
		require.NoError(t, err)
		_, err = g.Connect(g.Members[(i+1)%3]).Put(within(t, patience), "app/0", "v")
		require.NoError(t, err)
	}
	for i := range 200 {
		_, err := c.Put(within(t, patience), "k", fmt.Sprint(i))
		require.NoError(t, err)
	}
	d := process.NewMember(t, "d", "--snapshot-catchup-entries", "20")
	require.Eventually(t, func() bool { // the members have to be connected for a while
		_, err := c.MemberAdd(within(t, patience), []string{d.PeerURL()})
		return err == nil
	}, patience, 200*time.Millisecond)
	d.Start("--initial-cluster-state", "existing", "--initial-cluster", g.Initial(d))
	g.Members = append(g.Members, d)
	full(d)
	for _, m := range g.Members {
		m.Stop()
		m.Start()
	}
	full(g.Members...)
	_, err := c.Txn(within(t, patience)).Then(clientv3.OpDelete("app/0"), clientv3.OpPut("app/new", "v")).Commit()
	require.NoError(t, err)
	require.NoError(t, own(d).LimitRemove(within(t, patience), app))
	_, err = c.Put(within(t, patience), "app/x", "v")
	require.NoError(t, err)
	g.Agree()
}

// TestRatesOfUsers: a user who asks too often is refused, and no other.
func TestRatesOfUsers(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 1, "--bcrypt-cost", "4")
	plain := g.Connect()
	ctx := within(t, 4*patience)
	_, err := plain.UserAdd(ctx, "bob", "pw")
	require.NoError(t, err)
	for _, u := range []string{"root", "ann", "eve"} {
		_, err := plain.UserAdd(ctx, u, "pw")
		require.NoError(t, err)
		_, err = plain.UserGrantRole(ctx, u, "root")
		require.NoError(t, err)
	}
	_, err = plain.AuthEnable(ctx)
	require.NoError(t, err)
	as := func(user string) *client.Client {
		c, err := client.New(client.Config{Endpoints: []string{g.Members[0].URL()}, DialTimeout: patience, Username: user, Password: "pw"})
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ann, eve := as("ann"), as("eve")
	require.NoError(t, eve.LimitSet(ctx, client.Limit{LimitTarget: client.LimitTarget{Kind: client.LimitUser, Name: []byte("ann")}, WritesPerSecond: 1, WriteBurst: 3}))
	for name, write := range map[string]func(*client.Client) error{
		"put":    func(c *client.Client) error { _, err := c.Put(ctx, "k", "v"); return err },
		"delete": func(c *client.Client) error { _, err := c.Delete(ctx, "k"); return err },
		"txn":    func(c *client.Client) error { _, err := c.Txn(ctx).Then(client.OpPut("k", "v")).Commit(); return err },
		"grant":  func(c *client.Client) error { _, err := c.Grant(ctx, 60); return err },
	} {
		require.Eventually(t, func() bool { // however slow the machine is
			for range 20 {
				if err := write(ann); err != nil {
					require.Equal(t, codes.ResourceExhausted, status.Code(err), name)
					require.ErrorContains(t, err, `cairn: rate of user "ann" is 1 writes per second with a burst of 3, and is exceeded`)
					return true
				}
			}
			return false
		}, patience, time.Millisecond, name)
	}
	for range 20 {
		_, err := ann.Get(ctx, "k")
		require.NoError(t, err)
		_, err = eve.Put(ctx, "k", "v")
		require.NoError(t, err)
	}
	// Who may not write keys does not use up the rate of their prefix.
	require.NoError(t, eve.LimitSet(ctx, client.Limit{LimitTarget: client.LimitTarget{Kind: client.LimitPrefix, Name: []byte("app/")}, WritesPerSecond: 1}))
	bob := as("bob")
	for range 20 {
		_, err := bob.Put(ctx, "app/k", "v")
		require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	}
	_, err = eve.Put(ctx, "app/k", "v")
	require.NoError(t, err)
	require.Equal(t, codes.InvalidArgument, status.Code(eve.LimitSet(ctx, client.Limit{LimitTarget: client.LimitTarget{Kind: client.LimitUser, Name: []byte("ann")}, MaxKeys: 1})))
}
