package measure

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/bench/report"
)

// call is one operation of one client.
type call func(ctx context.Context) error

// closedLoop is loop for clients that share gRPC connections.
func (s *subject) closedLoop(ctx context.Context, clients, connections int, client func(ctx context.Context, i int, c *grpc.ClientConn) (call, error)) (report.Sample, error) {
	cs, err := s.dial(ctx, connections)
	if err != nil {
		return nil, err
	}
	defer cs.close()
	return s.loop(ctx, clients, func(ctx context.Context, i int) (call, error) { return client(ctx, i, cs[i%len(cs)]) })
}

// loop keeps clients busy, each with its next call when it has the answer to the one before, for a while that is not
// measured and one that is.
func (s *subject) loop(ctx context.Context, clients int, client func(ctx context.Context, i int) (call, error)) (report.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, s.plan.Warm+s.plan.Run+time.Minute)
	defer cancel()
	var into atomic.Pointer[histogram]
	var stop atomic.Bool
	into.Store(new(histogram))
	ended := make(chan error, 1)
	go func() {
		ended <- each(clients, func(i int) error {
			f, err := client(ctx, i)
			for err == nil && !stop.Load() {
				t := time.Now()
				if err = f(ctx); err == nil {
					into.Load().add(time.Since(t))
				}
			}
			if err != nil {
				stop.Store(true)
			}
			return err
		})
	}()
	time.Sleep(s.plan.Warm)
	h := new(histogram)
	var err error
	before, cpuErr := s.CPU()
	begin := time.Now()
	into.Store(h)
	time.Sleep(s.plan.Run)
	took := time.Since(begin)
	n := h.count.Load()
	into.Store(new(histogram))
	after, err := s.CPU()
	stop.Store(true)
	for _, e := range []error{<-ended, cpuErr, err} {
		if e != nil {
			return nil, e
		}
	}
	r := report.Sample{report.Throughput: float64(n) / took.Seconds(), report.CPUPerOp: (after - before).Seconds() / float64(max(n, 1))}
	h.into(r)
	return r, nil
}
