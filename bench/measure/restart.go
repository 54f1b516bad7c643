package measure

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/bench/report"
)

// memory is what the server keeps resident once it has ended what it does behind its answers.
func memory(_ context.Context, s *subject) (report.Sample, error) {
	s.settle()
	m, err := s.Memory()
	return report.Sample{report.Memory: float64(m.Now)}, err
}

// restart ends the server as a power cut would, with the log's end not yet elsewhere, and takes the time until it answers.
func restart(ctx context.Context, s *subject) (report.Sample, error) {
	if err := s.load(ctx, "touched", s.plan.Touched); err != nil {
		return nil, err
	}
	s.settle()
	if err := s.Kill(); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	cpu, err := s.CPU()
	if err != nil {
		return nil, err
	}
	return report.Sample{report.Time: took.Seconds(), report.CPU: cpu.Seconds()}, s.holds(ctx, s.plan.Keys)
}

// holds checks how many keys the large store has.
func (s *subject) holds(ctx context.Context, keys int) error {
	cs, err := s.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer cs.close()
	from, to := under(loadPrefix)
	r, err := pb.NewKVClient(cs[0]).Range(ctx, &pb.RangeRequest{Key: from, RangeEnd: to, CountOnly: true})
	if err == nil && r.Count != int64(keys) {
		err = fmt.Errorf("measure: %s holds %d keys, not %d", s.Program.Kind, r.Count, keys)
	}
	return err
}

// afterRestart is the memory of a server that has loaded its keys from disk.
func afterRestart(ctx context.Context, s *subject) (report.Sample, error) {
	if _, err := restart(ctx, s); err != nil {
		return nil, err
	}
	return memory(ctx, s)
}
