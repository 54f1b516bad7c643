// Package gateway serves the v3 API as JSON over HTTP/1, and over WebSockets. Each request becomes a call to the
// member's own gRPC server through memory, and passes there what every call passes.
//
// It must never know the member behind that server, nor the meaning of a request: it translates.
package gateway

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
)

// Config is what a gateway is made from.
type Config struct {
	// MaxMessageBytes bounds one JSON message of a request; 0 stands for 4 MiB.
	MaxMessageBytes int
	// Trusted tells whether a WebSocket may be opened by a request; nil lets all.
	Trusted func(*http.Request) bool
	// AddressKey is the metadata key under which a call tells where it comes from: its last value is the address of the HTTP
	// client. The empty key tells nothing.
	AddressKey string
	// CallKey is the metadata key under which a unary call over HTTP is named. Began is told before it is made, and Ended when
	// nothing is left of its answer.
	CallKey      string
	Began, Ended func(call string)
}

const (
	defaultMessageBytes = 4 << 20
	pipeBytes           = 256 << 10
)

// Gateway translates for one member. It is a handler of the paths below /v3/.
type Gateway struct {
	cfg  Config
	pipe *bufconn.Listener
	conn *grpc.ClientConn
	mux  *runtime.ServeMux
	stop context.CancelFunc
	ctx  context.Context

	calls   atomic.Uint64
	mu      sync.Mutex
	closed  bool
	bridges sync.WaitGroup // WebSockets, which no HTTP server waits for
}

// New makes a gateway. The caller has the gRPC server accept on Listener, and closes the gateway before that server.
func New(cfg Config) (*Gateway, error) {
	if cfg.MaxMessageBytes <= 0 {
		cfg.MaxMessageBytes = defaultMessageBytes
	}
	g := &Gateway{cfg: cfg, pipe: bufconn.Listen(pipeBytes)}
	g.ctx, g.stop = context.WithCancel(context.Background())
	var err error
	g.conn, err = grpc.NewClient("passthrough:///member",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return g.pipe.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, err
	}
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &marshaler{limit: int64(cfg.MaxMessageBytes), JSONPb: runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
		}}),
		runtime.WithErrorHandler(writeError),
		runtime.WithMetadata(g.address),
		runtime.WithStreamErrorHandler(func(ctx context.Context, err error) *status.Status { return status.Convert(reason(ctx, err)) }),
		runtime.WithDisablePathLengthFallback(),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gw.RegisterKVHandler, gw.RegisterWatchHandler, gw.RegisterLeaseHandler, gw.RegisterClusterHandler,
		gw.RegisterMaintenanceHandler, gw.RegisterAuthHandler, registerRecipes,
	} {
		if err := register(g.ctx, g.mux, g.conn); err != nil {
			g.Close()
			return nil, err
		}
	}
	return g, nil
}

// address goes behind what the client has sent, as metadata is put together.
func (g *Gateway) address(_ context.Context, r *http.Request) metadata.MD {
	if g.cfg.AddressKey == "" {
		return nil
	}
	md := metadata.Pairs(g.cfg.AddressKey, r.RemoteAddr)
	if name, ok := r.Context().Value(callName{}).(string); ok {
		md.Set(g.cfg.CallKey, name)
	}
	return md
}

// callName is the key of a call's name in the context of its request.
type callName struct{}

// named is the request with a name for its call.
func (g *Gateway) named(r *http.Request) (*http.Request, string) {
	name := strconv.FormatUint(g.calls.Add(1), 36)
	return r.WithContext(context.WithValue(r.Context(), callName{}, name)), name
}

// Listener is where the gRPC server accepts the gateway's calls.
func (g *Gateway) Listener() net.Listener { return listener{g.pipe} }

// listener reports its end as a socket does.
type listener struct{ *bufconn.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

// graceForBridges is how long WebSockets may take to pass on that the server has ended their calls.
const graceForBridges = 500 * time.Millisecond

// Close refuses new calls and ends those under way. Who ends the server's streams before lets WebSockets be told why.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		g.bridges.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(graceForBridges):
	}
	g.stop()
	<-ended
	_ = g.conn.Close()
	_ = g.pipe.Close()
}

const watchPath = "/v3/watch"

// streams are the routes whose request or response is more than one message.
var streams = map[string]bool{
	watchPath: true, "/v3/lease/keepalive": true, "/v3/maintenance/snapshot": true, "/v3/election/observe": true,
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	defer context.AfterFunc(g.ctx, func() { end(nil) })()
	r = r.WithContext(ctx)
	if isUpgrade(r) {
		g.mu.Lock()
		closed := g.closed
		if !closed {
			g.bridges.Add(1)
		}
		g.mu.Unlock()
		if closed {
			http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
			return
		}
		defer g.bridges.Done()
		g.bridge(w, r)
		return
	}
	if streams[r.URL.Path] && r.ProtoMajor == 1 {
		// The client may go on sending after the first answer. An error means that the writer has no such mode: then
		// answers begin when the request has ended.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	if r.URL.Path == watchPath {
		r.Body = &openBody{r.Body, end}
	}
	if streams[r.URL.Path] {
		g.mux.ServeHTTP(w, r)
		return
	}
	if g.cfg.Ended != nil {
		var name string
		r, name = g.named(r)
		g.cfg.Began(name)
		defer g.cfg.Ended(name)
		w = &hurried{ResponseWriter: w}
	}
	g.mux.ServeHTTP(w, r)
	passOver(w, r)
}

const (
	largeAnswer = 1 << 20
	graceToRead = 30 * time.Second
	leastRate   = 256 << 10 // bytes a second
)

// hurried bounds how long a client may take to read a large answer: it keeps others from theirs.
type hurried struct{ http.ResponseWriter }

func (w *hurried) Write(b []byte) (int, error) {
	if len(b) > largeAnswer {
		rc := http.NewResponseController(w.ResponseWriter)
		// An error means that the writer has no deadlines.
		_ = rc.SetWriteDeadline(time.Now().Add(graceToRead + time.Duration(len(b)/leastRate)*time.Second))
		defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer.
func (w *hurried) Unwrap() http.ResponseWriter { return w.ResponseWriter }

const (
	passOverBytes  = 64 << 20
	passOverWithin = 2 * time.Second
)

// passOver reads what the call left of its body, within bounds: a client that is still sending would see its connection
// reset, and not the answer, which waits in the writer until the handler returns.
func passOver(w http.ResponseWriter, r *http.Request) {
	// An error means that the writer has no deadlines: then the bytes bound it.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(passOverWithin))
	_, _ = io.CopyN(io.Discard, r.Body, passOverBytes)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}
