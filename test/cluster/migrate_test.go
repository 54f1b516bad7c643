package cluster

import (
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

func TestMigrateV2(t *testing.T) {
	t.Parallel()
	m := process.NewMember(t, "a")
	m.Start()
	put := func(path, form string) {
		status, body := v2(t, http.MethodPut, m.URL()+"/v2/keys"+path, form)
		require.Less(t, status, 300, body)
	}
	for i := range 250 {
		put(fmt.Sprintf("/app/%03d", i), "value=v")
	}
	put("/app/_secret", "value=h")
	put("/short", "value=s&ttl=3")
	run := func(want int, args ...string) string {
		cmd := exec.Command(process.Binary, append([]string{"migrate-v2", "--endpoints", m.URL(), "--prefix", "v2"}, args...)...)
		out, _ := cmd.CombinedOutput()
		require.Equal(t, want, cmd.ProcessState.ExitCode(), "%s", out)
		return string(out)
	}
	c := (&process.Group{T: t, Members: []*process.Member{m}}).Connect()
	count := func() int64 {
		r, err := c.Get(within(t, patience), "v2/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		require.NoError(t, err)
		return r.Count
	}
	require.Contains(t, run(0, "--dry-run"), "nothing was done; this would be: 251 keys copied")
	require.Zero(t, count())
	require.Contains(t, run(0, "--dir", "/", "--dir", "/app/_secret"), "252 keys copied, 0 were there already, 1 leases")
	require.EqualValues(t, 252, count())
	r, err := c.Get(within(t, patience), "v2/short")
	require.NoError(t, err)
	require.NotZero(t, r.Kvs[0].Lease)
	require.Eventually(t, func() bool { return count() == 251 }, patience, 100*time.Millisecond, "the key ends with its lease")

	_, err = c.Put(within(t, patience), "v2/app/000", "other")
	require.NoError(t, err)
	require.Contains(t, run(1), `not copied, as there is another value: "v2/app/000"`)
	run(0, "--overwrite")
	r, err = c.Get(within(t, patience), "v2/app/000")
	require.NoError(t, err)
	require.Equal(t, "v", string(r.Kvs[0].Value))
	require.Contains(t, run(2, "--nonsense"), "flag provided but not defined")
	require.Contains(t, run(1, "--dir", "/none"), "Key not found")
	require.Contains(t, run(1, "--to", "http://127.0.0.1:1", "--timeout", "1s"), "cairn migrate-v2:")
}
