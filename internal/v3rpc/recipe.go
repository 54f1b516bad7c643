package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// recipes is what the lock and the election service share. They are made of calls that any client could make, and keep
// nothing but ordinary keys: name, a slash, and the lease of who holds or wants it (v3-grpc.md section 18).
type recipes struct {
	*core
	kv       *kvServer
	lease    *leaseServer
	throttle *throttle
}

// write has a call that takes or changes something judged as one write, read one that looks. What gives something back is
// never refused.
func (r *recipes) write(ctx context.Context, name []byte) error {
	return r.throttle.ask(ctx, r.core, func(l *load) { l.write(wire.One(string(name) + "/")) })
}

func (r *recipes) read(ctx context.Context, name []byte) error {
	return r.throttle.ask(ctx, r.core, func(l *load) { l.read(wire.One(string(name) + "/")) })
}

// sessionSeconds is the TTL of the lease that a call without one gets. Nobody keeps it alive but the client.
const sessionSeconds = 60

func (r *recipes) session(ctx context.Context, lease int64) (int64, error) {
	if lease != 0 {
		return lease, nil
	}
	l, err := r.lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: sessionSeconds})
	return l.GetID(), err
}

func claim(name []byte, lease int64) []byte {
	return strconv.AppendInt(append(bytes.Clone(name), '/'), lease, 16)
}

// call passes a request to a handler that takes and gives bytes.
func call(ctx context.Context, h rawHandler, q, a proto.Message) error {
	body, err := proto.Marshal(q)
	if err != nil {
		return err
	}
	f, err := h(ctx, body)
	if err != nil {
		return err
	}
	defer f.Drop()
	return proto.Unmarshal(bytes.Join(f.Bufs, nil), a)
}

func (r *recipes) get(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	a := new(pb.RangeResponse)
	return a, call(ctx, r.kv.rangeKeys, q, a)
}

func (r *recipes) txn(ctx context.Context, q *pb.TxnRequest) (*pb.TxnResponse, error) {
	a := new(pb.TxnResponse)
	return a, call(ctx, r.kv.txn, q, a)
}

func (r *recipes) remove(ctx context.Context, key []byte) (*pb.ResponseHeader, error) {
	a := new(pb.DeleteRangeResponse)
	err := call(ctx, r.kv.deleteRange, &pb.DeleteRangeRequest{Key: key}, a)
	return a.Header, err
}

// clean removes the key that a call made, and that nobody will use: the call failed, or has ended already. Failing that,
// the key goes with its lease.
func (r *recipes) clean(ctx context.Context, key []byte, createRev int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.RequestTimeout())
	defer cancel()
	_, _ = r.txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{unchanged(key, createRev)}, Success: []*pb.RequestOp{deleteOp(key)}})
}

// first asks for the key below name/ that was created first: its owner has what all of them want.
func first(name []byte) *pb.RangeRequest {
	q := below(name)
	q.SortOrder, q.SortTarget, q.Limit = pb.RangeRequest_ASCEND, pb.RangeRequest_CREATE, 1
	return q
}

func below(name []byte) *pb.RangeRequest {
	key := append(bytes.Clone(name), '/')
	end := bytes.Clone(key)
	end[len(end)-1]++
	return &pb.RangeRequest{Key: key, RangeEnd: end}
}

// unchanged compares a key's creation: 0 stands for a key that is not there.
func unchanged(key []byte, createRev int64) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: createRev}}
}

func putOp(key, value []byte, lease int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value, Lease: lease}}}
}

func deleteOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}

func getOp(q *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: q}}
}

// turn waits until all keys below name/ that were created before rev are gone: those that came first go first.
func (r *recipes) turn(ctx context.Context, name []byte, rev int64) error {
	for {
		q := below(name)
		q.SortOrder, q.SortTarget, q.Limit, q.MaxCreateRevision, q.KeysOnly = pb.RangeRequest_DESCEND, pb.RangeRequest_CREATE, 1, rev-1, true
		last, err := r.get(ctx, q)
		if err != nil || len(last.Kvs) == 0 {
			return err
		}
		key := &pb.RangeRequest{Key: last.Kvs[0].Key}
		err = r.follow(ctx, key, last.Header.Revision+1, func(resp *pb.WatchResponse) (bool, error) {
			for _, ev := range resp.Events {
				if ev.Type == deleted {
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil {
			return err
		}
	}
}

var errSeen = errors.New("seen")

// follow watches a range from a revision on until seen is content. It also returns nil if the revision was compacted:
// the caller looks again. seen is called by this goroutine.
func (r *recipes) follow(ctx context.Context, q *pb.RangeRequest, from int64, seen func(*pb.WatchResponse) (bool, error)) error {
	w := r.Hub().NewStream(watch.Config{
		ClusterID: uint64(r.ClusterID()), MemberID: uint64(r.MemberID()),
		Term:             func() uint64 { return r.View().Term },
		ProgressInterval: r.cfg.ProgressInterval,
		Send: func(f *wire.Frame) error {
			var resp pb.WatchResponse
			if err := proto.Unmarshal(bytes.Join(f.Bufs, nil), &resp); err != nil {
				return err
			}
			done, err := seen(&resp)
			if err == nil && (done || resp.Canceled) {
				return errSeen
			}
			return err
		},
	})
	w.Create(watch.Create{Range: wire.ParseRange(q.Key, q.RangeEnd), StartRevision: from})
	if err := w.Run(ctx); err != errSeen {
		return err
	}
	return nil
}

// opaque is the error of a step as clients of these services know it. In etcd the steps are taken by a client inside the
// server, which turns the errors of the catalogue into its own: they keep their text and lose their code.
func opaque(err error) error {
	var known *wire.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.As(err, &known), !isStatus(err):
		return status.Error(codes.Unknown, err.Error())
	}
	return err
}

func isStatus(err error) bool {
	_, ok := status.FromError(err)
	return ok
}

// decoder takes the fields of a message apart, by number. As in protobuf, the last of several counts, and a field of
// another type than expected is passed over.
type decoder struct {
	bytes map[protowire.Number]*[]byte
	ints  map[protowire.Number]*int64
	// sub decodes messages: several of them count as one after the other.
	sub map[protowire.Number]func([]byte) bool
}

func (d *decoder) decode(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber {
			return false
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(num, typ, b)
		if n < 0 {
			return false
		}
		switch typ {
		case protowire.BytesType:
			data, _ := protowire.ConsumeBytes(b)
			if p := d.bytes[num]; p != nil {
				*p = data
			}
			if sub := d.sub[num]; sub != nil && !sub(data) {
				return false
			}
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			if p := d.ints[num]; p != nil {
				*p = int64(v)
			}
		}
		b = b[n:]
	}
	return true
}

type (
	byteFields = map[protowire.Number]*[]byte
	intFields  = map[protowire.Number]*int64
)

// reply is a response whose field 1 is a header, and field 2, unless it is nil, a message or bytes.
func reply(h *pb.ResponseHeader, second []byte) (*wire.Frame, error) {
	head, err := proto.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), head)
	if second != nil {
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), second)
	}
	f := &wire.Frame{}
	f.Add(b)
	return f, nil
}
