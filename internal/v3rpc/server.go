// Package v3rpc is etcd's v3 API over gRPC. It checks the shape of requests, turns writes into commands, reads views,
// and writes answers by reference.
//
// It must never change state, or know how a command is replicated: it sees the member through Backend.
package v3rpc

import (
	"context"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/cairn-kv/cairn/internal/audit"
	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/token"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Backend is the member behind the API.
type Backend interface {
	// View is the state after the last applied batch.
	View() *machine.View
	// Read waits until the view holds everything acknowledged before the call.
	Read(ctx context.Context) error
	// Propose puts a command into the log and waits for its effect.
	ProposeAs(ctx context.Context, id auth.Identity, kind wire.Kind, body []byte) (machine.Result, error)
	// SetLimit and RemoveLimit change what users and prefixes are limited to.
	SetLimit(ctx context.Context, who auth.Identity, r *limits.Rule) error
	RemoveLimit(ctx context.Context, who auth.Identity, t *limits.Target) error
	// HasSpace reports whether the database may grow by cost bytes, and raises the alarm if it may not.
	HasSpace(ctx context.Context, cost int) bool

	MemberID() cluster.ID
	ClusterID() cluster.ID
	Leader() cluster.ID // 0 if none is known
	IsLeader() bool
	Committed() uint64
	Size() engine.Sizes
	RequestTimeout() time.Duration

	Hub() *watch.Hub
	NewLeaseID() int64
	Renew(ctx context.Context, id int64) (ttlSeconds int64, err error)
	Remaining(ctx context.Context, id int64) (left time.Duration, known bool, err error)

	// Snapshot is the engine's content and the state it belongs to.
	Snapshot(ctx context.Context) (engine.View, *machine.View, error)
	// HashKV hashes the keyspace at a revision, 0 for the present one.
	HashKV(ctx context.Context, rev int64) (machine.KVHash, error)
	AwaitCompaction(ctx context.Context, rev int64) error
	// Tidy asks the engine to give unused space back, in its own time.
	Tidy()

	Membership
}

// Config sets the limits of the API (server-config.md section 2.1).
type Config struct {
	Version          string // of the server, x.y.z
	MaxRequestBytes  int
	MaxTxnOps        int
	MaxStreams       uint32 // per connection
	QuotaBytes       int64
	AnswerBytes      int64 // memory for large answers; 0 stands for 256 MiB
	ProgressInterval time.Duration
	ElectionTimeout  time.Duration

	Tokens         token.Provider
	Passwords      *password.Checker
	ClientCertAuth bool // clients show certificates, and these say who they are

	KeepaliveMinTime, KeepaliveInterval, KeepaliveTimeout time.Duration

	Logger  *slog.Logger
	Metrics *Metrics
	Audit   *audit.Log // nil for none
	Options []grpc.ServerOption
}

const (
	// OverheadBytes is what a message may be larger than the largest request.
	OverheadBytes = 512 << 10
	maxSendBytes  = 1<<31 - 1
	// handshakeWithin bounds how long a connection may take to become one.
	handshakeWithin = 10 * time.Second
	// streamWorkers are goroutines that stay, so that a call need not grow a stack of its own. A write keeps one until
	// it is durable; calls beyond that many get a goroutine each.
	streamWorkers = 1024
)

// Server is the gRPC server of one member.
type Server struct {
	*grpc.Server
	health *health.Server
	leads  *leaderWatch
	gate   *gate
	lease  *leaseServer
}

// New makes a server with all services registered.
func New(b Backend, cfg Config) *Server {
	s := &Server{health: health.NewServer(), leads: newLeaderWatch(b, cfg.ElectionTimeout)}
	c := &core{Backend: b, cfg: cfg, pins: newPins(), answers: newRoom(cfg.AnswerBytes)}
	s.gate = &gate{core: c, leads: s.leads, open: newCalls()}
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{cfg.Metrics}),
		grpc.MaxRecvMsgSize(cfg.MaxRequestBytes + OverheadBytes),
		grpc.MaxSendMsgSize(maxSendBytes),
		grpc.ConnectionTimeout(handshakeWithin),
		grpc.MaxConcurrentStreams(cfg.MaxStreams),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.UnaryInterceptor(s.gate.unary),
		grpc.StreamInterceptor(s.gate.stream),
	}
	if cfg.KeepaliveMinTime > 0 {
		opts = append(opts, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: cfg.KeepaliveMinTime}))
	}
	if cfg.KeepaliveInterval > 0 && cfg.KeepaliveTimeout > 0 {
		opts = append(opts, grpc.KeepaliveParams(keepalive.ServerParameters{Time: cfg.KeepaliveInterval, Timeout: cfg.KeepaliveTimeout}))
	}
	s.Server = grpc.NewServer(append(opts, cfg.Options...)...)
	rates := &throttle{}
	s.RegisterService(kvDesc(), &kvServer{core: c, throttle: rates})
	lease := &leaseServer{core: c, throttle: rates}
	s.RegisterService(leaseDesc(), lease)
	steps := recipes{core: c, kv: &kvServer{core: c}, lease: &leaseServer{core: c}, throttle: rates}
	s.RegisterService(lockDesc(), &lockServer{steps})
	s.RegisterService(electionDesc(), &electionServer{steps})
	pb.RegisterWatchServer(s, &watchServer{core: c})
	s.lease = lease
	s.RegisterService(limitsDesc(), &limitsServer{core: c})
	pb.RegisterMaintenanceServer(s, &maintenanceServer{core: c})
	pb.RegisterClusterServer(s, &clusterServer{core: c})
	pb.RegisterAuthServer(s, &authServer{core: c})
	grpc_health_v1.RegisterHealthServer(s, s.health)
	cfg.Metrics.describe(s.Server)
	return s
}

// LeaseTimeToLive answers other members what clients may ask too.
// The member that a client has asked has judged whether it may.
func (s *Server) LeaseTimeToLive(ctx context.Context, q *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	r, _, err := s.lease.timeToLive(ctx, q)
	return r, err
}

// EndStreams ends what goes on for as long as clients like: watches, keep-alives, waiting for a lock. They learn that
// the server stops, and go elsewhere. Other calls are served on.
func (s *Server) EndStreams() {
	s.health.Shutdown()
	s.gate.open.close(wire.ErrStopped)
}

// graceForStreams is how long streams that have been ended may take to tell their clients, some of which do not read.
const graceForStreams = 500 * time.Millisecond

// Shutdown stops serving: it ends streams, and waits for other calls until the context ends.
func (s *Server) Shutdown(ctx context.Context) {
	s.EndStreams()
	done := make(chan struct{})
	go func() { s.GracefulStop(); close(done) }()
	ticker := time.NewTicker(graceForStreams)
	defer ticker.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-ticker.C:
			waiting = s.gate.busy.Load() > 0
		case <-ctx.Done():
			waiting = false
		}
	}
	s.Stop()
	<-done
	s.leads.stop()
}

// core is what all services share.
type core struct {
	Backend
	cfg     Config
	pins    *pins
	answers *room
}

func (c *core) header(v *machine.View, rev int64) wire.Header {
	return wire.Header{ClusterID: uint64(c.ClusterID()), MemberID: uint64(c.MemberID()), Revision: rev, Term: v.Term}
}

// message is header for services that answer with messages; rev 0 stands for the current revision.
func (c *core) message(rev int64) *pb.ResponseHeader {
	v := c.View()
	if rev == 0 {
		rev = v.KV.Rev()
	}
	return &pb.ResponseHeader{ClusterId: uint64(c.ClusterID()), MemberId: uint64(c.MemberID()), Revision: rev, RaftTerm: v.Term}
}
