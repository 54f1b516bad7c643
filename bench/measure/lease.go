package measure

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/bench/report"
)

var bidirectional = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// keepAlives: each client renews a lease of its own on a stream that stays open, as sessions do.
func keepAlives(ctx context.Context, s *subject) (report.Sample, error) {
	return s.keepAlives(ctx, true)
}

// keepAlivesOnce: with a stream for each renewal.
func keepAlivesOnce(ctx context.Context, s *subject) (report.Sample, error) {
	return s.keepAlives(ctx, false)
}

func (s *subject) keepAlives(ctx context.Context, stays bool) (report.Sample, error) {
	return s.closedLoop(ctx, s.plan.Clients, s.plan.Conns, func(ctx context.Context, _ int, c *grpc.ClientConn) (call, error) {
		l, err := pb.NewLeaseClient(c).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 3600})
		if err != nil {
			return nil, err
		}
		request := body(&pb.LeaseKeepAliveRequest{ID: l.ID})
		renew := func(st grpc.ClientStream) error {
			if err := st.SendMsg(request); err != nil {
				return err
			}
			var answer []byte
			return st.RecvMsg(&answer)
		}
		if !stays {
			return func(ctx context.Context) error {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				st, err := c.NewStream(ctx, bidirectional, methodKeepAlive, raw)
				if err != nil {
					return err
				}
				return renew(st)
			}, nil
		}
		st, err := c.NewStream(ctx, bidirectional, methodKeepAlive, raw) // it ends with the context of the loop
		if err != nil {
			return nil, fmt.Errorf("measure: keep-alive: %w", err)
		}
		return func(context.Context) error { return renew(st) }, nil
	})
}
