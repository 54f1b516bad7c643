package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// member is a gRPC server whose answers the test chooses.
type member struct {
	pb.UnimplementedKVServer
	pb.UnimplementedWatchServer
	pb.UnimplementedLeaseServer
	rangeKeys func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	watch     func(pb.Watch_WatchServer) error
	other     grpc.StreamHandler // of methods that are not here; nil refuses them
}

func (m *member) Range(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	return m.rangeKeys(ctx, q)
}

func (m *member) Put(_ context.Context, q *pb.PutRequest) (*pb.PutResponse, error) {
	return &pb.PutResponse{Header: &pb.ResponseHeader{Revision: int64(len(q.Value))}}, nil
}

func (m *member) Watch(st pb.Watch_WatchServer) error { return m.watch(st) }

func (m *member) LeaseKeepAlive(st pb.Lease_LeaseKeepAliveServer) error {
	for {
		q, err := st.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if q.ID < 0 {
			return status.Error(codes.Unavailable, "etcdserver: no leader")
		}
		if err := st.Send(&pb.LeaseKeepAliveResponse{ID: q.ID, TTL: 9}); err != nil {
			return err
		}
	}
}

type site struct {
	t       *testing.T
	gateway *Gateway
	http    *httptest.Server
}

func newSite(t *testing.T, m *member, cfg Config) *site {
	var opts []grpc.ServerOption
	if m.other != nil {
		opts = append(opts, grpc.UnknownServiceHandler(m.other))
	}
	s := grpc.NewServer(opts...)
	pb.RegisterKVServer(s, m)
	pb.RegisterWatchServer(s, m)
	pb.RegisterLeaseServer(s, m)
	g, err := New(cfg)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(g.Listener()) }()
	h := httptest.NewServer(g)
	t.Cleanup(func() {
		g.Close()
		h.Close()
		s.Stop()
		if err := <-served; err != nil { // nil if Stop came before the listener's end was seen
			require.ErrorIs(t, err, net.ErrClosed)
		}
	})
	return &site{t, g, h}
}

func (s *site) post(path, body string, header ...string) (*http.Response, string) {
	r, err := http.NewRequest("POST", s.http.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp, string(b)
}

func echo(_ context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	return &pb.RangeResponse{Header: &pb.ResponseHeader{ClusterId: 1 << 63, Revision: 7}, Kvs: []*mvccpb.KeyValue{{Key: q.Key, Value: q.RangeEnd}}, Count: q.Limit}, nil
}

func incoming(ctx context.Context, name string) []string {
	return metadata.ValueFromIncomingContext(ctx, name)
}
