package security

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// eve may read and write what is below app/ and the key one, and wants more.
type eve struct {
	kv    pb.KVClient
	watch pb.WatchClient
	lease pb.LeaseClient
	w     *world
}

func put(k string) *pb.PutRequest { return &pb.PutRequest{Key: []byte(k), Value: []byte("eve")} }

func read(k, end string) *pb.RangeRequest {
	q := &pb.RangeRequest{Key: []byte(k)}
	if end != "" {
		q.RangeEnd = []byte(end)
	}
	return q
}

func del(k, end string) *pb.DeleteRangeRequest {
	q := &pb.DeleteRangeRequest{Key: []byte(k)}
	if end != "" {
		q.RangeEnd = []byte(end)
	}
	return q
}

func opGet(q *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: q}}
}

func opPut(q *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: q}}
}

func opDel(q *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: q}}
}

func opTxn(q *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: q}}
}

func then(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

// keyAttempts reach for keys beside, above and below those that are allowed.
func keyAttempts() (out []attempt) {
	add := func(name string, run func(ctx context.Context, e *eve) error) {
		out = append(out, attempt{name: name, run: func(w *world, t *testing.T) outcome {
			c := w.conn(t, w.Members[2], w.nobody)
			return unless(run(bearing(t, w.token(t, "eve", "eve")), &eve{pb.NewKVClient(c), pb.NewWatchClient(c), pb.NewLeaseClient(c), w}), "somebody else's keys")
		}})
	}
	for _, r := range []struct{ what, key, end string }{
		{"the prefix without its end", "app", ""}, {"the key behind the prefix", "app0", ""}, {"a range around", "app", "apq"}, {"a range that ends one late", "app/", "app0\x00"},
		{"everything from a key on", "app/", "\x00"}, {"everything", "\x00", "\x00"}, {"from the last key on", "app/\xff", "\x00"}, {"from a single key on", "one", "\x00"},
		{"one key too many", "one", "one\x00\x00"}, {"another key", "secret", ""}, {"the first key", "\x00", ""}, {"the last key", "\xff", ""}, {"two grants with a gap", "app/", "ond"},
		{"a range up to the end of keys", "app/", "\xff\xff\xff"},
	} {
		add("read "+r.what, func(ctx context.Context, e *eve) error {
			_, err := e.kv.Range(ctx, read(r.key, r.end))
			return err
		})
		add("delete "+r.what, func(ctx context.Context, e *eve) error {
			_, err := e.kv.DeleteRange(ctx, del(r.key, r.end))
			return err
		})
		add("watch "+r.what, func(ctx context.Context, e *eve) error { return e.look(ctx, r.key, r.end) })
		add("txn in a txn, read "+r.what, func(ctx context.Context, e *eve) error {
			_, err := e.kv.Txn(ctx, then(opTxn(then(opTxn(then(opGet(read(r.key, r.end))))))))
			return err
		})
	}
	kv := func(name string, q any) {
		add(name, func(ctx context.Context, e *eve) (err error) {
			switch q := q.(type) {
			case *pb.RangeRequest:
				_, err = e.kv.Range(ctx, q)
			case *pb.PutRequest:
				_, err = e.kv.Put(ctx, q)
			case *pb.TxnRequest:
				_, err = e.kv.Txn(ctx, q)
			}
			return err
		})
	}
	kv("put", put("secret"))
	kv("put the first key", put("\x00"))
	serial := read("secret", "")
	serial.Serializable = true
	kv("a serializable read", serial)
	old := read("secret", "")
	old.Revision = 3
	kv("a read of history", old)
	count := read("\x00", "\x00")
	count.CountOnly = true
	kv("a count", count)
	limited := read("app/", "\x00")
	limited.Limit, limited.KeysOnly = 1, true
	kv("the first key alone", limited)
	compare := func(end string) []*pb.Compare {
		c := &pb.Compare{Key: []byte("secret"), Target: pb.Compare_VALUE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Value{Value: []byte("a")}}
		if end != "" {
			c.RangeEnd = []byte(end)
		}
		return []*pb.Compare{c}
	}
	kv("guess a value by comparing", &pb.TxnRequest{Compare: compare("")})
	kv("guess by comparing a range", &pb.TxnRequest{Compare: compare("\x00")})
	kv("guess in a txn inside", then(opTxn(&pb.TxnRequest{Compare: compare("")})))
	kv("the branch that does not run", &pb.TxnRequest{Failure: []*pb.RequestOp{opGet(read("secret", ""))}})
	kv("a txn that writes", then(opPut(put("app/x")), opPut(put("secret"))))
	kv("a txn that deletes", then(opDel(del("app/", "\x00"))))
	kv("a txn inside that writes", then(opTxn(then(opTxn(then(opPut(put("secret"))))))))
	kv("a txn inside that deletes", then(opTxn(then(opDel(del("\x00", "\x00"))))))
	withLease := func(k string, w *world) *pb.PutRequest {
		q := put(k)
		q.Lease = w.lease
		return q
	}
	add("a lease that ends somebody's key", func(ctx context.Context, e *eve) error {
		_, err := e.kv.Put(ctx, withLease("app/x", e.w))
		return err
	})
	add("such a lease in a txn", func(ctx context.Context, e *eve) error {
		_, err := e.kv.Txn(ctx, then(opPut(withLease("app/x", e.w))))
		return err
	})
	add("such a lease in a txn inside", func(ctx context.Context, e *eve) error {
		_, err := e.kv.Txn(ctx, then(opTxn(then(opPut(withLease("app/x", e.w))))))
		return err
	})
	add("end somebody's lease", func(ctx context.Context, e *eve) error {
		_, err := e.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: e.w.lease})
		return err
	})
	add("keep somebody's lease", func(ctx context.Context, e *eve) error {
		st, err := e.lease.LeaseKeepAlive(ctx)
		if err == nil {
			_ = st.Send(&pb.LeaseKeepAliveRequest{ID: e.w.lease})
			_, err = st.Recv()
		}
		return err
	})
	add("the keys of somebody's lease", func(ctx context.Context, e *eve) error {
		_, err := e.lease.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: e.w.lease, Keys: true})
		return err
	})
	add("all leases", func(ctx context.Context, e *eve) error {
		_, err := e.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		return err
	})
	add("a watch with what was there before", func(ctx context.Context, e *eve) error {
		st, err := e.watch.Watch(ctx)
		if err != nil {
			return err
		}
		_ = st.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("secret"), StartRevision: 1, PrevKv: true}}})
		return cancelled(st)
	})
	add("a stream of everything", func(ctx context.Context, e *eve) error {
		st, err := e.kv.RangeStream(ctx, read("\x00", "\x00"))
		if err == nil {
			_, err = st.Recv()
		}
		return err
	})
	for _, right := range []struct {
		name string
		do   func(ctx context.Context, c *clientv3.Client) error
	}{
		{"become root", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.UserGrantRole(ctx, "eve", "root")
			return err
		}},
		{"widen one's role", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.RoleGrantPermission(ctx, "app", "\x00", "\x00", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		}},
		{"change root's password", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.UserChangePassword(ctx, "root", "eve")
			return err
		}},
		{"change one's own password", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.UserChangePassword(ctx, "eve", "eve2")
			return err
		}},
		{"switch users off", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.AuthDisable(ctx)
			return err
		}},
		{"look at somebody", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.UserGet(ctx, "ann")
			return err
		}},
		{"look at a role that one lacks", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.RoleGet(ctx, "root")
			return err
		}},
		{"take a snapshot", func(ctx context.Context, c *clientv3.Client) error {
			r, err := c.Snapshot(ctx)
			if err == nil {
				_, err = r.Read(make([]byte, 1))
			}
			return err
		}},
	} {
		out = append(out, attempt{name: right.name, run: func(w *world, t *testing.T) outcome {
			return unless(right.do(process.Within(t, patience), w.as(t, "eve", "eve")), right.name)
		}})
	}
	return out
}

// look watches, and is told nothing.
func (e *eve) look(ctx context.Context, key, end string) error {
	st, err := e.watch.Watch(ctx)
	if err != nil {
		return err
	}
	q := &pb.WatchCreateRequest{Key: []byte(key)}
	if end != "" {
		q.RangeEnd = []byte(end)
	}
	if err := st.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}}); err != nil {
		return err
	}
	return cancelled(st)
}

// cancelled is why a watch that was asked for is none.
func cancelled(st pb.Watch_WatchClient) error {
	r, err := st.Recv()
	switch {
	case err != nil:
		return err
	case len(r.Events) > 0:
		return nil
	case r.Canceled:
		return errors.New(r.CancelReason)
	}
	return nil
}
