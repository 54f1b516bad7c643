package client

import (
	"context"

	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

type (
	AlarmMember        pb.AlarmMember
	AlarmResponse      pb.AlarmResponse
	DefragmentResponse pb.DefragmentResponse
	StatusResponse     pb.StatusResponse
	HashKVResponse     pb.HashKVResponse
	MoveLeaderResponse pb.MoveLeaderResponse
	DowngradeResponse  pb.DowngradeResponse
	DowngradeAction    pb.DowngradeRequest_DowngradeAction
)

const (
	DowngradeValidate = DowngradeAction(pb.DowngradeRequest_VALIDATE)
	DowngradeEnable   = DowngradeAction(pb.DowngradeRequest_ENABLE)
	DowngradeCancel   = DowngradeAction(pb.DowngradeRequest_CANCEL)
)

// Maintenance looks after single members. Methods with an endpoint go to exactly
// that one, over a connection of their own; "" means any.
type Maintenance interface {
	AlarmList(ctx context.Context) (*AlarmResponse, error)
	// AlarmDisarm ends one alarm; the zero AlarmMember ends all. The response
	// lists what was ended and has no header in that case.
	AlarmDisarm(ctx context.Context, m *AlarmMember) (*AlarmResponse, error)
	Defragment(ctx context.Context, endpoint string) (*DefragmentResponse, error)
	Status(ctx context.Context, endpoint string) (*StatusResponse, error)
	// HashKV hashes the keyspace up to rev, 0 for the newest.
	HashKV(ctx context.Context, endpoint string, rev int64) (*HashKVResponse, error)
	// SnapshotWithVersion streams a database file; see SnapshotResponse.
	SnapshotWithVersion(ctx context.Context) (*SnapshotResponse, error)
	// MoveLeader must reach the leader: use a client with its endpoint alone.
	MoveLeader(ctx context.Context, transfereeID uint64) (*MoveLeaderResponse, error)
	Downgrade(ctx context.Context, action DowngradeAction, version string) (*DowngradeResponse, error)
}

type maintenance struct {
	remote pb.MaintenanceClient
	c      *Client
	dial   func(endpoint string) (pb.MaintenanceClient, func(), error)
}

// NewMaintenance makes the maintenance part of a client.
func NewMaintenance(c *Client) Maintenance {
	m := &maintenance{remote: pb.NewMaintenanceClient(c.conn), c: c}
	m.dial = func(endpoint string) (pb.MaintenanceClient, func(), error) {
		if endpoint == "" {
			return m.remote, func() {}, nil
		}
		conn, err := c.Dial(endpoint)
		if err != nil {
			return nil, nil, err
		}
		return pb.NewMaintenanceClient(conn), closer(conn), nil
	}
	return m
}

func closer(conn *grpc.ClientConn) func() { return func() { _ = conn.Close() } }

// NewMaintenanceFromMaintenanceClient makes a Maintenance over a given remote,
// which gets the calls of every endpoint.
func NewMaintenanceFromMaintenanceClient(remote pb.MaintenanceClient, c *Client) Maintenance {
	return &maintenance{remote: remote, c: c, dial: func(string) (pb.MaintenanceClient, func(), error) {
		return remote, func() {}, nil
	}}
}

func (m *maintenance) AlarmList(ctx context.Context) (*AlarmResponse, error) {
	resp, err := m.remote.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET, Alarm: pb.AlarmType_NONE})
	return (*AlarmResponse)(resp), ContextError(ctx, err)
}

func (m *maintenance) AlarmDisarm(ctx context.Context, am *AlarmMember) (*AlarmResponse, error) {
	if am.MemberID != 0 || am.Alarm != pb.AlarmType_NONE {
		return m.disarm(ctx, am.MemberID, am.Alarm)
	}
	all, err := m.AlarmList(ctx)
	if err != nil {
		return nil, err
	}
	ended := &AlarmResponse{}
	for _, a := range all.Alarms {
		resp, err := m.disarm(ctx, a.MemberID, a.Alarm)
		if err != nil {
			return nil, err
		}
		ended.Alarms = append(ended.Alarms, resp.Alarms...)
	}
	return ended, nil
}

func (m *maintenance) disarm(ctx context.Context, member uint64, alarm pb.AlarmType) (*AlarmResponse, error) {
	resp, err := m.remote.Alarm(ctx, &pb.AlarmRequest{
		Action: pb.AlarmRequest_DEACTIVATE, MemberID: member, Alarm: alarm})
	return (*AlarmResponse)(resp), ContextError(ctx, err)
}

func (m *maintenance) Defragment(ctx context.Context, endpoint string) (*DefragmentResponse, error) {
	remote, done, err := m.dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer done()
	resp, err := remote.Defragment(ctx, &pb.DefragmentRequest{})
	return (*DefragmentResponse)(resp), ContextError(ctx, err)
}

func (m *maintenance) Status(ctx context.Context, endpoint string) (*StatusResponse, error) {
	remote, done, err := m.dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer done()
	resp, err := remote.Status(ctx, &pb.StatusRequest{})
	return (*StatusResponse)(resp), ContextError(ctx, err)
}

func (m *maintenance) HashKV(ctx context.Context, endpoint string, rev int64) (*HashKVResponse, error) {
	remote, done, err := m.dial(endpoint)
	if err != nil {
		return nil, err
	}
	defer done()
	resp, err := remote.HashKV(ctx, &pb.HashKVRequest{Revision: rev})
	return (*HashKVResponse)(resp), ContextError(ctx, err)
}

func (m *maintenance) MoveLeader(ctx context.Context, transfereeID uint64) (*MoveLeaderResponse, error) {
	resp, err := m.remote.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: transfereeID})
	return (*MoveLeaderResponse)(resp), ContextError(ctx, err)
}

func (m *maintenance) Downgrade(ctx context.Context, action DowngradeAction, version string) (*DowngradeResponse, error) {
	resp, err := m.remote.Downgrade(ctx, &pb.DowngradeRequest{
		Action: pb.DowngradeRequest_DowngradeAction(action), Version: version})
	return (*DowngradeResponse)(resp), ContextError(ctx, err)
}
