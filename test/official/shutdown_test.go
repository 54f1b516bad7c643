package official

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// promptly is how long a server may take to end, whatever its clients do.
const promptly = 1500 * time.Millisecond

// terminate ends the server politely and tells how long that took.
func (p *process) terminate() time.Duration {
	p.t.Helper()
	began := time.Now()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	return p.awaitEnd(began)
}

func (p *process) awaitEnd(began time.Time) time.Duration {
	p.t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		require.NoError(p.t, err, "%s", p.out)
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		p.ended <- <-p.ended
		p.t.Fatalf("the server does not stop\n%s", p.out)
	}
	return time.Since(began)
}

func dial(t testing.TB, addr string) *grpc.ClientConn {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Streams, waiting locks and connections that say nothing do not keep a server from ending, and are told why they end.
func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := within(t, 3*patience)
	ends := make(chan error, 200)
	n := 0
	await := func(recv func() error) {
		n++
		go func() {
			for {
				if err := recv(); err != nil {
					ends <- err
					return
				}
			}
		}()
	}
	for i := range 10 {
		conn := dial(t, p.addr)
		for j := range 10 {
			w, err := pb.NewWatchClient(conn).Watch(ctx)
			require.NoError(t, err)
			require.NoError(t, w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: fmt.Appendf(nil, "%d/%d", i, j)}}}))
			_, err = w.Recv()
			require.NoError(t, err)
			await(func() error { _, err := w.Recv(); return err })
		}
		l, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
		require.NoError(t, err)
		require.NoError(t, l.Send(&pb.LeaseKeepAliveRequest{ID: 1}))
		_, err = l.Recv()
		require.NoError(t, err)
		await(func() error { _, err := l.Recv(); return err })
	}
	// Somebody waits for a lock, somebody watches over HTTP, somebody over a WebSocket.
	s, err := concurrency.NewSession(p.client())
	require.NoError(t, err)
	require.NoError(t, concurrency.NewMutex(s, "build").Lock(ctx))
	n++
	go func() {
		var answer []byte
		body := append([]byte{0x0a, 5}, "build"...)
		ends <- dialRaw(t, p.addr).Invoke(ctx, "/v3lockpb.Lock/Lock", &body, &answer)
	}()
	resp, err := http.Post(p.url()+"/v3/watch", "application/json", strings.NewReader(`{"create_request":{"key":"YQ=="}}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	_, err = lines.ReadString('\n')
	require.NoError(t, err)
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+p.addr+"/v3/watch", nil)
	require.NoError(t, err)
	defer ws.Close()
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"create_request":{"key":"YQ=="}}`)))
	_, _, err = ws.ReadMessage()
	require.NoError(t, err)
	// And some just hold connections.
	for _, head := range []string{"", "GET /hea", "GET /health HTTP/1.1\r\nHost: a\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		c, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, head)
		require.NoError(t, err)
	}
	time.Sleep(100 * time.Millisecond) // the lock waits by now

	took := p.terminate()
	require.Less(t, took, promptly)
	for range n {
		err := <-ends
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
		require.Contains(t, err.Error(), "etcdserver: server stopped")
	}
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "etcdserver: server stopped")
	_, frame, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(frame), "etcdserver: server stopped")
	t.Logf("ended in %v", took)
}

func dialRaw(t testing.TB, addr string) *grpc.ClientConn {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A call that is under way is answered, and what it wrote is kept.
func TestStopAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := within(t, patience)
	// A put over gRPC whose body is still to come.
	st, err := dialRaw(t, p.addr).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/etcdserverpb.KV/Put")
	require.NoError(t, err)
	// One over HTTP whose body is half there.
	const body = `{"key":"aHR0cA==","value":"eA=="}`
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond)

	began := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	time.Sleep(200 * time.Millisecond)
	put := []byte{0x0a, 4, 'g', 'r', 'p', 'c', 0x12, 1, 'x'}
	require.NoError(t, st.SendMsg(&put))
	require.NoError(t, st.CloseSend())
	var answer []byte
	require.NoError(t, st.RecvMsg(&answer))
	_, err = io.WriteString(conn, body[10:])
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	resp.Body.Close()
	require.Less(t, p.awaitEnd(began), promptly+200*time.Millisecond)

	p.start()
	get, err := p.client().Get(ctx, "", clientv3.WithFromKey())
	require.NoError(t, err)
	require.EqualValues(t, 2, get.Count)
}

// Under load, every write that was acknowledged before and during a stop is kept, and the clients come back by themselves.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ws := make([]*writer, 20)
	ended := make(chan bool)
	for i := range ws {
		ws[i] = &writer{key: fmt.Sprintf("w%d", i)}
		c := p.client()
		go func() { ws[i].run(ctx, c); ended <- true }()
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		require.Less(t, p.terminate(), promptly)
		p.start()
	}
	time.Sleep(200 * time.Millisecond)
	cancel()
	for range ws {
		<-ended
	}
	c := p.client()
	for _, w := range ws {
		require.NotEmpty(t, w.acks)
		for _, a := range []ack{w.acks[0], w.acks[len(w.acks)/2], w.acks[len(w.acks)-1]} {
			get, err := c.Get(within(t, patience), a.key, clientv3.WithRev(a.rev))
			require.NoError(t, err)
			require.Equal(t, a.value, string(get.Kvs[0].Value))
		}
	}
}
