package v3rpc

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Downgrade checks, begins or ends a job that lowers the cluster's version by one minor, so that members of that version
// may take the place of those that are there (v3-grpc.md section 16.9). The leader lowers it.
func (s *maintenanceServer) Downgrade(ctx context.Context, q *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	var err error
	switch q.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		var target string
		target, err = s.downgradeTarget(ctx, q.Version)
		if err == nil && q.Action == pb.DowngradeRequest_ENABLE {
			err = s.setDowngrade(ctx, &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: target})
		}
	case pb.DowngradeRequest_CANCEL:
		if err = s.Read(ctx); err == nil && s.View().Downgrade.Enabled {
			err = s.setDowngrade(ctx, &membershippb.DowngradeInfoSetRequest{})
		}
	default:
		err = wire.ErrUnknownMethod
	}
	if err != nil {
		return nil, err
	}
	major, minor, _, _ := wire.ParseVersion(s.View().Cluster.Version())
	return &pb.DowngradeResponse{Header: s.message(0), Version: fmt.Sprintf("%d.%d", major, minor)}, nil
}

// downgradeTarget is the version to go to, if it is one that the cluster can go to.
func (s *maintenanceServer) downgradeTarget(ctx context.Context, v string) (string, error) {
	target := wire.MinorVersion(v)
	if target == "" {
		target = wire.MinorVersion(v + ".0")
	}
	if target == "" {
		return "", wire.ErrWrongDowngradeVersionFormat
	}
	if s.View().Cluster.Version() == "" {
		return "", wire.ErrClusterVersionUnavailable
	}
	if err := s.Read(ctx); err != nil {
		return "", err
	}
	view := s.View()
	major, minor, _, _ := wire.ParseVersion(view.Cluster.Version())
	switch {
	case target != fmt.Sprintf("%d.%d.0", major, minor-1):
		return "", wire.ErrInvalidDowngradeTargetVersion
	case view.Downgrade.Enabled:
		return "", wire.ErrDowngradeInProcess
	}
	return target, nil
}

func (s *maintenanceServer) setDowngrade(ctx context.Context, q *membershippb.DowngradeInfoSetRequest) error {
	_, err := s.proposeMessage(ctx, wire.KindDowngradeInfoSet, q)
	return err
}
