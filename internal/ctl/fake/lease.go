package fake

import (
	"context"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// LeaseGrant numbers leases from LeaseID on. They never expire by themselves.
func (s *Server) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.ID
	for id == 0 || s.leases[id] != 0 {
		id = max(id, LeaseID-1) + 1
	}
	s.leases[id] = r.TTL
	return &pb.LeaseGrantResponse{Header: s.header(), ID: id, TTL: r.TTL}, nil
}

func (s *Server) LeaseRevoke(_ context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[r.ID] == 0 {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	delete(s.leases, r.ID)
	n := len(s.events)
	for _, k := range s.keysOf(r.ID) {
		s.del(&pb.DeleteRangeRequest{Key: k}, s.rev+1)
	}
	s.commit(n)
	return &pb.LeaseRevokeResponse{Header: s.header()}, nil
}

// keysOf lists the keys of a lease. The caller holds s.mu.
func (s *Server) keysOf(id int64) (keys [][]byte) {
	for _, k := range slices.Sorted(maps.Keys(s.kvs)) {
		if s.kvs[k].Lease == id {
			keys = append(keys, []byte(k))
		}
	}
	return keys
}

func (s *Server) LeaseTimeToLive(_ context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ttl, ok := s.leases[r.ID]
	resp := &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: r.ID, TTL: ttl, GrantedTTL: ttl}
	if !ok {
		resp.TTL = -1
	} else if s.LeaseTTL != 0 {
		resp.TTL = s.LeaseTTL
	}
	if r.Keys {
		resp.Keys = s.keysOf(r.ID)
	}
	return resp, nil
}

func (s *Server) LeaseLeases(context.Context, *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pb.LeaseLeasesResponse{Header: s.header()}
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: id})
	}
	return resp, nil
}

// LeaseKeepAlive tells the granted TTL, or 0 for a lease that is gone.
func (s *Server) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		resp := &pb.LeaseKeepAliveResponse{Header: s.header(), ID: r.ID, TTL: s.leases[r.ID]}
		s.mu.Unlock()
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}
