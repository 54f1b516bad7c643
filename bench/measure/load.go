package measure

import (
	"context"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	loaders    = 16
	loadPrefix = "load"
	pagePrefix = "page"
)

// load puts n keys in txns. Their order is mixed: a store seldom gets its keys in order, and an index that does is not like
// one that does not.
func (s *subject) load(ctx context.Context, prefix string, n int) error {
	cs, err := s.dial(ctx, 4)
	if err != nil {
		return err
	}
	defer cs.close()
	step := stride(n)
	var next atomic.Int64
	return each(loaders, func(w int) error {
		kv, r := pb.NewKVClient(cs[w%len(cs)]), newRand(w)
		for {
			from := int(next.Add(int64(s.plan.Batch))) - s.plan.Batch
			if from >= n {
				return nil
			}
			var keys [][]byte
			for i := from; i < min(n, from+s.plan.Batch); i++ {
				keys = append(keys, key(prefix, i*step%n))
			}
			if _, err := kv.Txn(ctx, txnOf(keys, r)); err != nil {
				return err
			}
		}
	})
}

// stride is a number that i*stride%n goes through all of 0 to n-1 with.
func stride(n int) int {
	for k := n*618/1000 | 1; ; k += 2 {
		if divisor(n, k) == 1 {
			return k
		}
	}
}

func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
