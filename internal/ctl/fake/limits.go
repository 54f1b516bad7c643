package fake

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// limitsDesc is cairn's service of limits. The fake keeps what it is given, and has 3 keys of 30 bytes below every prefix.
var limitsDesc = grpc.ServiceDesc{ServiceName: "cairn.Limits", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
	limitsMethod("Set", func(s *Server, q *structpb.Struct) (proto.Message, error) {
		s.limits = append(slices.DeleteFunc(s.limits, sameTarget(q)), q)
		return new(emptypb.Empty), nil
	}),
	limitsMethod("Remove", func(s *Server, q *structpb.Struct) (proto.Message, error) {
		n := len(s.limits)
		if s.limits = slices.DeleteFunc(s.limits, sameTarget(q)); len(s.limits) == n {
			return nil, status.Error(codes.NotFound, "cairn: there is no limit for it")
		}
		return new(emptypb.Empty), nil
	}),
	limitsMethod("List", func(s *Server, _ *structpb.Struct) (proto.Message, error) {
		all := &structpb.ListValue{}
		for _, l := range s.limits {
			one := proto.Clone(l).(*structpb.Struct)
			if one.Fields["kind"].GetStringValue() == "prefix" {
				one.Fields["keys"], one.Fields["bytes"] = structpb.NewNumberValue(3), structpb.NewNumberValue(30)
			}
			all.Values = append(all.Values, structpb.NewStructValue(one))
		}
		return &structpb.Struct{Fields: map[string]*structpb.Value{"limits": structpb.NewListValue(all)}}, nil
	}),
}}

func sameTarget(q *structpb.Struct) func(*structpb.Struct) bool {
	return func(l *structpb.Struct) bool {
		return proto.Equal(l.Fields["kind"], q.Fields["kind"]) && proto.Equal(l.Fields["name"], q.Fields["name"])
	}
}

func limitsMethod(name string, serve func(*Server, *structpb.Struct) (proto.Message, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, dec func(any) error, icpt grpc.UnaryServerInterceptor) (any, error) {
		q := &structpb.Struct{}
		if err := dec(q); err != nil {
			return nil, err
		}
		return icpt(ctx, q, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/cairn.Limits/" + name}, func(context.Context, any) (any, error) {
			s := srv.(*Server)
			s.mu.Lock()
			defer s.mu.Unlock()
			return serve(s, q)
		})
	}}
}
