package cairn

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/host"
	"github.com/cairn-kv/cairn/internal/peer"
	"github.com/cairn-kv/cairn/internal/v2http"
	"github.com/cairn-kv/cairn/internal/wire"
)

// minClusterVersion is the lowest version of another member that this one talks to.
const minClusterVersion = "3.0.0"

// connect makes the transport of a host.
func (s *Server) connect(h *host.Host) host.Transport {
	s.peers = peer.New(peer.Config{
		ID: h.MemberID(), ClusterID: h.ClusterID(), PeerURLs: urlStrings(s.cfg.InitialAdvertisePeerURLs),
		Version: Version, MinClusterVersion: minClusterVersion, Raft: h, Member: asked{s},
		TLS: s.secrets.peers.Client, DialTimeout: time.Second + s.cfg.ElectionTimeout, Logger: s.log, Metrics: peer.NewMetrics(s.registry),
	})
	return s.peers
}

// appends are the transport's figures in the form of the v2 API.
func (s *Server) appends() v2http.Appends {
	a := s.peers.Appends()
	out := v2http.Appends{Sent: v2http.Traffic(a.Sent), Received: v2http.Traffic(a.Received), Followers: map[cluster.ID]v2http.Follower{}}
	for id, f := range a.Followers {
		out.Followers[id] = v2http.Follower{
			Latency: v2http.Latency{Current: f.Current, Average: f.Average, Deviation: f.Deviation, Minimum: f.Minimum, Maximum: f.Maximum},
			Counts:  v2http.Outcome{Fail: f.Fail, Success: f.Success}}
	}
	return out
}

// asked answers what other members ask.
type asked struct{ *Server }

func (a asked) Members() []cluster.Member { return a.host.View().Cluster.Members() }

func (a asked) Version() (server, cluster string) { return Version, a.host.View().Cluster.Version() }

func (a asked) Promote(ctx context.Context, id cluster.ID) ([]cluster.Member, error) {
	if !a.host.IsLeader() {
		return nil, wire.ErrNotLeader
	}
	if err := a.host.PromoteMember(ctx, id); err != nil {
		return nil, err
	}
	return a.Members(), nil
}

func (a asked) Renew(ctx context.Context, id int64) (ttlSeconds int64, err error) {
	if !a.host.IsLeader() {
		return 0, wire.ErrNotLeader
	}
	return a.host.Renew(ctx, id)
}

func (a asked) TimeToLive(ctx context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, error) {
	if !a.host.IsLeader() {
		return nil, wire.ErrNotLeader
	}
	return a.rpc.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
}

func (a asked) HashKV(ctx context.Context, rev int64) (*pb.HashKVResponse, error) {
	h, err := a.host.HashKV(ctx, rev)
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{Header: &pb.ResponseHeader{Revision: a.host.KV().Rev()}, Hash: h.Hash, CompactRevision: h.CompactRev, HashRevision: h.Rev}, nil
}

func (a asked) DowngradeEnabled(ctx context.Context) (bool, error) {
	if err := a.host.Read(ctx); err != nil {
		return false, err
	}
	return a.host.View().Downgrade.Enabled, nil
}
