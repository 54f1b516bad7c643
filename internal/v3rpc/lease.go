package v3rpc

import (
	"context"
	"io"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

type leaseServer struct {
	pb.UnimplementedLeaseServer
	*core
	throttle *throttle // nil for steps of a call that was judged as a whole
}

func (s *leaseServer) LeaseGrant(ctx context.Context, q *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if !s.HasSpace(ctx, leaseCost) {
		return nil, wire.ErrNoSpace
	}
	if err := s.known(ctx); err != nil {
		return nil, err
	}
	if err := s.throttle.ask(ctx, s.core, func(l *load) { l.writes++ }); err != nil {
		return nil, err
	}
	picked := q.ID == 0
	for {
		if picked {
			q.ID = s.NewLeaseID()
		}
		res, err := s.proposeMessage(ctx, wire.KindLeaseGrant, q)
		if err == wire.ErrLeaseExist && picked {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &pb.LeaseGrantResponse{Header: s.message(res.Rev), ID: res.Lease.ID, TTL: res.Lease.TTL}, nil
	}
}

func (s *leaseServer) LeaseRevoke(ctx context.Context, q *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if err := s.known(ctx); err != nil {
		return nil, err
	}
	res, err := s.proposeMessage(ctx, wire.KindLeaseRevoke, q)
	if err != nil {
		return nil, err
	}
	return &pb.LeaseRevokeResponse{Header: s.message(res.Rev)}, nil
}

// keepAlive ends with the call's context, also while it waits for the next request: its goroutine ends with the stream.
func (s *leaseServer) keepAlive(st grpc.ServerStream) error {
	ended := make(chan error, 1)
	go func() { ended <- s.renewals(st) }()
	select {
	case err := <-ended:
		return err
	case <-st.Context().Done():
		return status.FromContextError(st.Context().Err()).Err()
	}
}

// renewals answers each request in order. The header is the state before the renewal.
func (s *leaseServer) renewals(st grpc.ServerStream) error {
	ctx := st.Context()
	req := new(raw)
	for {
		if err := st.RecvMsg(req); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		id, ok := wire.ParseLeaseID(req.b)
		if !ok {
			return wire.Malformed()
		}
		who, err := s.identify(ctx)
		if err != nil {
			return err
		}
		v := s.View()
		if v.Auth.Enabled {
			if err := v.Auth.Known(who); err != nil {
				return err
			}
			if err := v.Auth.Allow(who, machine.LeaseNeeds(nil, v.Leases, id, true)...); err != nil {
				return err
			}
		}
		h := s.header(v, v.KV.Rev())
		limited, cancel := context.WithTimeout(ctx, s.RequestTimeout())
		ttl, err := s.Renew(limited, id)
		cancel()
		if err != nil {
			if err == context.DeadlineExceeded {
				err = wire.ErrTimeout
			}
			return err
		}
		b := wire.NewBuilder(64)
		appendHeader(b, h)
		b.Uint(2, uint64(id))
		b.Uint(3, uint64(ttl))
		if err := st.SendMsg(b.Frame()); err != nil {
			return err
		}
	}
}

func (s *leaseServer) LeaseTimeToLive(ctx context.Context, q *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	id, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.View().Auth.Known(id); err != nil {
		return nil, err
	}
	r, v, err := s.timeToLive(ctx, q)
	if err == nil && v.Auth.Enabled && q.Keys {
		err = v.Auth.Allow(id, machine.LeaseNeeds(nil, v.Leases, q.ID, false)...)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// timeToLive answers with the view that it has looked at.
func (s *leaseServer) timeToLive(ctx context.Context, q *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, *machine.View, error) {
	if err := s.Read(ctx); err != nil {
		return nil, nil, err
	}
	left, known, err := s.Remaining(ctx, q.ID)
	if err != nil {
		return nil, nil, err
	}
	v := s.View()
	l, there := v.Leases.Get(q.ID)
	if !known || !there {
		return &pb.LeaseTimeToLiveResponse{Header: s.message(0), ID: q.ID, TTL: -1}, v, nil
	}
	r := &pb.LeaseTimeToLiveResponse{Header: s.message(0), ID: q.ID, TTL: int64(left / time.Second), GrantedTTL: l.TTL}
	if q.Keys {
		for _, k := range v.Leases.Keys(q.ID) {
			r.Keys = append(r.Keys, []byte(k))
		}
	}
	return r, v, nil
}

func (s *leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	v := s.View()
	if err := s.mayListLeases(ctx, v); err != nil {
		return nil, err
	}
	r := &pb.LeaseLeasesResponse{Header: s.message(0)}
	for _, id := range s.byRemaining(ctx, v) {
		r.Leases = append(r.Leases, &pb.LeaseStatus{ID: id})
	}
	return r, nil
}

// mayListLeases refuses who may not read every key of every lease.
func (s *leaseServer) mayListLeases(ctx context.Context, v *machine.View) error {
	id, err := s.identify(ctx)
	if err != nil || !v.Auth.Enabled {
		return err
	}
	if err := v.Auth.Known(id); err != nil {
		return err
	}
	var needs []auth.Need
	v.Leases.Each(func(l lease.Lease) bool {
		needs = machine.LeaseNeeds(needs, v.Leases, l.ID, false)
		return true
	})
	return v.Auth.Allow(id, needs...)
}

// byRemaining lists the leases; on a leader, which watches them, the one that ends first comes first.
func (s *leaseServer) byRemaining(ctx context.Context, v *machine.View) []int64 {
	type row struct {
		id   int64
		left time.Duration
	}
	var rows []row
	v.Leases.Each(func(l lease.Lease) bool {
		r := row{id: l.ID}
		if s.IsLeader() {
			r.left, _, _ = s.Remaining(ctx, l.ID)
		}
		rows = append(rows, r)
		return ctx.Err() == nil
	})
	slices.SortStableFunc(rows, func(a, b row) int { return int(max(-1, min(1, a.left-b.left))) })
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	return ids
}
