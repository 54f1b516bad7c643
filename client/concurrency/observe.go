package concurrency

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/client"
)

// observe alternates between reading who leads and watching the line from that
// revision on, until the leader is gone. It ends with ctx or with an error.
func (e *Election) observe(ctx context.Context, out chan<- *client.GetResponse) {
	defer close(out)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := int64(0) // mod revision last told
	for {
		resp, err := e.head(ctx)
		if err != nil {
			return
		}
		var leader *mvccpb.KeyValue
		if len(resp.Kvs) > 0 {
			leader = resp.Kvs[0]
			if leader.ModRevision > seen {
				seen = leader.ModRevision
				if !tell(ctx, out, resp) {
					return
				}
			}
		}
		if !e.follow(ctx, out, leader, resp.Header.GetRevision()+1, &seen) {
			return
		}
	}
}

// follow tells the values that leader proclaims. It returns true when the leader
// has to be read again: it is gone, or there was none and somebody came.
func (e *Election) follow(ctx context.Context, out chan<- *client.GetResponse, leader *mvccpb.KeyValue, rev int64, seen *int64) bool {
	watchCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	key, opts := e.place.pfx, []client.OpOption{client.WithRev(rev)}
	if leader != nil {
		key = string(leader.Key)
	} else {
		opts = append(opts, client.WithPrefix(), client.WithFilterDelete())
	}
	for wr := range e.place.s.Client().Watch(watchCtx, key, opts...) {
		if err := wr.Err(); err != nil {
			return errors.Is(err, rpctypes.ErrCompacted) && ctx.Err() == nil
		}
		for _, ev := range wr.Events {
			if leader == nil {
				if !e.place.nested(ev.Kv.Key) {
					return true
				}
				continue
			}
			if ev.Type == client.EventTypeDelete {
				return true
			}
			*seen = ev.Kv.ModRevision
			if !tell(ctx, out, &client.GetResponse{Header: wr.Header, Kvs: []*mvccpb.KeyValue{ev.Kv}}) {
				return false
			}
		}
	}
	return false
}

func tell(ctx context.Context, out chan<- *client.GetResponse, r *client.GetResponse) bool {
	select {
	case out <- r:
		return true
	case <-ctx.Done():
		return false
	}
}
