package v3rpc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// observe sends the leader, and then every leader and value that follows, until the call ends.
func (s *electionServer) observe(st grpc.ServerStream) error {
	req := new(raw)
	if err := st.RecvMsg(req); err != nil {
		return err
	}
	name, err := electionName(req.b)
	if err != nil {
		return err
	}
	if err := s.read(st.Context(), name); err != nil {
		return err
	}
	o := &observer{electionServer: s, st: st, name: name}
	for {
		if err := o.reign(st.Context()); err != nil {
			return opaque(err)
		}
	}
}

// observer is one call of observe.
type observer struct {
	*electionServer
	st   grpc.ServerStream
	name []byte
	last int64 // mod revision of what was sent last
}

// reign waits for a leader, and tells about it until its key is gone. It also returns if it has to look again because
// of a compaction.
func (o *observer) reign(ctx context.Context) error {
	got, err := o.get(ctx, first(o.name))
	if err != nil {
		return err
	}
	h := got.Header
	var leader *mvccpb.KeyValue
	if len(got.Kvs) > 0 {
		leader = got.Kvs[0]
	} else {
		// The first to come leads. What the key was later is told below.
		err = o.follow(ctx, below(o.name), h.Revision+1, func(resp *pb.WatchResponse) (bool, error) {
			for _, ev := range resp.Events {
				if ev.Type != deleted {
					h, leader = resp.Header, ev.Kv
					h.Revision = leader.ModRevision
					return true, nil
				}
			}
			return false, nil
		})
		if err != nil || leader == nil {
			return err
		}
	}
	if err := o.send(h, leader); err != nil {
		return err
	}
	return o.follow(ctx, &pb.RangeRequest{Key: leader.Key}, h.Revision+1, func(resp *pb.WatchResponse) (bool, error) {
		for _, ev := range resp.Events {
			if ev.Type == deleted {
				return true, nil
			}
			if err := o.send(resp.Header, ev.Kv); err != nil {
				return false, err
			}
		}
		return false, nil
	})
}

// send passes over what was sent before: after a compaction the same key may be looked up twice.
func (o *observer) send(h *pb.ResponseHeader, kv *mvccpb.KeyValue) error {
	if kv.ModRevision == o.last {
		return nil
	}
	o.last = kv.ModRevision
	f, err := leaderReply(h, kv)
	if err != nil {
		return err
	}
	return o.st.SendMsg(f)
}
