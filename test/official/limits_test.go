package official

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TestRatesOfCalls: every call of a kind that is limited is refused in the same words, and what gives something back never is.
func TestRatesOfCalls(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx := p.client(), within(t, 3*patience)
	set := func(fields map[string]any) error {
		return c.ActiveConnection().Invoke(ctx, "/cairn.Limits/Set", limit(fields), new(emptypb.Empty))
	}
	require.NoError(t, set(map[string]any{"kind": "prefix", "name": "YS8=", "writesPerSecond": 1, "readsPerSecond": 1})) // a/
	until := func(what string, call func() error) {
		t.Helper()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if err := call(); err != nil {
				require.Equal(t, codes.ResourceExhausted, status.Code(err), "%s: %v", what, err)
				require.ErrorContains(t, err, fmt.Sprintf(`cairn: rate of prefix "a/" is 1 %s per second with a burst of 1, and is exceeded`, what))
				return
			}
		}
		t.Fatalf("%s are never refused", what)
	}
	until("writes", func() error { _, err := c.Put(ctx, "a/k", "v"); return err })
	until("writes", func() error { _, err := c.Delete(ctx, "", clientv3.WithPrefix()); return err })
	until("writes", func() error { _, err := c.Txn(ctx).Else(clientv3.OpPut("a/k", "v")).Commit(); return err })
	until("reads", func() error { _, err := c.Txn(ctx).Then(clientv3.OpGet("a/k")).Commit(); return err })
	until("reads", func() error { _, err := c.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly()); return err })
	until("reads", func() error { _, err := c.Get(ctx, "a/k", clientv3.WithSerializable()); return err })
	until("reads", func() error {
		s, err := c.GetStream(ctx, "a/", clientv3.WithPrefix())
		if err != nil {
			return err
		}
		_, err = clientv3.GetStreamToGetResponse(s)
		return err
	})
	lock := dialRaw(t, p.addr)
	ask1 := func(method string, raw []byte) error {
		var answer []byte
		return lock.Invoke(ctx, method, &raw, &answer)
	}
	until("writes", func() error { return ask1("/v3lockpb.Lock/Lock", []byte("\x0a\x01a\x10\x07")) })
	until("writes", func() error { return ask1("/v3electionpb.Election/Campaign", []byte("\x0a\x01a\x10\x07")) })
	for range 20 {
		require.NoError(t, ask1("/v3lockpb.Lock/Unlock", []byte("\x0a\x03a/7")))
		_, err := c.Put(ctx, "b", "v")
		require.NoError(t, err)
		_, err = c.Get(ctx, "b", clientv3.WithRange("c"))
		require.NoError(t, err)
	}
	var code int
	var body string
	until("writes", func() error {
		resp, err := http.Post(p.url()+"/v3/kv/put", "application/json", strings.NewReader(`{"key":"YS9r","value":"dg=="}`))
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		if code, body = resp.StatusCode, string(b); code != http.StatusOK {
			return status.Error(codes.ResourceExhausted, strings.ReplaceAll(body, `\"`, `"`))
		}
		return nil
	})
	require.Equal(t, http.StatusTooManyRequests, code, body)
	resp, err := http.Get(p.url() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Regexp(t, `cairn_limit_refused_total\{kind="prefix",limit="reads"\} [1-9]`, string(b))
	require.Regexp(t, `cairn_limit_refused_total\{kind="prefix",limit="keys"\} 0`, string(b))

	for _, bad := range []map[string]any{{}, {"kind": "prefix"}, {"kind": "prefix", "name": 1, "maxKeys": 1}, {"kind": "prefix", "maxKeys": 1.5}, {"kind": "prefix", "maxKeys": 1e300},
		{"kind": "prefix", "maxKeys": "1"}, {"kind": "prefix", "maxKeys": 1, "name": strings.Repeat("a", 10000)}, {"kind": "prefix", "maxKeys": 1, "x": nil}} {
		require.Equal(t, codes.InvalidArgument, status.Code(set(bad)), "%v", bad)
	}
}
