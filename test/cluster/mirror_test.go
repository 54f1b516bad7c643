package cluster

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// TestMirrorOfTheV2Keys: what is written through the v2 API is seen through v3, in the same order, and by nobody written there.
func TestMirrorOfTheV2Keys(t *testing.T) {
	t.Parallel()
	g := &process.Group{T: t}
	for _, name := range []string{"a", "b", "c"} {
		g.Members = append(g.Members, process.NewMember(t, name))
	}
	g.Start()
	put := func(path, form string) {
		status, body := v2(t, http.MethodPut, g.Followers()[0].URL()+"/v2/keys"+path, form)
		require.Less(t, status, 300, body)
	}
	put("/app/before", "value=1")
	put("/app/_hidden", "value=h")
	put("/dir", "dir=true")
	c := g.Connect()
	_, err := c.Put(within(t, patience), "v2x", "not below the prefix")
	require.NoError(t, err)

	restart := func(flags ...string) {
		for _, m := range g.Members {
			m.Stop()
			m.Start(flags...)
		}
	}
	restart("--v2-mirror-prefix", "/v2/")
	count := func(want int64) {
		require.Eventually(t, func() bool {
			r, err := c.Get(within(t, patience), "/v2/", clientv3.WithPrefix(), clientv3.WithCountOnly())
			return err == nil && r.Count == want
		}, patience, 50*time.Millisecond)
	}
	count(2)
	w := c.Watch(within(t, 2*patience), "/v2/", clientv3.WithPrefix())
	put("/app/after", "value=2")
	put("/app/after", "value=3&ttl=1")
	status1, body := v2(t, http.MethodDelete, g.Members[0].URL()+"/v2/keys/app/before", "")
	require.Equal(t, http.StatusOK, status1, body)
	var seen []string
	for len(seen) < 4 {
		r, ok := <-w
		require.True(t, ok)
		require.NoError(t, r.Err())
		for _, e := range r.Events {
			seen = append(seen, e.Type.String()+" "+string(e.Kv.Key)+" "+string(e.Kv.Value))
		}
	}
	require.Equal(t, []string{"PUT /v2/app/after 2", "PUT /v2/app/after 3", "DELETE /v2/app/before ", "DELETE /v2/app/after "}, seen)

	for name, err := range map[string]func() error{
		"put":        func() error { _, err := c.Put(within(t, patience), "/v2/x", "y"); return err },
		"delete":     func() error { _, err := c.Delete(within(t, patience), "/v2/app/_hidden"); return err },
		"delete all": func() error { _, err := c.Delete(within(t, patience), "", clientv3.WithPrefix()); return err },
		"txn": func() error {
			_, err := c.Txn(within(t, patience)).Then(clientv3.OpPut("a", "b"), clientv3.OpPut("/v2/x", "y")).Commit()
			return err
		},
	} {
		require.Equal(t, codes.PermissionDenied, status.Code(err()), name)
	}
	r, err := c.Get(within(t, patience), "a")
	require.NoError(t, err)
	require.Empty(t, r.Kvs, "half a txn has taken effect")

	restart() // who says nothing changes nothing
	put("/app/later", "value=4")
	count(2)
	restart("--v2-mirror-prefix=")
	count(0)
	_, err = c.Put(within(t, patience), "/v2/x", "y")
	require.NoError(t, err)
	g.Agree()
}
