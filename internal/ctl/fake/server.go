// Package fake is a small stand-in for a server of the v3 API, for the tests of
// the client and of etcdctl. It keeps one keyspace with its whole history in
// memory, answers with fixed ids, so that outputs can be compared byte by byte,
// and can be told to fail. It must never be used outside tests.
package fake

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// The ids that every response carries.
const (
	ClusterID = 0xcdf818194e3a8c32
	MemberID  = 0x8e9e05c52164694d
	Term      = 2
	LeaseID   = 0x694d7550f0e4bb0c
)

// Server is the fake. Fields in the first group may be set while no call runs.
type Server struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedLeaseServer
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer
	pb.UnimplementedAuthServer

	// Hook sees every unary call and stream opening before it is served; an
	// error is the answer. Stream openings have a nil request.
	Hook func(ctx context.Context, method string, req any) error
	// OnWatch sees every request of a watch stream; a response is sent in
	// place of serving it, an error ends the stream.
	OnWatch func(*pb.WatchRequest) (*pb.WatchResponse, error)
	// StatusResponse, HashKVResponse and Blob are what those calls answer.
	StatusResponse *pb.StatusResponse
	HashKVResponse *pb.HashKVResponse
	Blob           []byte
	BlobVersion    string
	LeaseTTL       int64 // remaining seconds TimeToLive tells, 0: what was granted

	Addr string // host:port

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at every change
	rev       int64
	compacted int64
	kvs       map[string]*mvccpb.KeyValue
	events    []*mvccpb.Event
	leases    map[int64]int64
	members   []*pb.Member
	alarms    []*pb.AlarmMember
	auth      authState
	limits    []*structpb.Struct
	calls     []Call

	grpc   *grpc.Server
	lis    net.Listener
	served chan struct{} // closed when grpc has let go of lis
}

// Call is one call the server got: its method without the package, and its
// request, and the metadata.
type Call struct {
	Method string
	Req    any
	MD     metadata.MD
}

// Start runs a fake on a free port until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		rev: 1, kvs: map[string]*mvccpb.KeyValue{}, leases: map[int64]int64{},
		changed: make(chan struct{}),
		members: []*pb.Member{{
			ID: MemberID, Name: "m1",
			PeerURLs: []string{"http://localhost:2380"}, ClientURLs: []string{"http://localhost:2379"},
		}},
	}
	s.auth.init()
	s.listen(t, "127.0.0.1:0")
	t.Cleanup(s.Stop)
	return s
}

func (s *Server) listen(t testing.TB, addr string) {
	t.Helper()
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s.lis, s.Addr = lis, lis.Addr().String()
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	pb.RegisterKVServer(s.grpc, s)
	pb.RegisterWatchServer(s.grpc, s)
	pb.RegisterLeaseServer(s.grpc, s)
	pb.RegisterClusterServer(s.grpc, s)
	pb.RegisterMaintenanceServer(s.grpc, s)
	pb.RegisterAuthServer(s.grpc, s)
	s.grpc.RegisterService(&limitsDesc, s)
	s.served = make(chan struct{})
	go func(g *grpc.Server, done chan struct{}) {
		defer close(done)
		_ = g.Serve(lis) // ends with Stop
	}(s.grpc, s.served)
}

// Stop cuts all connections; Restart serves on the same address again, with the
// same data.
func (s *Server) Stop() {
	s.grpc.Stop()
	<-s.served
	_ = s.lis.Close()
}

func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.listen(t, s.Addr)
}

const prefix = "/etcdserverpb."

func (s *Server) note(ctx context.Context, full string, req any) error {
	md, _ := metadata.FromIncomingContext(ctx)
	method := strings.TrimPrefix(full, prefix)
	s.mu.Lock()
	s.calls = append(s.calls, Call{method, req, md})
	s.mu.Unlock()
	if s.Hook != nil {
		return s.Hook(ctx, method, req)
	}
	return nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	if err := s.note(ctx, info.FullMethod, req); err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) error {
	if err := s.note(ss.Context(), info.FullMethod, nil); err != nil {
		return err
	}
	return h(srv, ss)
}

// Calls returns the calls of one method so far.
func (s *Server) Calls(method string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if c.Method == method {
			out = append(out, c)
		}
	}
	return out
}

// header is that of a response. The caller holds s.mu.
func (s *Server) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: ClusterID, MemberId: MemberID, Revision: s.rev, RaftTerm: Term}
}

// Rev is the current revision.
func (s *Server) Rev() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}
