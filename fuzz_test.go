package cairn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/host"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/token"
	"github.com/cairn-kv/cairn/internal/v3rpc"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/wire"
	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/fuzz"
)

// fuzzed is a member that is wired as every member is, with its log and its database in memory, and serves on a socket in the
// file system: what is plain, and TLS if there is a certificate.
type fuzzed struct {
	tb     testing.TB // who uses it now
	s      *Server
	eng    *mem.Engine
	socket string
	conn   *grpc.ClientConn
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func newFuzzed(tb testing.TB, dir string, pair *certs.Pair) *fuzzed {
	m := &fuzzed{tb: tb, eng: mem.New(), socket: filepath.Join(dir, "s")}
	cfg := DefaultConfig()
	addrs := "unix://" + m.socket
	if pair != nil {
		addrs += ",unixs://" + m.socket
		cfg.ClientTLS.CertFile, cfg.ClientTLS.KeyFile = pair.Cert, pair.Key
	}
	urls, err := parseURLs(addrs)
	require.NoError(tb, err)
	cfg.ListenClientURLs, cfg.AdvertiseClientURLs, cfg.Logger, cfg.BcryptCost, cfg.EnableV2 = urls, urls, quietLog, 4, true
	cfg.HeartbeatInterval = 10 * time.Millisecond
	cfg.ElectionTimeout = 100 * time.Millisecond
	s := &Server{cfg: cfg, log: quietLog, registry: prometheus.NewRegistry(), started: time.Now(), quit: make(chan struct{})}
	m.s = s
	s.passwords, err = password.New(password.Config{Cost: cfg.BcryptCost})
	require.NoError(tb, err)
	s.tokens, err = token.New(token.Config{Options: "simple", TTL: time.Hour, Logger: quietLog,
		Await: func(ctx context.Context, index uint64) error { return s.host.AwaitApplied(ctx, index) }})
	require.NoError(tb, err)
	s.secrets, err = cfg.openTLS(quietLog)
	require.NoError(tb, err)
	listeners, err := listen(urls, s.secrets.clients, "http/1.1", "h2")
	require.NoError(tb, err)

	disk := vfs.NewMemory()
	require.NoError(tb, disk.MkdirAll("d", 0o700))
	me := cluster.Member{PeerURLs: []string{"http://a:2380"}, Name: "a"}
	me.ID = cluster.MemberID(me.PeerURLs, "test", 0)
	begin := &origin{me: me, id: 9, members: []cluster.Member{me}}
	require.NoError(tb, begin.create(disk, "d/wal", wal.Options{SegmentSize: 1 << 20}))
	log, rec, err := wal.Open(disk, "d/wal", wal.Options{SegmentSize: 1 << 20})
	require.NoError(tb, err)
	mach, err := machine.Open(machine.Config{MinLeaseTTLSeconds: cfg.minLeaseTTL(), MaxLearners: 1}, m.eng)
	require.NoError(tb, err)
	s.host, err = host.Start(host.Config{MemberID: me.ID, ClusterID: 9, Name: "a", ClientURLs: []string{"http://a:2379"}, Version: Version,
		Tick: cfg.HeartbeatInterval, ElectionTicks: cfg.electionTicks(), PreVote: true, MaxRequestBytes: cfg.MaxRequestBytes, DataDir: "d", FS: disk,
		Machine: mach, Log: log, Recovered: rec, Logger: quietLog, Metrics: host.NewMetrics(s.registry), Sessions: s.tokens, Connect: s.connect})
	require.NoError(tb, err)
	s.rpc = v3rpc.New(s.host, v3rpc.Config{
		Version: Version, MaxRequestBytes: cfg.MaxRequestBytes, MaxTxnOps: cfg.MaxTxnOps, MaxStreams: cfg.MaxConcurrentStreams,
		ProgressInterval: cfg.WatchProgressInterval, ElectionTimeout: cfg.ElectionTimeout, Tokens: s.tokens, Passwords: s.passwords,
		Options: []grpc.ServerOption{grpc.Creds(newFromEntrance())}, Logger: quietLog, Metrics: v3rpc.NewMetrics(s.registry, true),
	})
	s.rpc.RegisterHealer(s)
	select {
	case <-s.host.Ready():
	case <-time.After(10 * time.Second):
		tb.Fatal("the host does not get ready")
	}
	require.NoError(tb, s.serve(listeners, nil))
	m.conn, err = grpc.NewClient("unix://"+m.socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	require.NoError(tb, err)
	return m
}

func (m *fuzzed) stop(tb testing.TB) {
	m.tb = tb
	_ = m.conn.Close()
	m.s.serving.stop(m.s.rpc, 10*time.Second)
	require.NoError(m.tb, m.s.host.Stop())
	m.s.tokens.Close()
	_ = os.Remove(m.socket)
}

// bytesCodec sends and receives messages as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string                       { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

// mostAnswers bounds how many messages of a stream are looked at.
const mostAnswers = 20

// call calls a method with some messages, and returns what was answered until the end, for a short time.
func (m *fuzzed) call(method string, stream bool, token string, messages ...[]byte) (out [][]byte, err error) {
	within := 10 * time.Second
	if stream || method == v3rpc.LockMethod || method == v3rpc.CampaignMethod {
		within = 30 * time.Millisecond // these may wait for as long as their client does
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	if !stream {
		var answer []byte
		err := m.conn.Invoke(ctx, method, messages[0], &answer, grpc.ForceCodec(bytesCodec{}))
		return [][]byte{answer}, err
	}
	st, err := m.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodec(bytesCodec{}))
	if err != nil {
		return nil, err
	}
	for _, b := range messages {
		if st.SendMsg(b) != nil {
			break // RecvMsg tells why
		}
	}
	_ = st.CloseSend()
	for range mostAnswers {
		var answer []byte
		if err := st.RecvMsg(&answer); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return out, err
		}
		out = append(out, answer)
	}
	return out, nil
}

// must makes a unary call that has to go well.
func (m *fuzzed) must(method, token string, q, a proto.Message) {
	b, err := proto.Marshal(q)
	require.NoError(m.tb, err)
	out, err := m.call(method, false, token, b)
	require.NoError(m.tb, err, method)
	if a != nil {
		require.NoError(m.tb, proto.Unmarshal(out[0], a))
	}
}

func (m *fuzzed) login(name, password string) string {
	var a pb.AuthenticateResponse
	m.must(pb.Auth_Authenticate_FullMethodName, "", &pb.AuthenticateRequest{Name: name, Password: password}, &a)
	return a.Token
}

// secret is in every value that the guest may not read.
const secret = "\xf0S-E-C-R-E-T\xf1"

// guests is a member with users: root, and a guest who may read and write from "g" to "h" and nothing else.
type guests struct {
	*fuzzed
	token string
	rest  string // all but the guest's keys
	calls int
}

func newGuests(tb testing.TB, dir string) *guests {
	m := newFuzzed(tb, dir, nil)
	for _, k := range []string{"a", "g", "g1", "h", "z"} {
		v := secret + k
		if strings.HasPrefix(k, "g") {
			v = k
		}
		for range 2 {
			m.must(pb.KV_Put_FullMethodName, "", &pb.PutRequest{Key: []byte(k), Value: []byte(v)}, nil)
		}
	}
	m.must(pb.Lease_LeaseGrant_FullMethodName, "", &pb.LeaseGrantRequest{ID: 1, TTL: 1e6}, nil)
	m.must(pb.KV_Put_FullMethodName, "", &pb.PutRequest{Key: []byte("leased"), Value: []byte(secret), Lease: 1}, nil)
	for _, u := range []string{"root", "guest"} {
		m.must(pb.Auth_UserAdd_FullMethodName, "", &pb.AuthUserAddRequest{Name: u, Password: "p-" + u}, nil)
		m.must(pb.Auth_RoleAdd_FullMethodName, "", &pb.AuthRoleAddRequest{Name: u}, nil)
		m.must(pb.Auth_UserGrantRole_FullMethodName, "", &pb.AuthUserGrantRoleRequest{User: u, Role: u}, nil)
	}
	m.must(pb.Auth_RoleGrantPermission_FullMethodName, "", &pb.AuthRoleGrantPermissionRequest{Name: "guest",
		Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: []byte("g"), RangeEnd: []byte("h")}}, nil)
	m.must(pb.Auth_AuthEnable_FullMethodName, "", &pb.AuthEnableRequest{}, nil)
	g := &guests{fuzzed: m, token: m.login("guest", "p-guest")}
	g.rest = g.others(wire.Range{Lo: "g", Hi: "h"})
	return g
}

// others is the state of the member without the keys of a range.
func (m *fuzzed) others(but wire.Range) string {
	var b strings.Builder
	v := m.s.host.View()
	v.KV.Each(wire.Range{}, func(kv wire.KV) bool {
		if !but.Contains(kv.Key()) {
			fmt.Fprintf(&b, "%+v\n", kv.Fields())
		}
		return true
	})
	if l, ok := v.Leases.Get(1); ok {
		fmt.Fprintln(&b, l, v.Leases.Keys(1))
	}
	eng := m.eng.View()
	defer eng.Release()
	for _, s := range engine.Spaces {
		if s == engine.Key || s == engine.Meta || s == engine.Lease {
			continue // seen above, or part of everything that happens
		}
		require.NoError(m.tb, eng.Scan(s, nil, nil, func(k, v []byte) bool {
			fmt.Fprintf(&b, "%v %q %q\n", s, k, v)
			return true
		}))
	}
	return b.String()
}

const (
	// mostAllocated bounds what one input makes the whole process allocate, in bytes.
	mostAllocated = 64 << 20
	// callsEach is how many inputs one member gets: what they leave behind stays small.
	callsEach = 400
)

// FuzzCalls sends any message to every method of every service: to a member without users, and to one with users as a guest,
// as nobody, and with any token. Nobody changes or reads what is not theirs, the member goes on serving, and its database
// can be opened again.
func FuzzCalls(f *testing.F) {
	dir := f.TempDir()
	var open *fuzzed
	var closed *guests
	calls := 0
	f.Cleanup(func() {
		if open != nil {
			open.stop(f)
		}
		if closed != nil {
			closed.stop(f)
		}
	})
	renew := func(t testing.TB) {
		if v := (*machine.View)(nil); open != nil {
			open.tb = t
			v = open.s.host.View()
			if calls++; calls < callsEach && !v.Auth.Enabled && len(v.Alarms) == 0 && v.Limits.Len() == 0 && !v.Downgrade.Enabled && departed(open) == nil {
				return
			}
			open.stop(t)
			m, err := machine.Open(machine.Config{MinLeaseTTLSeconds: 2}, open.eng.Crash())
			require.NoError(t, err)
			require.GreaterOrEqual(t, m.View().KV.Rev(), v.KV.Rev())
		}
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "o"), 0o700))
		open, calls = newFuzzed(t, filepath.Join(dir, "o"), nil), 0
		open.must(pb.KV_Put_FullMethodName, "", &pb.PutRequest{Key: []byte("g1"), Value: []byte("v")}, nil)
		open.must(pb.Lease_LeaseGrant_FullMethodName, "", &pb.LeaseGrantRequest{ID: 1, TTL: 1e6}, nil)
	}
	renewGuests := func(t testing.TB) {
		if closed != nil {
			closed.tb = t
			if closed.calls++; closed.calls < callsEach {
				return
			}
			closed.stop(t)
		}
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "c"), 0o700))
		closed = newGuests(t, filepath.Join(dir, "c"))
	}
	renew(f)
	streams, both := map[string]bool{}, map[string]bool{}
	var methods []string
	for name, service := range open.s.rpc.GetServiceInfo() {
		for _, m := range service.Methods {
			full := "/" + name + "/" + m.Name
			methods = append(methods, full)
			streams[full], both[full] = m.IsClientStream || m.IsServerStream, m.IsClientStream
		}
	}
	slices.Sort(methods)
	for _, m := range methods {
		for who := range 4 {
			for _, texts := range []bool{false, true} {
				f.Add(m, byte(who), sample(f, m, "g1", "g5", "guest", texts), []byte("token.1"))
				f.Add(m, byte(who), sample(f, m, "\x00", "\x00", "root", texts), []byte{})
			}
		}
		f.Add(m, byte(1), []byte{}, []byte{})
	}
	f.Fuzz(func(t *testing.T, method string, who byte, body, more []byte) {
		stream, ok := streams[method]
		if !ok {
			h := fnv.New32a()
			_, _ = io.WriteString(h, method)
			method = methods[h.Sum32()%uint32(len(methods))]
			stream = streams[method]
		}
		messages := [][]byte{body}
		if both[method] {
			messages = append(messages, more)
		}
		renew(t)
		frugal := fuzz.Frugal(t, mostAllocated)
		if who%4 == 0 {
			_, err := open.call(method, stream, "", messages...)
			require.False(t, confused(err), "%s: %v", method, err)
			frugal()
			if departed(open) == nil {
				healthy(t, open)
			}
			return
		}
		renewGuests(t)
		frugal = fuzz.Frugal(t, mostAllocated)
		token, mine := closed.token, wire.Range{Lo: "g", Hi: "h"}
		switch who % 4 {
		case 2:
			token, mine = "", wire.Range{Lo: "x", Hi: "x"}
		case 3:
			token, mine = strings.ToValidUTF8(strings.Map(printable, string(more)), ""), wire.Range{Lo: "x", Hi: "x"}
		}
		want := closed.rest
		if who%4 != 1 {
			want = closed.others(mine)
		}
		answers, err := closed.call(method, stream, token, messages...)
		require.False(t, confused(err), "%s: %v", method, err)
		for _, a := range answers {
			require.NotContains(t, string(a), secret, method)
		}
		if err != nil {
			require.NotContains(t, err.Error(), secret, method)
		}
		require.Equal(t, want, closed.others(mine), "%s has changed what it may not", method)
		frugal()
		healthy(t, closed.fuzzed)
	})
}

// confused reports whether an error is one that no request should lead to.
func confused(err error) bool {
	switch status.Code(err) {
	case codes.DataLoss:
		return true
	case codes.Internal:
		return !strings.Contains(err.Error(), "failed to unmarshal") // gRPC's way to refuse a message
	}
	return false
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// departed is not nil if the member has been removed from its cluster.
func departed(m *fuzzed) error {
	select {
	case <-m.s.host.Departed():
		return errors.New("departed")
	default:
		return nil
	}
}

// healthy asks the member for its health, with a call that goes all the way.
func healthy(t *testing.T, m *fuzzed) {
	b, err := proto.Marshal(&grpc_health_v1.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = m.call(grpc_health_v1.Health_Check_FullMethodName, false, "", b)
	require.NoError(t, err)
	require.NoError(t, m.s.host.Failed())
}

// sample is a request of a method with something in every field, or in those of bytes and strings alone.
func sample(tb testing.TB, method, key, end, name string, texts bool) []byte {
	full := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(full)
	if err != nil { // of the services that etcd does not publish: name, lease, value
		b := append([]byte{0x0a, byte(len(key))}, key...)
		return append(b, 0x10, 1, 0x1a, 1, 'v')
	}
	q := dynamicpb.NewMessage(d.(protoreflect.MethodDescriptor).Input())
	fill(q, 3, key, end, name, texts)
	b, err := proto.Marshal(q)
	require.NoError(tb, err)
	return b
}

func fill(m protoreflect.Message, depth int, key, end, name string, texts bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.ContainingOneof() != nil && m.WhichOneof(fd.ContainingOneof()) != nil || fd.IsMap() {
			continue
		}
		if fd.Kind() == protoreflect.MessageKind {
			if depth == 0 {
				continue
			}
			if fd.IsList() {
				e := m.Mutable(fd).List().NewElement()
				fill(e.Message(), depth-1, key, end, name, texts)
				m.Mutable(fd).List().Append(e)
			} else {
				fill(m.Mutable(fd).Message(), depth-1, key, end, name, texts)
			}
			continue
		}
		if texts && fd.Kind() != protoreflect.BytesKind && fd.Kind() != protoreflect.StringKind {
			continue
		}
		var v protoreflect.Value
		switch fd.Kind() {
		case protoreflect.BytesKind:
			v = protoreflect.ValueOfBytes([]byte(key))
			if fd.Name() == "range_end" {
				v = protoreflect.ValueOfBytes([]byte(end))
			}
		case protoreflect.StringKind:
			v = protoreflect.ValueOfString(name)
		case protoreflect.BoolKind:
			v = protoreflect.ValueOfBool(true)
		case protoreflect.EnumKind:
			v = protoreflect.ValueOfEnum(1)
		case protoreflect.Int64Kind:
			v = protoreflect.ValueOfInt64(1)
		case protoreflect.Uint64Kind:
			v = protoreflect.ValueOfUint64(1)
		case protoreflect.Int32Kind:
			v = protoreflect.ValueOfInt32(1)
		case protoreflect.Uint32Kind:
			v = protoreflect.ValueOfUint32(1)
		default:
			continue
		}
		if fd.IsList() {
			m.Mutable(fd).List().Append(v)
		} else {
			m.Set(fd, v)
		}
	}
}

// FuzzConnection sends any bytes over connections to a member: as they are, behind the beginning of HTTP/2, and behind the
// beginning of a call, each with and without TLS. When the client ends a connection so does the member, which then serves others and has given
// everything back.
func FuzzConnection(f *testing.F) {
	frames := func(write func(*http2.Framer)) []byte {
		var b bytes.Buffer
		write(http2.NewFramer(&b, nil))
		return b.Bytes()
	}
	hello := append([]byte(preface), frames(func(fr *http2.Framer) { _ = fr.WriteSettings() })...)
	headers := func(fr *http2.Framer, id uint32, end bool, pairs ...string) {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := 0; i+1 < len(pairs); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: end})
	}
	call := func(fr *http2.Framer, method string) {
		headers(fr, 1, false, ":method", "POST", ":scheme", "http", ":path", method, ":authority", "h", "content-type", "application/grpc", "te", "trailers")
	}
	beginnings := [][]byte{nil, hello}
	for _, m := range []string{pb.KV_Range_FullMethodName, pb.KV_Txn_FullMethodName, pb.Watch_Watch_FullMethodName, pb.Lease_LeaseKeepAlive_FullMethodName} {
		beginnings = append(beginnings, append(bytes.Clone(hello), frames(func(fr *http2.Framer) { call(fr, m) })...))
	}
	f.Add(byte(0), helloTLS(f))
	f.Add(byte(0), helloTLS(f)[:40])
	message := append([]byte{0, 0, 0, 0, 3}, 0x0a, 1, 'k')
	for i := range 2 * len(beginnings) {
		f.Add(byte(i), []byte{})
		f.Add(byte(i), frames(func(fr *http2.Framer) { _ = fr.WriteData(1, true, message) }))
		f.Add(byte(i), frames(func(fr *http2.Framer) {
			_ = fr.WriteData(1, false, message[:4])
			_ = fr.WriteWindowUpdate(0, 1<<31-1)
			_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
		}))
		f.Add(byte(i), frames(func(fr *http2.Framer) {
			_ = fr.WriteData(1, true, []byte{0, 0xff, 0xff, 0xff, 0xff, 1})
			headers(fr, 3, true, ":method", "POST", ":path", "/x", "grpc-timeout", "1H", "content-type", "application/grpc")
			_ = fr.WriteContinuation(3, true, []byte{0x80})
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1<<32 - 1})
			_ = fr.WriteGoAway(1, http2.ErrCodeNo, nil)
			_ = fr.WritePriority(5, http2.PriorityParam{StreamDep: 5})
			_ = fr.WriteRawFrame(0x42, 0xff, 7, []byte("unknown"))
		}))
		f.Add(byte(i), frames(func(fr *http2.Framer) { _ = fr.WriteData(1, true, []byte{1, 0, 0, 0, 1, 0}) }))
	}
	for _, s := range []string{
		"GET /version HTTP/1.1\r\nHost: h\r\n\r\n", "GET /v2/keys/?recursive=true HTTP/1.1\r\nHost: h\r\n\r\nPUT /v2/keys/a HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nvalue=1",
		"POST /v3/kv/put HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n{\"key\":\"Zm9v\",\"value\":\"YmFy\"}", "POST /v3/watch HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n22\r\n{\"create_request\":{\"key\":\"Zm9v\"}} \r\n",
		"GET /v3/watch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x85\x01\x02\x03\x04abcde",
		"GET /metrics HTTP/1.0\r\n\r\n", "GET /v2/keys/k?wait=true HTTP/1.1\r\nHost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x00\x00", "GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: h\r\n\r\n",
	} {
		f.Add(byte(0), []byte(s))
		f.Add(byte(len(beginnings)), []byte(s))
	}
	ping := frames(func(fr *http2.Framer) { _ = fr.WritePing(false, [8]byte{'l', 'a', 's', 't'}) })
	var m *fuzzed
	var routines, n int
	var heap uint64
	dir := f.TempDir()
	pair := certs.NewCA(f, "ca").Issue(f, "member", []string{"localhost"})
	f.Cleanup(func() {
		if m != nil {
			m.stop(f)
		}
	})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		if m == nil || n%5000 == 4999 || departed(m) != nil {
			if m != nil {
				m.stop(t)
			}
			m = newFuzzed(t, dir, &pair)
			healthy(t, m)
			routines, heap = runtime.NumGoroutine(), live()
		}
		n++
		sent := append(bytes.Clone(beginnings[int(kind)%len(beginnings)]), b...)
		if len(sent) > 0 && int(kind)%len(beginnings) > 0 {
			sent = append(sent, ping...)
		}
		frugal := fuzz.Frugal(t, mostAllocated)
		exchange(t, m.socket, sent, int(kind)/len(beginnings)%2 == 1)
		frugal()
		healthy(t, m)
		if n%40 == 0 {
			require.Eventually(t, func() bool { return runtime.NumGoroutine() < routines+20 }, 10*time.Second, time.Millisecond, "goroutines are left behind")
			require.Less(t, live(), heap+mostAllocated, "memory is left behind")
		}
	})
}

// live is how many bytes of memory are in use.
func live() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// helloTLS is what a client begins with.
func helloTLS(tb testing.TB) []byte {
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		_ = tls.Client(b, &tls.Config{ServerName: "h", NextProtos: []string{"h2"}}).HandshakeContext(context.Background())
	}()
	buf := make([]byte, 4096)
	n, err := a.Read(buf)
	require.NoError(tb, err)
	return buf[:n]
}

// exchange sends bytes, ends its side, and waits until the member has ended the other.
func exchange(t *testing.T, socket string, sent []byte, secure bool) {
	plain, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer plain.Close()
	require.NoError(t, plain.SetDeadline(time.Now().Add(20*time.Second)))
	var c interface {
		net.Conn
		CloseWrite() error
	} = plain.(*net.UnixConn)
	if secure {
		s := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, s.HandshakeContext(t.Context()))
		c = s
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = c.Write(sent) // the member may have heard enough
		_ = c.CloseWrite()
	})
	_, err = io.Copy(io.Discard, c)
	if ne, ok := err.(net.Error); ok {
		require.False(t, ne.Timeout(), "the connection does not end")
	}
	wg.Wait()
}

// FuzzOptions reads any file, and any flags, as a member's options: there is an error, or options that can be judged, the same
// ones every time.
func FuzzOptions(f *testing.F) {
	f.Add([]byte("name: x\ndata-dir: d\nlisten-client-urls: http://localhost:1,https://localhost:2\nheartbeat-interval: 100\n"), "--name\nx")
	f.Add([]byte("client-transport-security:\n  cert-file: c\n  client-cert-auth: true\npeer-transport-security: {auto-tls: true}\n"), "--pre-vote=false")
	f.Add([]byte("a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nname: [*c,*c,*c,*c,*c,*c]\n"), "")
	f.Add([]byte("discovery-config:\n  discovery-token: t\n  secure: {cacert: x}\nauto-compaction-retention: 5m\nauto-compaction-mode: periodic\n"), "--listen-peer-urls=unix://a:1\n--initial-cluster\na=http://b:1,a=http://c:2")
	f.Add([]byte("quota-backend-bytes: 1e400\nmax-txn-ops: -1\nsnapshot-count: [1]\nelection-timeout: 0\nname: {a: b}\n"), "--heartbeat-interval=0\n--election-timeout=99999999999")
	f.Add([]byte("cors: \"*\"\nhost-whitelist: a,b\ncipher-suites: [X]\ntls-min-version: TLS1.3\n? [a]\n: b\n"), "--tls-min-version=TLS1.3\n--cipher-suites=TLS_X")
	name := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, file []byte, flags string) {
		require.NoError(t, os.WriteFile(name, file, 0o600))
		defer fuzz.Frugal(t, mostAllocated)()
		for _, read := range []func() (Config, error){
			func() (Config, error) { return fromFile(name) },
			func() (Config, error) {
				var args []string
				for a := range strings.SplitSeq(flags, "\n") {
					if !strings.Contains(a, "config-file") { // another file
						args = append(args, a)
					}
				}
				return ParseArgs(args, []string{"ETCD_NAME=" + flags}, io.Discard)
			},
		} {
			c, err := read()
			if err != nil {
				require.NotEmpty(t, err.Error())
				continue
			}
			again, err := read()
			require.NoError(t, err)
			require.True(t, reflect.DeepEqual(c, again))
			if err = c.Validate(); err == nil {
				require.Positive(t, c.electionTicks())
				require.Positive(t, c.minLeaseTTL())
				require.NotEmpty(t, c.ListenClientURLs)
			}
		}
	})
}
