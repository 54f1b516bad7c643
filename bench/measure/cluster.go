package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/bench/process"
	"github.com/cairn-kv/cairn/bench/report"
)

// clusterScene are the rows on three members. Members are not paused, for they would hold elections: each cluster has the
// machine for itself, one after the other, in each round.
func clusterScene(p *Plan) *scene {
	many := fmt.Sprintf("%d clients, %d connections", p.Clients, p.Conns)
	return &scene{members: 3, prepare: func(ctx context.Context, s *subject) error { return s.load(ctx, pagePrefix, p.Page) }, rows: []row{
		{work: "3 members: put to the leader, " + many, measure: putMany, targets: targets{
			{Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 1.8}, times(report.CPUPerOp, 0.5)}},
		{work: "3 members: put to the leader, 1 client", measure: putOne, targets: targets{times(report.Mean, 0.8)}},
		{work: "3 members: linearizable get from all, " + many, measure: spread(linearizable), targets: targets{
			{Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 1.8}}},
		{work: "3 members: put to all, " + many, measure: spread(putMany), targets: targets{times(report.CPUPerOp, 0.5)}},
		{work: "3 members: kill -9 of the leader, until a write succeeds", measure: killLeader, targets: targets{
			times(report.Time, 1), {Metric: report.Time, Bound: report.Never, Value: 0.5}}},
	}}
}

func spread(f measurement) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		s.spread = true
		defer func() { s.spread = false }()
		return f(ctx, s)
	}
}

// newCluster starts a cluster. The subject's server is its leader.
func newCluster(ctx context.Context, p process.Program, dir string, plan *Plan, n int, args ...string) (*subject, error) {
	members, err := process.NewCluster(p, dir, n, args...)
	if err != nil {
		return nil, err
	}
	s := &subject{Server: members[0], plan: plan, members: members}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, m := range members {
		if err := m.Spawn(); err != nil {
			return s, err
		}
	}
	for _, m := range members {
		if err := m.WaitReady(ctx); err != nil {
			return s, err
		}
	}
	return s, s.findLeader(ctx)
}

// findLeader makes the leader the server that clients talk to.
func (s *subject) findLeader(ctx context.Context) error {
	for {
		for _, m := range s.members {
			if leads(ctx, m) {
				s.Server = m
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("measure: nobody leads: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func leads(ctx context.Context, m *process.Server) bool {
	c, err := m.Dial()
	if err != nil {
		return false
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{})
	return err == nil && r.Leader == r.Header.MemberId
}

// CPU is the processor time of all members.
func (s *subject) CPU() (time.Duration, error) {
	if s.members == nil {
		return s.Server.CPU()
	}
	var sum time.Duration
	for _, m := range s.members {
		t, err := m.CPU()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func (s *subject) endCluster(dir string) (err error) {
	for _, m := range s.members {
		err = errors.Join(err, m.Kill())
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// killLeader ends the leader as a crash would and writes to another member until that succeeds. The killed one comes back.
func killLeader(ctx context.Context, s *subject) (report.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := s.findLeader(ctx); err != nil {
		return nil, err
	}
	dead := s.Server
	other := s.members[0]
	if other == dead {
		other = s.members[1]
	}
	c, err := other.Dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	b, r := newPutBody("kill"), newRand(0)
	put := func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var n int
		return c.Invoke(ctx, methodPut, b.set(1, r), &n, raw)
	}
	if err := put(); err != nil {
		return nil, err
	}
	if err := dead.Kill(); err != nil {
		return nil, err
	}
	begin := time.Now()
	for err = put(); err != nil; err = put() {
		if ctx.Err() != nil {
			return nil, err
		}
	}
	took := time.Since(begin)
	if err := dead.Start(ctx); err != nil {
		return nil, err
	}
	return report.Sample{report.Time: took.Seconds()}, s.findLeader(ctx)
}

// rounds measures a scene on clusters.
func (r *Run) rounds(ctx context.Context, sc *scene) error {
	for range r.Plan.Rounds {
		for _, program := range []process.Program{r.Etcd, r.Cairn} {
			if err := r.onCluster(ctx, sc, program); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Run) onCluster(ctx context.Context, sc *scene, program process.Program) (err error) {
	dir := r.folder(program.Kind)
	s, err := newCluster(ctx, program, dir, &r.Plan, sc.members, r.args()...)
	if s != nil {
		defer func() { err = errors.Join(err, s.endCluster(dir)) }()
	}
	if err != nil {
		return err
	}
	if err := sc.prepare(ctx, s); err != nil {
		return err
	}
	for _, w := range sc.rows {
		if err := s.findLeader(ctx); err != nil {
			return err
		}
		if err := r.measure(ctx, w, s); err != nil {
			return fmt.Errorf("%s: %w\n%s", w.work, err, s.LogTail())
		}
	}
	return nil
}
