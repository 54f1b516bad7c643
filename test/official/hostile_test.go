package official

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// rawCodec sends and receives bodies as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

// method is one of the API, with an example of what it takes.
type method struct {
	name   string
	stream bool
	input  protoreflect.MessageDescriptor // nil if only bytes are known
}

func methods() (out []method) {
	file := pb.File_rpc_proto
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			out = append(out, method{fmt.Sprintf("/%s/%s", s.FullName(), m.Name()), m.IsStreamingClient() || m.IsStreamingServer(),
				m.Input()})
		}
	}
	for _, name := range []string{"/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock", "/v3electionpb.Election/Campaign", "/v3electionpb.Election/Proclaim",
		"/v3electionpb.Election/Leader", "/v3electionpb.Election/Resign", "/grpc.health.v1.Health/Check", "/what.Is/This"} {
		out = append(out, method{name, false, nil})
	}
	return append(out, method{"/v3electionpb.Election/Observe", true, nil}, method{"/grpc.health.v1.Health/Watch", true, nil})
}

// body makes a request that is mostly well formed and mostly nonsense.
func (m method) body(r *rand.Rand) []byte {
	var b []byte
	if m.input != nil && r.IntN(4) > 0 {
		if t, err := protoregistry.GlobalTypes.FindMessageByName(m.input.FullName()); err == nil {
			msg := t.New()
			nonsense(r, msg, 6)
			b, _ = proto.Marshal(msg.Interface())
		}
	} else {
		b = make([]byte, r.IntN(64))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	for len(b) > 0 && r.IntN(3) == 0 { // damage it
		switch i := r.IntN(len(b)); r.IntN(3) {
		case 0:
			b[i] ^= 1 << r.IntN(8)
		case 1:
			b = b[:i]
		case 2:
			b = append(b[:i:i], append([]byte{byte(r.Uint32())}, b[i:]...)...)
		}
	}
	return b
}

var (
	numbers = []int64{0, 1, -1, 2, 3, 5, 7, 100, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64}
	texts   = []string{"", "\x00", "a", "b", "ab", "\xff", "a/b", "root", "http://127.0.0.1:1", strings.Repeat("k", 300)}
)

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// nonsense fills some fields of a message.
func nonsense(r *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if r.IntN(2) == 0 || f.IsMap() {
			continue
		}
		if f.IsList() {
			l := m.Mutable(f).List()
			for range r.IntN(4) {
				if f.Message() != nil {
					if depth > 0 {
						nonsense(r, l.AppendMutable().Message(), depth-1)
					}
				} else {
					l.Append(scalar(r, f))
				}
			}
			continue
		}
		if f.Message() != nil {
			if depth > 0 {
				nonsense(r, m.Mutable(f).Message(), depth-1)
			}
			continue
		}
		m.Set(f, scalar(r, f))
	}
}

func scalar(r *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	n := pick(r, numbers)
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n % 6))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.ToValidUTF8(pick(r, texts), "?"))
	default:
		return protoreflect.ValueOfBytes([]byte(pick(r, texts)))
	}
}

// Nothing that a client sends ends the server, or leaves something in the log that would end the next one.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	rounds, seed := 40, uint64(1)
	if *long {
		rounds, seed = 2000, uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	p := start(t)
	ms := methods()
	require.Greater(t, len(ms), 40)
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	require.NoError(t, err)
	defer conn.Close()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds * len(ms) / 8 {
				m := pick(r, ms)
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				if r.IntN(8) == 0 {
					ctx = metadata.AppendToOutgoingContext(ctx, pick(r, []string{"token", "authorization", "hasleader", "client-api-version"}), pick(r, []string{"true", "Bearer x", "", "\u00ff"}))
				}
				attack(ctx, conn, m, r)
				cancel()
			}
		})
	}
	wg.Wait()
	p.alive()
	c, ctx := p.client(), within(t, patience)
	alarms, err := c.AlarmList(ctx) // requests may have raised some
	require.NoError(t, err)
	for _, a := range alarms.Alarms {
		_, err := c.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a))
		require.NoError(t, err)
	}
	fill(t, c, 1)
	before, err := c.HashKV(ctx, p.addr, 0)
	require.NoError(t, err)
	p.kill()
	p.start()
	after, err := c.HashKV(ctx, p.addr, before.HashRevision)
	require.NoError(t, err)
	require.Equal(t, before.Hash, after.Hash)
	fill(t, c, 2)
	p.stop()
}

func attack(ctx context.Context, conn *grpc.ClientConn, m method, r *rand.Rand) {
	var answer []byte
	if !m.stream {
		body := m.body(r)
		_ = conn.Invoke(ctx, m.name, &body, &answer)
		return
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.name)
	if err != nil {
		return
	}
	for range 1 + r.IntN(5) {
		body := m.body(r)
		if st.SendMsg(&body) != nil {
			break
		}
	}
	_ = st.CloseSend()
	for range r.IntN(10) {
		if st.RecvMsg(&answer) != nil {
			return
		}
	}
}

// Nor does what is not gRPC at all.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	n := 300
	if *long {
		n = 20_000
	}
	p := start(t)
	r := rand.New(rand.NewPCG(2, 2))
	heads := []string{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "GET /health HTTP/1.1\r\n",
		"POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"key\":", "POST /v3/watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"cre",
		"GET /v3/watch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", "P", "\x16\x03\x01"}
	var conns []net.Conn
	for i := range n {
		c, err := net.DialTimeout("tcp", p.addr, patience)
		require.NoError(t, err)
		junk := make([]byte, r.IntN(200))
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		_, _ = io.WriteString(c, pick(r, heads)+string(junk))
		if i%10 == 0 { // some are just left open
			conns = append(conns, c)
		} else {
			c.Close()
		}
	}
	p.alive()
	fill(t, p.client(), 1)
	code, _ := p.get("/health")
	require.Equal(t, 200, code)
	for _, c := range conns {
		c.Close()
	}
}

// JSON that is deep, wide or endless costs its sender an error.
func TestHostileJSON(t *testing.T) {
	t.Parallel()
	p := start(t)
	for name, body := range map[string]string{
		"deep":      strings.Repeat(`{"success":[{"request_txn":`, 4000) + `{}` + strings.Repeat(`}]}`, 4000),
		"deep list": strings.Repeat(`[`, 100_000),
		"long":      `{"key":"` + strings.Repeat("A", 6<<20) + `"}`,
		"not JSON":  "\x00\xff",
	} {
		code, answer := p.post("/v3/kv/txn", body)
		require.Equal(t, 400, code, "%s: %.200s", name, answer)
	}
	p.alive()
	fill(t, p.client(), 1)
}

// Who sends too much and reads only afterwards gets an answer, not a broken connection.
func TestALargeBodyIsAnswered(t *testing.T) {
	t.Parallel()
	p := start(t)
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 2 { // the connection goes on
		const head, tail, size = `{"key":"`, `"}`, 20 << 20
		_, err = fmt.Fprintf(conn, "POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(head)+size+len(tail), head)
		require.NoError(t, err)
		_, err = io.WriteString(conn, strings.Repeat("A", size)+tail)
		require.NoError(t, err)
		resp, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 400, resp.StatusCode)
		require.Contains(t, string(body), "a message is larger than")
	}
}
