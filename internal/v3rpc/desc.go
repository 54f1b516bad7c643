package v3rpc

import (
	"context"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/internal/wire"
)

// The generated service descriptions decode every request into a message. For the calls that make up nearly all traffic
// the handlers are replaced by ones that are given the body as it came, and answer with a frame.

type rawHandler func(ctx context.Context, body []byte) (*wire.Frame, error)

func unary(method string, pick func(srv any) rawHandler) grpc.MethodDesc {
	full := method
	return grpc.MethodDesc{
		MethodName: method[lastSlash(method)+1:],
		Handler: func(srv any, ctx context.Context, dec func(any) error, icpt grpc.UnaryServerInterceptor) (any, error) {
			req := new(raw)
			if err := dec(req); err != nil {
				return nil, err
			}
			h := pick(srv)
			if icpt == nil {
				return h(ctx, req.b)
			}
			return icpt(ctx, req, &grpc.UnaryServerInfo{Server: srv, FullMethod: full}, func(ctx context.Context, r any) (any, error) {
				f, err := h(ctx, r.(*raw).b)
				if err != nil {
					return nil, err
				}
				return f, nil
			})
		},
	}
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// replace returns the methods with some of them replaced by name.
func replace(methods []grpc.MethodDesc, with ...grpc.MethodDesc) []grpc.MethodDesc {
	methods = slices.Clone(methods)
	for _, w := range with {
		i := slices.IndexFunc(methods, func(m grpc.MethodDesc) bool { return m.MethodName == w.MethodName })
		if i < 0 {
			panic("v3rpc: the service has no method " + w.MethodName)
		}
		methods[i] = w
	}
	return methods
}

func kvDesc() *grpc.ServiceDesc {
	d := pb.KV_ServiceDesc
	d.HandlerType = (*any)(nil)
	d.Methods = replace(d.Methods,
		unary(pb.KV_Range_FullMethodName, func(s any) rawHandler { return s.(*kvServer).rangeKeys }),
		unary(pb.KV_Put_FullMethodName, func(s any) rawHandler { return s.(*kvServer).put }),
		unary(pb.KV_DeleteRange_FullMethodName, func(s any) rawHandler { return s.(*kvServer).deleteRange }),
		unary(pb.KV_Txn_FullMethodName, func(s any) rawHandler { return s.(*kvServer).txn }),
		unary(pb.KV_Compact_FullMethodName, func(s any) rawHandler { return s.(*kvServer).compact }),
	)
	d.Streams = []grpc.StreamDesc{{StreamName: "RangeStream", ServerStreams: true, Handler: func(s any, st grpc.ServerStream) error {
		return s.(*kvServer).rangeStream(st)
	}}}
	return &d
}

func leaseDesc() *grpc.ServiceDesc {
	d := pb.Lease_ServiceDesc
	d.Streams = []grpc.StreamDesc{{StreamName: "LeaseKeepAlive", ServerStreams: true, ClientStreams: true,
		Handler: func(s any, st grpc.ServerStream) error { return s.(*leaseServer).keepAlive(st) }}}
	return &d
}
