package v3rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/cluster"
)

type clusterServer struct {
	pb.UnimplementedClusterServer
	*core
}

func (s *clusterServer) MemberList(ctx context.Context, q *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if q.Linearizable {
		if err := s.Read(ctx); err != nil {
			return nil, err
		}
	}
	v := s.View()
	r := &pb.MemberListResponse{Header: &pb.ResponseHeader{ClusterId: uint64(s.ClusterID()), MemberId: uint64(s.MemberID()), RaftTerm: v.Term}}
	for _, m := range v.Cluster.Members() {
		r.Members = append(r.Members, memberMessage(m))
	}
	return r, nil
}

func memberMessage(m cluster.Member) *pb.Member {
	return &pb.Member{ID: uint64(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner}
}

var errOneMember = status.Error(codes.Unimplemented, "cairn: membership cannot be changed: this server runs as the only member of its cluster")

func (s *clusterServer) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, errOneMember
}

func (s *clusterServer) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, errOneMember
}

func (s *clusterServer) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, errOneMember
}

func (s *clusterServer) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, errOneMember
}
