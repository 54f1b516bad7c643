package measure

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/bench/report"
)

func (s *subject) puts(ctx context.Context, clients, connections int) (report.Sample, error) {
	return s.closedLoop(ctx, clients, connections, func(_ context.Context, i int, c *grpc.ClientConn) (call, error) {
		b, r := newPutBody("put"), newRand(i)
		return func(ctx context.Context) error {
			var n int
			return c.Invoke(ctx, methodPut, b.set(r.IntN(s.plan.Space), r), &n, raw)
		}, nil
	})
}

func putMany(ctx context.Context, s *subject) (report.Sample, error) {
	return s.puts(ctx, s.plan.Clients, s.plan.Conns)
}

func putOne(ctx context.Context, s *subject) (report.Sample, error) { return s.puts(ctx, 1, 1) }

// txns: the keys of one txn follow each other, for they may not be the same.
func txns(ctx context.Context, s *subject) (report.Sample, error) {
	return s.closedLoop(ctx, max(1, s.plan.Clients/10), max(1, s.plan.Conns/10), func(_ context.Context, i int, c *grpc.ClientConn) (call, error) {
		r := newRand(i)
		var bodies [][]byte // a few for each client: making one takes as long as sending it
		for range 8 {
			first := r.IntN(s.plan.Space)
			var keys [][]byte
			for n := range s.plan.Batch {
				keys = append(keys, key("txn", first+n))
			}
			bodies = append(bodies, body(txnOf(keys, r)))
		}
		turn := 0
		return func(ctx context.Context) error {
			var n int
			turn++
			return c.Invoke(ctx, methodTxn, bodies[turn%len(bodies)], &n, raw)
		}, nil
	})
}

func (s *subject) gets(ctx context.Context, serializable bool) (report.Sample, error) {
	return s.closedLoop(ctx, s.plan.Clients, s.plan.Conns, func(_ context.Context, i int, c *grpc.ClientConn) (call, error) {
		b, r := body(&pb.RangeRequest{Key: key(pagePrefix, 0), Serializable: serializable}), newRand(i)
		return func(ctx context.Context) error {
			var n int
			appendKey(b[:2], pagePrefix, r.IntN(s.plan.Page))
			err := c.Invoke(ctx, methodRange, b, &n, raw)
			if err == nil && n < valueSize {
				err = fmt.Errorf("measure: %s answered %d bytes to a get", s.Program.Kind, n)
			}
			return err
		}, nil
	})
}

func linearizable(ctx context.Context, s *subject) (report.Sample, error) { return s.gets(ctx, false) }

func serializable(ctx context.Context, s *subject) (report.Sample, error) { return s.gets(ctx, true) }

// ranges decodes what it gets, as a client that uses it does.
func ranges(ctx context.Context, s *subject) (report.Sample, error) {
	from, to := under(pagePrefix)
	return s.closedLoop(ctx, 4, 2, func(_ context.Context, _ int, c *grpc.ClientConn) (call, error) {
		kv := pb.NewKVClient(c)
		return func(ctx context.Context) error {
			r, err := kv.Range(ctx, &pb.RangeRequest{Key: from, RangeEnd: to})
			if err == nil && (len(r.Kvs) != s.plan.Page || r.Count != int64(s.plan.Page)) {
				err = fmt.Errorf("measure: %s answered %d of %d keys", s.Program.Kind, len(r.Kvs), r.Count)
			}
			return err
		}, nil
	})
}
