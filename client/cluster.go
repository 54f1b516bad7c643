package client

import (
	"context"
	"fmt"
	"net"
	"net/url"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

type (
	Member                pb.Member
	MemberListResponse    pb.MemberListResponse
	MemberAddResponse     pb.MemberAddResponse
	MemberRemoveResponse  pb.MemberRemoveResponse
	MemberUpdateResponse  pb.MemberUpdateResponse
	MemberPromoteResponse pb.MemberPromoteResponse
)

// Cluster lists and changes the members.
type Cluster interface {
	// MemberList is linearizable unless WithSerializable is given.
	MemberList(ctx context.Context, opts ...OpOption) (*MemberListResponse, error)
	// MemberAdd adds a voter. Peer URLs are checked before the call, as in
	// every method that takes them.
	MemberAdd(ctx context.Context, peerAddrs []string) (*MemberAddResponse, error)
	MemberAddAsLearner(ctx context.Context, peerAddrs []string) (*MemberAddResponse, error)
	MemberRemove(ctx context.Context, id uint64) (*MemberRemoveResponse, error)
	MemberUpdate(ctx context.Context, id uint64, peerAddrs []string) (*MemberUpdateResponse, error)
	// MemberPromote makes a learner that has caught up a voter.
	MemberPromote(ctx context.Context, id uint64) (*MemberPromoteResponse, error)
}

type cluster struct{ remote pb.ClusterClient }

// NewCluster makes the cluster part of a client.
func NewCluster(c *Client) Cluster { return &cluster{pb.NewClusterClient(c.conn)} }

// NewClusterFromClusterClient makes a Cluster over a given remote.
func NewClusterFromClusterClient(remote pb.ClusterClient, _ *Client) Cluster {
	return &cluster{remote}
}

func (c *cluster) MemberList(ctx context.Context, opts ...OpOption) (*MemberListResponse, error) {
	op := newOp(opRange, "", opts)
	resp, err := c.remote.MemberList(ctx, &pb.MemberListRequest{Linearizable: !op.serializable})
	return (*MemberListResponse)(resp), ContextError(ctx, err)
}

func (c *cluster) MemberAdd(ctx context.Context, peerAddrs []string) (*MemberAddResponse, error) {
	return c.add(ctx, peerAddrs, false)
}

func (c *cluster) MemberAddAsLearner(ctx context.Context, peerAddrs []string) (*MemberAddResponse, error) {
	return c.add(ctx, peerAddrs, true)
}

func (c *cluster) add(ctx context.Context, peerAddrs []string, learner bool) (*MemberAddResponse, error) {
	if err := checkPeerURLs(peerAddrs); err != nil {
		return nil, err
	}
	resp, err := c.remote.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: peerAddrs, IsLearner: learner})
	return (*MemberAddResponse)(resp), ContextError(ctx, err)
}

func (c *cluster) MemberRemove(ctx context.Context, id uint64) (*MemberRemoveResponse, error) {
	resp, err := c.remote.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
	return (*MemberRemoveResponse)(resp), ContextError(ctx, err)
}

func (c *cluster) MemberUpdate(ctx context.Context, id uint64, peerAddrs []string) (*MemberUpdateResponse, error) {
	if err := checkPeerURLs(peerAddrs); err != nil {
		return nil, err
	}
	resp, err := c.remote.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: peerAddrs})
	return (*MemberUpdateResponse)(resp), ContextError(ctx, err)
}

func (c *cluster) MemberPromote(ctx context.Context, id uint64) (*MemberPromoteResponse, error) {
	resp, err := c.remote.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
	return (*MemberPromoteResponse)(resp), ContextError(ctx, err)
}

// checkPeerURLs refuses what no member could listen on.
func checkPeerURLs(list []string) error {
	if len(list) == 0 {
		return fmt.Errorf("no valid URLs given")
	}
	for _, s := range list {
		u, err := url.Parse(s)
		if err != nil {
			return err
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				return fmt.Errorf(`URL address does not have the form "host:port": %s`, s)
			}
			if u.Path != "" {
				return fmt.Errorf("URL must not contain a path: %s", s)
			}
		case "unix", "unixs":
		default:
			return fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", s)
		}
	}
	return nil
}
