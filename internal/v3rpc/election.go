package v3rpc

import (
	"bytes"
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Full names of the election service's methods.
const (
	CampaignMethod = "/v3electionpb.Election/Campaign"
	ProclaimMethod = "/v3electionpb.Election/Proclaim"
	LeaderMethod   = "/v3electionpb.Election/Leader"
	ObserveMethod  = "/v3electionpb.Election/Observe"
	ResignMethod   = "/v3electionpb.Election/Resign"
)

var (
	errNotElected    = errors.New("election: not leader")
	errNobodyElected = errors.New("election: no leader")
	errNoLeaderField = errors.New(`"leader" field must be provided`)
)

type electionServer struct{ recipes }

func electionDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{ServiceName: "v3electionpb.Election", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary(CampaignMethod, func(s any) rawHandler { return s.(*electionServer).campaign }),
			unary(ProclaimMethod, func(s any) rawHandler { return s.(*electionServer).proclaim }),
			unary(LeaderMethod, func(s any) rawHandler { return s.(*electionServer).leader }),
			unary(ResignMethod, func(s any) rawHandler { return s.(*electionServer).resign }),
		},
		Streams: []grpc.StreamDesc{{StreamName: "Observe", ServerStreams: true,
			Handler: func(s any, st grpc.ServerStream) error { return s.(*electionServer).observe(st) }}},
	}
}

// leaderKey says who leads which election, and since when.
type leaderKey struct {
	name, key  []byte
	rev, lease int64
}

func (k *leaderKey) parse(b []byte) bool {
	d := decoder{bytes: byteFields{1: &k.name, 2: &k.key}, ints: intFields{3: &k.rev, 4: &k.lease}}
	return d.decode(b)
}

func (k *leaderKey) bytes() []byte {
	b := make([]byte, 0, len(k.name)+len(k.key)+32)
	for i, data := range [][]byte{k.name, k.key} {
		if len(data) > 0 {
			b = protowire.AppendBytes(protowire.AppendTag(b, protowire.Number(i+1), protowire.BytesType), data)
		}
	}
	b = wire.AppendUint(b, 3, uint64(k.rev))
	return wire.AppendUint(b, 4, uint64(k.lease))
}

// campaign answers once the caller leads.
func (s *electionServer) campaign(ctx context.Context, body []byte) (*wire.Frame, error) {
	var me leaderKey
	var value []byte
	d := decoder{bytes: byteFields{1: &me.name, 3: &value}, ints: intFields{2: &me.lease}}
	if !d.decode(body) {
		return nil, wire.Malformed()
	}
	if err := s.write(ctx, me.name); err != nil {
		return nil, err
	}
	var err error
	if me.lease, err = s.session(ctx, me.lease); err != nil {
		return nil, opaque(err)
	}
	me.key = claim(me.name, me.lease)
	h, err := s.elect(ctx, &me, value)
	if err != nil {
		return nil, opaque(err)
	}
	return reply(h, me.bytes())
}

func (s *electionServer) elect(ctx context.Context, me *leaderKey, value []byte) (*pb.ResponseHeader, error) {
	txn, err := s.txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{unchanged(me.key, 0)},
		Success: []*pb.RequestOp{putOp(me.key, value, me.lease)},
		Failure: []*pb.RequestOp{getOp(&pb.RangeRequest{Key: me.key})},
	})
	if err != nil {
		return nil, err
	}
	me.rev = txn.Header.Revision
	if !txn.Succeeded {
		kv := txn.Responses[0].GetResponseRange().Kvs[0]
		me.rev = kv.CreateRevision
		if !bytes.Equal(kv.Value, value) {
			if _, err := s.update(ctx, me, value); err != nil {
				s.clean(ctx, me.key, me.rev)
				return nil, err
			}
		}
	}
	err = s.turn(ctx, me.name, me.rev)
	if err == nil && txn.Succeeded {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			s.clean(ctx, me.key, me.rev)
		}
		return nil, err
	}
	own, err := s.get(ctx, &pb.RangeRequest{Key: me.key, KeysOnly: true})
	if err != nil {
		return nil, err
	}
	if len(own.Kvs) == 0 || own.Kvs[0].CreateRevision != me.rev {
		return nil, errNotElected // the lease ended while it waited
	}
	return txn.Header, nil
}

// update gives the leader's key a new value if it still leads.
func (s *electionServer) update(ctx context.Context, who *leaderKey, value []byte) (*pb.ResponseHeader, error) {
	txn, err := s.txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{unchanged(who.key, who.rev)},
		Success: []*pb.RequestOp{putOp(who.key, value, who.lease)},
	})
	if err != nil {
		return nil, err
	}
	if !txn.Succeeded {
		return nil, errNotElected
	}
	return txn.Header, nil
}

// leaderField reads a request whose field 1 is a leader's key, and field 2 a value.
func leaderField(body []byte) (who leaderKey, value []byte, err error) {
	found := false
	d := decoder{bytes: byteFields{2: &value}, sub: map[protowire.Number]func([]byte) bool{
		1: func(b []byte) bool { found = true; return who.parse(b) }}}
	switch {
	case !d.decode(body):
		err = wire.Malformed()
	case !found:
		err = opaque(errNoLeaderField)
	}
	return who, value, err
}

func (s *electionServer) proclaim(ctx context.Context, body []byte) (*wire.Frame, error) {
	who, value, err := leaderField(body)
	if err != nil {
		return nil, err
	}
	if err := s.write(ctx, who.name); err != nil {
		return nil, err
	}
	// A leader that names no lease gets a new one, as every call of this service does.
	if who.lease, err = s.session(ctx, who.lease); err != nil {
		return nil, opaque(err)
	}
	h, err := s.update(ctx, &who, value)
	if err != nil {
		return nil, opaque(err)
	}
	return reply(h, nil)
}

// resign of somebody who does not lead succeeds.
func (s *electionServer) resign(ctx context.Context, body []byte) (*wire.Frame, error) {
	who, _, err := leaderField(body)
	if err != nil {
		return nil, err
	}
	txn, err := s.txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{unchanged(who.key, who.rev)}, Success: []*pb.RequestOp{deleteOp(who.key)}})
	if err != nil {
		return nil, opaque(err)
	}
	return reply(txn.Header, nil)
}

func electionName(body []byte) (name []byte, err error) {
	d := decoder{bytes: byteFields{1: &name}}
	if !d.decode(body) {
		return nil, wire.Malformed()
	}
	return name, nil
}

func (s *electionServer) leader(ctx context.Context, body []byte) (*wire.Frame, error) {
	name, err := electionName(body)
	if err != nil {
		return nil, err
	}
	if err := s.read(ctx, name); err != nil {
		return nil, err
	}
	got, err := s.get(ctx, first(name))
	if err != nil {
		return nil, opaque(err)
	}
	if len(got.Kvs) == 0 {
		return nil, opaque(errNobodyElected)
	}
	return leaderReply(got.Header, got.Kvs[0])
}

func leaderReply(h *pb.ResponseHeader, kv *mvccpb.KeyValue) (*wire.Frame, error) {
	b, err := proto.Marshal(kv)
	if err != nil {
		return nil, err
	}
	return reply(h, b)
}
