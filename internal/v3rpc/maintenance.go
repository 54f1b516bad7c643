package v3rpc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/wire"
)

type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*core
}

const defaultQuota = 2 << 30

func (s *maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	if err := s.known(ctx); err != nil {
		return nil, err
	}
	v, size := s.View(), s.Size()
	me, _ := v.Cluster.Member(s.MemberID())
	r := &pb.StatusResponse{
		Header: s.message(0), Version: s.cfg.Version, DbSize: size.Total, DbSizeInUse: size.InUse,
		Leader: uint64(s.Leader()), RaftIndex: s.Committed(), RaftTerm: v.Term, RaftAppliedIndex: v.Applied,
		IsLearner: me.IsLearner, StorageVersion: v.StorageVersion, DbSizeQuota: s.cfg.QuotaBytes,
		DowngradeInfo: &pb.DowngradeInfo{Enabled: v.Downgrade.Enabled, TargetVersion: v.Downgrade.TargetVersion},
	}
	if r.DbSizeQuota == 0 {
		r.DbSizeQuota = defaultQuota
	}
	if r.Leader == 0 {
		r.Errors = append(r.Errors, wire.ErrNoLeader.Error())
	}
	for _, a := range v.Alarms {
		r.Errors = append(r.Errors, alarmText(a))
	}
	return r, nil
}

// alarmText is an alarm in protobuf's text form, as etcd shows it.
func alarmText(a machine.Alarm) string {
	if a.Member == 0 {
		return "alarm:" + a.Type.String()
	}
	return fmt.Sprintf("memberID:%d alarm:%s", a.Member, a.Type)
}

func (s *maintenanceServer) Alarm(ctx context.Context, q *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	check := s.admin
	if q.Action == pb.AlarmRequest_GET {
		check = s.known
	}
	if err := check(ctx); err != nil {
		return nil, err
	}
	res, err := s.proposeMessage(ctx, wire.KindAlarm, q)
	if err != nil {
		return nil, err
	}
	r := &pb.AlarmResponse{Header: s.message(res.Rev)}
	for _, a := range res.Alarms {
		r.Alarms = append(r.Alarms, &pb.AlarmMember{MemberID: uint64(a.Member), Alarm: a.Type})
	}
	return r, nil
}

// Defragment returns at once: nothing has to be stopped for the engine to give space back.
func (s *maintenanceServer) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	s.Tidy()
	s.cfg.Metrics.defrag.Observe(time.Since(began).Seconds())
	return &pb.DefragmentResponse{}, nil
}

// bucketsByName are the spaces of an etcd database in the order of their bucket names.
func bucketsByName() []engine.Space {
	spaces := slices.DeleteFunc(slices.Clone(engine.Spaces), func(s engine.Space) bool { return s == engine.Tree })
	slices.SortFunc(spaces, func(a, b engine.Space) int { return strings.Compare(a.Bucket(), b.Bucket()) })
	return spaces
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash covers the whole database. It differs between members and is for testing only.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	defer func() { s.cfg.Metrics.hash.Observe(time.Since(began).Seconds()) }()
	records, _, err := s.core.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer records.Release()
	sum := uint32(0)
	for _, sp := range bucketsByName() {
		sum = crc32.Update(sum, castagnoli, []byte(sp.Bucket()))
		err := records.Scan(sp, nil, nil, func(k, v []byte) bool {
			if sp == engine.Meta {
				switch string(k) {
				case "consistent_index", "term", "storageVersion":
					return true
				}
			}
			sum = crc32.Update(crc32.Update(sum, castagnoli, k), castagnoli, v)
			return ctx.Err() == nil
		})
		if err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: s.message(0), Hash: sum}, nil
}

// HashKV covers the records at a revision; members agree on it (v3-grpc.md section 16.6).
func (s *maintenanceServer) HashKV(ctx context.Context, q *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	defer func() { s.cfg.Metrics.hashRev.Observe(time.Since(began).Seconds()) }()
	h, err := s.core.HashKV(ctx, q.Revision)
	if err != nil {
		return nil, err
	}
	return &pb.HashKVResponse{Header: s.message(0), Hash: h.Hash, CompactRevision: h.CompactRev, HashRevision: h.Rev}, nil
}

const snapshotBlob = 32 << 10

// Snapshot streams the state as an etcd database file with its SHA-256 behind it. Nothing waits for it.
func (s *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, st pb.Maintenance_SnapshotServer) error {
	if err := s.admin(st.Context()); err != nil {
		return err
	}
	began := time.Now()
	defer func() { s.cfg.Metrics.snapshot.Observe(time.Since(began).Seconds()) }()
	records, state, err := s.core.Snapshot(st.Context())
	if err != nil {
		return err
	}
	defer records.Release()
	image, err := snapshot.Plan(st.Context(), records, snapshot.Options{Tree: s.View().Tree.Used()})
	if err != nil {
		return status.Errorf(codes.Internal, "cairn: cannot lay out the database file: %v", err)
	}
	w := &blobWriter{st: st, version: state.StorageVersion, left: uint64(image.Size()), sum: sha256.New()}
	if _, err := image.WriteTo(w); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	return st.Send(&pb.SnapshotResponse{Blob: w.sum.Sum(nil), Version: state.StorageVersion})
}

func (s *maintenanceServer) MoveLeader(ctx context.Context, q *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	if !s.IsLeader() {
		return nil, wire.ErrNotLeader
	}
	m, ok := s.View().Cluster.Member(memberID(q.TargetID))
	if !ok || m.IsLearner {
		return nil, wire.ErrBadLeaderTransferee
	}
	if m.ID == s.MemberID() {
		return &pb.MoveLeaderResponse{}, nil
	}
	if err := s.core.MoveLeader(ctx, m.ID); err != nil {
		return nil, err
	}
	return &pb.MoveLeaderResponse{}, nil
}
