package fake

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// memberHeader is the header of cluster calls: it has no revision.
func (s *Server) memberHeader() *pb.ResponseHeader {
	h := s.header()
	h.Revision = 0
	return h
}

// SetMembers replaces the member list; SetAlarms the alarms.
func (s *Server) SetMembers(list ...*pb.Member) { s.members = list }

func (s *Server) SetAlarms(list ...*pb.AlarmMember) { s.alarms = list }

func (s *Server) MemberList(context.Context, *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.MemberListResponse{Header: s.memberHeader(), Members: s.members}, nil
}

func (s *Server) MemberAdd(_ context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &pb.Member{ID: 0xced000fda4d05edf, PeerURLs: r.PeerURLs, IsLearner: r.IsLearner}
	s.members = append(slices.Clone(s.members), m)
	return &pb.MemberAddResponse{Header: s.memberHeader(), Member: m, Members: s.members}, nil
}

func (s *Server) MemberRemove(_ context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.members, func(m *pb.Member) bool { return m.ID == r.ID })
	if i < 0 {
		return nil, rpctypes.ErrGRPCMemberNotFound
	}
	s.members = slices.Delete(slices.Clone(s.members), i, i+1)
	return &pb.MemberRemoveResponse{Header: s.memberHeader(), Members: s.members}, nil
}

func (s *Server) MemberUpdate(_ context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range s.members {
		if m.ID == r.ID {
			s.members = slices.Clone(s.members)
			s.members[i] = proto.CloneOf(m)
			s.members[i].PeerURLs = r.PeerURLs
			return &pb.MemberUpdateResponse{Header: s.memberHeader(), Members: s.members}, nil
		}
	}
	return nil, rpctypes.ErrGRPCMemberNotFound
}

func (s *Server) MemberPromote(_ context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.ID == r.ID && m.IsLearner {
			return nil, rpctypes.ErrGRPCLearnerNotReady
		}
	}
	return &pb.MemberPromoteResponse{Header: s.memberHeader(), Members: s.members}, nil
}

func (s *Server) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pb.AlarmResponse{Header: s.header()}
	switch r.Action {
	case pb.AlarmRequest_GET:
		resp.Alarms = s.alarms
	case pb.AlarmRequest_DEACTIVATE:
		s.alarms = slices.DeleteFunc(slices.Clone(s.alarms), func(a *pb.AlarmMember) bool {
			if a.MemberID == r.MemberID && a.Alarm == r.Alarm {
				resp.Alarms = append(resp.Alarms, a)
				return true
			}
			return false
		})
	}
	return resp, nil
}

func (s *Server) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pb.StatusResponse{
		Version: "3.7.1", StorageVersion: "3.7.0", DbSize: 20480, DbSizeInUse: 16384, DbSizeQuota: 2147483648,
		Leader: MemberID, RaftIndex: 8, RaftTerm: Term, RaftAppliedIndex: 8, DowngradeInfo: &pb.DowngradeInfo{},
	}
	if s.StatusResponse != nil {
		resp = proto.CloneOf(s.StatusResponse)
	}
	if resp.Header == nil {
		resp.Header = s.header()
	}
	return resp, nil
}

func (s *Server) HashKV(context.Context, *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pb.HashKVResponse{Hash: 1084519789, CompactRevision: -1, HashRevision: 1}
	if s.HashKVResponse != nil {
		resp = proto.CloneOf(s.HashKVResponse)
	}
	resp.Header = s.header()
	return resp, nil
}

func (s *Server) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{}, nil
}

func (s *Server) MoveLeader(context.Context, *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return &pb.MoveLeaderResponse{}, nil
}

func (s *Server) Downgrade(_ context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Action != pb.DowngradeRequest_CANCEL && r.Version != "3.6" {
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	}
	return &pb.DowngradeResponse{Header: s.memberHeader(), Version: "3.7"}, nil
}

// Snapshot sends Blob in pieces of 512 bytes.
func (s *Server) Snapshot(_ *pb.SnapshotRequest, out grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	blob := s.Blob
	for {
		n := min(512, len(blob))
		msg := &pb.SnapshotResponse{Blob: blob[:n], RemainingBytes: uint64(len(blob) - n), Version: s.BlobVersion}
		if blob = blob[n:]; len(blob) == 0 {
			return out.Send(msg)
		}
		if err := out.Send(msg); err != nil {
			return err
		}
	}
}
