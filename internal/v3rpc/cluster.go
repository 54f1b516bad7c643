package v3rpc

import (
	"context"
	"net"
	"net/url"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

// AutoPromoteKey is the metadata key by which a client asks that a learner it adds be promoted by the leader, once it has
// caught up; the value is true. Etcd's messages have no field for it.
const AutoPromoteKey = "cairn-auto-promote"

// Membership is what changes who belongs to the cluster.
type Membership interface {
	AddMember(ctx context.Context, peerURLs []string, as cluster.Kind) (cluster.Member, error)
	RemoveMember(ctx context.Context, id cluster.ID) error
	UpdateMember(ctx context.Context, id cluster.ID, peerURLs []string) error
	PromoteMember(ctx context.Context, id cluster.ID) error
	MoveLeader(ctx context.Context, to cluster.ID) error
}

type clusterServer struct {
	pb.UnimplementedClusterServer
	*core
}

// clusterHeader has no revision.
func (s *clusterServer) clusterHeader() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: uint64(s.ClusterID()), MemberId: uint64(s.MemberID()), RaftTerm: s.View().Term}
}

func (s *clusterServer) members() (out []*pb.Member) {
	for _, m := range s.View().Cluster.Members() {
		out = append(out, memberMessage(m))
	}
	return out
}

func memberMessage(m cluster.Member) *pb.Member {
	return &pb.Member{ID: uint64(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.IsLearner}
}

func (s *clusterServer) MemberList(ctx context.Context, q *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if err := s.known(ctx); err != nil {
		return nil, err
	}
	if q.Linearizable {
		if err := s.Read(ctx); err != nil {
			return nil, err
		}
	}
	return &pb.MemberListResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *clusterServer) MemberAdd(ctx context.Context, q *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	if !validPeerURLs(q.PeerURLs) {
		return nil, wire.ErrMemberBadURLs
	}
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	as := cluster.Voter
	if q.IsLearner {
		as = cluster.Learner
		if v := metadata.ValueFromIncomingContext(ctx, AutoPromoteKey); len(v) > 0 && v[0] == "true" {
			as = cluster.Candidate
		}
	}
	m, err := s.AddMember(ctx, q.PeerURLs, as)
	if err != nil {
		return nil, err
	}
	return &pb.MemberAddResponse{Header: s.clusterHeader(), Member: memberMessage(m), Members: s.members()}, nil
}

func (s *clusterServer) MemberRemove(ctx context.Context, q *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	if err := s.RemoveMember(ctx, cluster.ID(q.ID)); err != nil {
		return nil, err
	}
	return &pb.MemberRemoveResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

// MemberUpdate refuses what etcd's server takes and its members then cannot bear.
func (s *clusterServer) MemberUpdate(ctx context.Context, q *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if !validPeerURLs(q.PeerURLs) {
		return nil, wire.ErrMemberBadURLs
	}
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	if err := s.UpdateMember(ctx, cluster.ID(q.ID), q.PeerURLs); err != nil {
		return nil, err
	}
	return &pb.MemberUpdateResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

func (s *clusterServer) MemberPromote(ctx context.Context, q *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	if err := s.PromoteMember(ctx, cluster.ID(q.ID)); err != nil {
		return nil, err
	}
	return &pb.MemberPromoteResponse{Header: s.clusterHeader(), Members: s.members()}, nil
}

// validPeerURLs reports whether members could be reached at all of the URLs.
func validPeerURLs(urls []string) bool {
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return false
		}
		switch u.Scheme {
		case "http", "https":
			if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" || u.Path != "" {
				return false
			}
		case "unix", "unixs":
			if u.Host+u.Path == "" {
				return false
			}
		default:
			return false
		}
	}
	return len(urls) > 0
}
