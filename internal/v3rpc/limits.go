package v3rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// The methods that set, remove and list limits. Etcd's API has nothing like them. Rules are google.protobuf.Struct messages with
// the fields of limits.Rule, names in base64.
const (
	SetLimitMethod    = "/cairn.Limits/Set"
	RemoveLimitMethod = "/cairn.Limits/Remove"
	ListLimitsMethod  = "/cairn.Limits/List"
)

type limitsServer struct{ *core }

func limitsDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{ServiceName: "cairn.Limits", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		unary(SetLimitMethod, func(s any) rawHandler { return s.(*limitsServer).set }),
		unary(RemoveLimitMethod, func(s any) rawHandler { return s.(*limitsServer).remove }),
		unary(ListLimitsMethod, func(s any) rawHandler { return s.(*limitsServer).list }),
	}}
}

// maxLimitBytes is more than any rule has.
const maxLimitBytes = 4 * limits.MaxName

// text is the JSON of a Struct.
func (s *limitsServer) text(body []byte) ([]byte, error) {
	if len(body) > maxLimitBytes {
		return nil, status.Errorf(codes.InvalidArgument, "cairn: a limit of %d bytes is longer than any can be", len(body))
	}
	q := &structpb.Struct{}
	if proto.Unmarshal(body, q) != nil {
		return nil, wire.Malformed()
	}
	text, err := protojson.Marshal(q)
	if err != nil {
		return nil, badLimit(err)
	}
	return text, nil
}

func badLimit(err error) error { return status.Errorf(codes.InvalidArgument, "cairn: %v", err) }

func (s *limitsServer) set(ctx context.Context, body []byte) (*wire.Frame, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	text, err := s.text(body)
	if err != nil {
		return nil, err
	}
	r, err := limits.ParseRule(text)
	if err != nil {
		return nil, badLimit(err)
	}
	who, err := s.identify(ctx)
	if err == nil {
		err = s.SetLimit(ctx, who, r)
	}
	return encoded(new(emptypb.Empty), err)
}

func (s *limitsServer) remove(ctx context.Context, body []byte) (*wire.Frame, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	text, err := s.text(body)
	if err != nil {
		return nil, err
	}
	t, err := limits.ParseTarget(text)
	if err != nil {
		return nil, badLimit(err)
	}
	who, err := s.identify(ctx)
	if err == nil {
		err = s.RemoveLimit(ctx, who, &t)
	}
	return encoded(new(emptypb.Empty), err)
}

// list tells all rules; those of prefixes with how many keys and bytes there are.
func (s *limitsServer) list(ctx context.Context, _ []byte) (*wire.Frame, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	if err := s.Read(ctx); err != nil {
		return nil, err
	}
	v := s.View()
	all := &structpb.ListValue{}
	for r := range v.Limits.All() {
		one := &structpb.Struct{}
		if err := protojson.Unmarshal(r.Append(nil), one); err != nil {
			return nil, status.Errorf(codes.Internal, "cairn: %v", err)
		}
		if r.Kind == limits.Prefix {
			one.Fields["keys"] = structpb.NewNumberValue(float64(v.KV.Count(r.Range())))
			one.Fields["bytes"] = structpb.NewNumberValue(float64(v.KV.Bytes(r.Range())))
		}
		all.Values = append(all.Values, structpb.NewStructValue(one))
	}
	return encoded(&structpb.Struct{Fields: map[string]*structpb.Value{"limits": structpb.NewListValue(all)}}, nil)
}

// encoded is a message as a frame, unless there is an error.
func encoded(m proto.Message, err error) (*wire.Frame, error) {
	if err != nil {
		return nil, err
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	f := &wire.Frame{}
	f.Add(b)
	return f, nil
}

// room refuses what a quota would refuse, so that it need not go through the log. The member may be behind: what it would refuse
// it looks at again as of now.
func (c *core) room(ctx context.Context, judge func(*machine.View, auth.Identity) error) error {
	id, err := c.identify(ctx)
	if err != nil {
		return err
	}
	if judge(c.View(), id) == nil {
		return nil
	}
	if err := c.Read(ctx); err != nil {
		return err
	}
	err = judge(c.View(), id)
	c.cfg.Metrics.refusedBy(err)
	return err
}

// Whoever may not do what is asked is not told of quotas: the refusal comes when the command is applied.

func roomForPut(v *machine.View, id auth.Identity, p *wire.PutRequest) error {
	if v.Auth.Enabled && v.Auth.Allow(id, machine.PutNeeds(nil, p, v.Leases)...) != nil {
		return nil
	}
	return v.RoomForPut(p)
}

func roomForTxn(v *machine.View, id auth.Identity, t *wire.TxnRequest) error {
	if v.Auth.Enabled && v.Auth.Allow(id, machine.TxnNeeds(nil, t, v.Leases)...) != nil {
		return nil
	}
	return v.RoomForTxn(t)
}
