package v3rpc

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/internal/wire"
)

const deleted = mvccpb.DELETE

// Full names of the lock service's methods.
const (
	LockMethod   = "/v3lockpb.Lock/Lock"
	UnlockMethod = "/v3lockpb.Lock/Unlock"
)

var errSessionExpired = errors.New("mutex: session is expired")

type lockServer struct{ recipes }

func lockDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{ServiceName: "v3lockpb.Lock", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		unary(LockMethod, func(s any) rawHandler { return s.(*lockServer).lock }),
		unary(UnlockMethod, func(s any) rawHandler { return s.(*lockServer).unlock }),
	}}
}

// lock answers with the key that holds the lock, once it does.
func (s *lockServer) lock(ctx context.Context, body []byte) (*wire.Frame, error) {
	var name []byte
	var lease int64
	d := decoder{bytes: byteFields{1: &name}, ints: intFields{2: &lease}}
	if !d.decode(body) {
		return nil, wire.Malformed()
	}
	if err := s.write(ctx, name); err != nil {
		return nil, err
	}
	lease, err := s.session(ctx, lease)
	if err != nil {
		return nil, opaque(err)
	}
	key := claim(name, lease)
	h, err := s.acquire(ctx, name, key, lease)
	if err != nil {
		return nil, opaque(err)
	}
	return reply(h, key)
}

func (s *lockServer) acquire(ctx context.Context, name, key []byte, lease int64) (*pb.ResponseHeader, error) {
	owner := getOp(first(name))
	txn, err := s.txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{unchanged(key, 0)},
		Success: []*pb.RequestOp{putOp(key, nil, lease), owner},
		Failure: []*pb.RequestOp{getOp(&pb.RangeRequest{Key: key}), owner},
	})
	if err != nil {
		return nil, err
	}
	mine := txn.Header.Revision
	if !txn.Succeeded {
		mine = txn.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	if kvs := txn.Responses[1].GetResponseRange().Kvs; len(kvs) == 0 || kvs[0].CreateRevision == mine {
		// Who has left in the meantime does not get a new lock; one that the lease held before stays.
		if err := ctx.Err(); err != nil && txn.Succeeded {
			s.clean(ctx, key, mine)
			return nil, err
		}
		return txn.Header, nil
	}
	err = s.turn(ctx, name, mine)
	var own *pb.RangeResponse
	if err == nil {
		own, err = s.get(ctx, &pb.RangeRequest{Key: key})
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.clean(ctx, key, mine)
		return nil, err
	}
	if len(own.Kvs) == 0 || own.Kvs[0].CreateRevision != mine {
		return nil, errSessionExpired // the lease ended while it waited
	}
	return own.Header, nil
}

func (s *lockServer) unlock(ctx context.Context, body []byte) (*wire.Frame, error) {
	var key []byte
	d := decoder{bytes: byteFields{1: &key}}
	if !d.decode(body) {
		return nil, wire.Malformed()
	}
	h, err := s.remove(ctx, key)
	if err != nil {
		return nil, opaque(err)
	}
	return reply(h, nil)
}
