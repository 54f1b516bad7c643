package v3rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// HealMethod has a member exchange its data for that of the others. Etcd's API has nothing like it.
const HealMethod = "/cairn.Repair/Heal"

// Healer exchanges a member's data for that of the others.
type Healer interface {
	Heal(ctx context.Context) error
}

// RegisterHealer serves HealMethod.
func (s *Server) RegisterHealer(h Healer) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "cairn.Repair", HandlerType: (*Healer)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Heal",
		Handler: func(srv any, ctx context.Context, dec func(any) error, icpt grpc.UnaryServerInterceptor) (any, error) {
			req := new(emptypb.Empty)
			if err := dec(req); err != nil {
				return nil, err
			}
			handle := func(ctx context.Context, _ any) (any, error) {
				if err := s.gate.admin(ctx); err != nil {
					return nil, err
				}
				return new(emptypb.Empty), srv.(Healer).Heal(ctx)
			}
			if icpt == nil {
				return handle(ctx, req)
			}
			return icpt(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: HealMethod}, handle)
		},
	}}}, h)
}
