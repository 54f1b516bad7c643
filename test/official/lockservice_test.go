package official

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// The messages of the lock and the election service are not in etcd's client: they are written here field by field.

func bytesField(b []byte, num protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func intField(b []byte, num protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
}

func lockRequest(name string, lease clientv3.LeaseID) []byte {
	return intField(bytesField(nil, 1, name), 2, int64(lease))
}

func campaignRequest(name string, lease clientv3.LeaseID, value string) []byte {
	return bytesField(lockRequest(name, lease), 3, value)
}

// part is a field of a message, "" if it is not there.
func part(b []byte, num protowire.Number) string {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return ""
		}
		b = b[size:]
		if n == num && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			return string(v)
		}
		size = protowire.ConsumeFieldValue(n, typ, b)
		if size < 0 {
			return ""
		}
		b = b[size:]
	}
	return ""
}

// services calls the two services of a server.
type services struct {
	t    *testing.T
	conn *grpc.ClientConn
}

func (p *process) services(t *testing.T) *services {
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &services{t, conn}
}

func (s *services) call(ctx context.Context, method string, q []byte) (answer []byte, err error) {
	return answer, s.conn.Invoke(ctx, method, &q, &answer)
}

// begin makes a call that is expected to wait, and returns once its key is there.
func (s *services) begin(ctx context.Context, c *clientv3.Client, method, prefix string, q []byte) <-chan error {
	s.t.Helper()
	before, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(s.t, err)
	done := make(chan error, 1)
	go func() {
		_, err := s.call(ctx, method, q)
		done <- err
	}()
	require.Eventually(s.t, func() bool {
		now, err := c.Get(context.Background(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && now.Count == before.Count+1
	}, patience, 5*time.Millisecond)
	select {
	case err := <-done:
		s.t.Fatalf("the call does not wait: %v", err)
	case <-time.After(30 * time.Millisecond):
	}
	return done
}

// The service and the client's own recipe take turns on the same lock.
func TestLockServiceAndMutex(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx, s := p.client(), within(t, patience), p.services(t)
	const lock, unlock = "/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock"
	first := concurrency.NewMutex(session(t, c), "n")
	require.NoError(t, first.Lock(ctx))
	lease, err := c.Grant(ctx, 60)
	require.NoError(t, err)
	done := s.begin(ctx, c, lock, "n/", lockRequest("n", lease.ID))
	require.NoError(t, first.Unlock(ctx))
	require.NoError(t, <-done)
	require.ErrorIs(t, concurrency.NewMutex(session(t, c), "n").TryLock(ctx), concurrency.ErrLocked)
	again, err := s.call(ctx, lock, lockRequest("n", lease.ID)) // the lease holds it
	require.NoError(t, err)
	key := fmt.Sprintf("n/%x", lease.ID)
	require.Equal(t, key, part(again, 2))

	// A caller that leaves takes its key along, and its watcher.
	leaving, leave := context.WithCancel(ctx)
	done = s.begin(leaving, c, lock, "n/", lockRequest("n", 0))
	leave()
	require.Equal(t, codes.Canceled, status.Code(<-done))
	require.Eventually(t, func() bool {
		get, err := c.Get(ctx, "n/", clientv3.WithPrefix())
		_, page := p.get("/metrics")
		return err == nil && get.Count == 1 && string(get.Kvs[0].Key) == key && contains(page, "etcd_debugging_mvcc_watcher_total 0")
	}, patience, 10*time.Millisecond)

	// One whose lease ends before its turn is told.
	short, err := c.Grant(ctx, 60)
	require.NoError(t, err)
	done = s.begin(ctx, c, lock, "n/", lockRequest("n", short.ID))
	_, err = c.Revoke(ctx, short.ID)
	require.NoError(t, err)
	_, err = s.call(ctx, unlock, bytesField(nil, 1, key))
	require.NoError(t, err)
	err = <-done
	require.Equal(t, codes.Unknown, status.Code(err))
	require.ErrorContains(t, err, "mutex: session is expired")
	require.NoError(t, concurrency.NewMutex(session(t, c), "n").TryLock(ctx))

	_, err = s.call(ctx, lock, lockRequest(strings.Repeat("x", 1<<20), 0))
	require.ErrorContains(t, err, "etcdserver: request is too large")
	_, err = s.call(ctx, lock, []byte{1, 2, 3})
	require.Equal(t, codes.Internal, status.Code(err))

	s.begin(ctx, c, lock, "n/", lockRequest("n", 0))
	require.NoError(t, c.Close()) // its sessions would ask a server that is gone
	p.stop()                      // although a call waits
}

func TestElectionService(t *testing.T) {
	t.Parallel()
	p := start(t)
	c, ctx, s := p.client(), within(t, patience), p.services(t)
	const service = "/v3electionpb.Election/"
	st, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, service+"Observe")
	require.NoError(t, err)
	q := bytesField(nil, 1, "e")
	require.NoError(t, st.SendMsg(&q))
	require.NoError(t, st.CloseSend())
	values := make(chan string, 100)
	go func() {
		defer close(values)
		for {
			var a []byte
			if st.RecvMsg(&a) != nil {
				return
			}
			values <- part([]byte(part(a, 2)), 5)
		}
	}()
	require.Eventually(t, func() bool {
		_, page := p.get("/metrics")
		return contains(page, "etcd_debugging_mvcc_watcher_total 1")
	}, patience, 10*time.Millisecond)

	one, err := c.Grant(ctx, 60)
	require.NoError(t, err)
	two, err := c.Grant(ctx, 60)
	require.NoError(t, err)
	won, err := s.call(ctx, service+"Campaign", campaignRequest("e", one.ID, "v0"))
	require.NoError(t, err)
	leader := part(won, 2)
	require.Equal(t, fmt.Sprintf("e/%x", one.ID), part([]byte(leader), 2))
	want := []string{"v0"}
	for i := range 20 { // each value is seen, however fast it goes
		v := fmt.Sprintf("v%d", i+1)
		_, err := s.call(ctx, service+"Proclaim", bytesField(bytesField(nil, 1, leader), 2, v))
		require.NoError(t, err)
		want = append(want, v)
	}
	get, err := concurrency.NewElection(session(t, c), "e").Leader(ctx)
	require.NoError(t, err)
	require.Equal(t, "v20", string(get.Kvs[0].Value))
	done := s.begin(ctx, c, service+"Campaign", "e/", campaignRequest("e", two.ID, "w"))
	leaving, leave := context.WithCancel(ctx)
	third := s.begin(leaving, c, service+"Campaign", "e/", campaignRequest("e", 0, "x"))
	leave()
	require.Equal(t, codes.Canceled, status.Code(<-third))
	_, err = s.call(ctx, service+"Resign", bytesField(nil, 1, leader))
	require.NoError(t, err)
	require.NoError(t, <-done)
	want = append(want, "w")
	for _, v := range want {
		select {
		case got := <-values:
			require.Equal(t, v, got)
		case <-ctx.Done():
			t.Fatalf("%q was not observed", v)
		}
	}
	_, err = s.call(ctx, service+"Proclaim", bytesField(bytesField(nil, 1, leader), 2, "late"))
	require.ErrorContains(t, err, "election: not leader")
	for _, method := range []string{"Proclaim", "Resign"} {
		_, err = s.call(ctx, service+method, nil)
		require.Equal(t, codes.Unknown, status.Code(err))
		require.ErrorContains(t, err, `"leader" field must be provided`)
	}
	require.Eventually(t, func() bool {
		get, err := c.Get(ctx, "e/", clientv3.WithPrefix())
		return err == nil && get.Count == 1 && string(get.Kvs[0].Key) == fmt.Sprintf("e/%x", two.ID)
	}, patience, 10*time.Millisecond)
	_, err = s.call(ctx, service+"Leader", bytesField(nil, 1, "nobody"))
	require.ErrorContains(t, err, "election: no leader")
	require.NoError(t, c.Close()) // its sessions would ask a server that is gone
	p.stop()                      // although somebody observes
}

func TestLocksAndElectionsAsJSON(t *testing.T) {
	t.Parallel()
	p := start(t)
	b64 := base64.StdEncoding.EncodeToString
	post := func(path, body string) (int, string) {
		code, answer := p.post(path, body)
		return code, strings.ReplaceAll(answer, `, "`, `,"`) // the encoder adds spaces at its whim
	}
	_, body := post("/v3/lease/grant", `{"TTL":60,"ID":77}`)
	require.Contains(t, body, `"ID":"77"`)
	code, body := post("/v3/lock/lock", `{"name":"`+b64([]byte("n"))+`","lease":"77"}`)
	require.Equal(t, 200, code, body)
	require.Contains(t, body, `"key":"`+b64([]byte("n/4d"))+`"`)
	require.Contains(t, body, `"revision":"2"`)
	code, body = post("/v3/lock/unlock", `{"key":"`+b64([]byte("n/4d"))+`"}`)
	require.Equal(t, 200, code)
	require.Contains(t, body, `"revision":"3"`)
	code, body = post("/v3/lock/lock", `{"name":"`+b64([]byte("n"))+`","lease":"78"}`)
	require.Equal(t, 500, code)
	require.JSONEq(t, `{"error":"etcdserver: requested lease not found","code":2,"message":"etcdserver: requested lease not found"}`, body)
	code, _ = post("/v3/lock/lock", `{"name":1}`)
	require.Equal(t, 400, code)

	_, body = post("/v3/election/campaign", `{"name":"ZQ==","lease":77,"value":"MQ=="}`)
	require.Contains(t, body, `"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"4","lease":"77"}`)
	leader := `"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"4","lease":"77"}`
	resp, err := http.Post(p.url()+"/v3/election/observe", "", strings.NewReader(`{"name":"ZQ=="}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	r := bufio.NewScanner(resp.Body)
	require.True(t, r.Scan())
	require.Contains(t, r.Text(), `{"result":{"header":{`)
	require.Contains(t, r.Text(), `"value":"MQ=="`)
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.addr+"/v3/election/observe", nil)
	require.NoError(t, err)
	defer ws.Close()
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"name":"ZQ=="}`)))
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	_, frame, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(frame), `"value":"MQ=="`)
	code, _ = post("/v3/election/proclaim", `{`+leader+`,"value":"Mg=="}`)
	require.Equal(t, 200, code)
	require.True(t, r.Scan())
	require.Contains(t, r.Text(), `"value":"Mg=="`)
	_, frame, err = ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(frame), `"value":"Mg=="`)
	_, body = post("/v3/election/leader", `{"name":"ZQ=="}`)
	require.Contains(t, body, `"kv":{"key":"ZS80ZA==","create_revision":"4","mod_revision":"5","version":"2","value":"Mg==","lease":"77"}`)
	code, _ = post("/v3/election/resign", `{`+leader+`}`)
	require.Equal(t, 200, code)
	code, body = post("/v3/election/leader", `{"name":"ZQ=="}`)
	require.Equal(t, 500, code)
	require.Contains(t, body, "election: no leader")
	p.stop() // although somebody observes
}
