package measure

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/bench/report"
)

func times(m report.Metric, x float64) report.Target {
	return report.Target{Metric: m, Bound: report.TimesAtMost, Value: x}
}

func never(m report.Metric, x float64) report.Target {
	return report.Target{Metric: m, Bound: report.Never, Value: x}
}

type targets []report.Target

// scenes are all rows in the order of the table.
func scenes(p *Plan) []*scene {
	many := fmt.Sprintf("%d clients, %d connections", p.Clients, p.Conns)
	alone := func(work string, f measurement, t ...report.Target) *scene {
		return &scene{rows: []row{{work: work, measure: f, targets: t}}}
	}
	loadPage := func(ctx context.Context, s *subject) error { return s.load(ctx, pagePrefix, p.Page) }
	watchers := fmt.Sprintf("%d watchers of a key on %d connections, %d events", p.Watchers, p.WatchConns, p.Events)
	return []*scene{
		alone("put, "+many, putMany,
			report.Target{Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 1.6}, times(report.CPUPerOp, 0.5), times(report.P99, 0.6)),
		alone("put, 1 client", putOne, times(report.Mean, 0.85)),
		alone(fmt.Sprintf("txn of %d puts, %d clients, %d connections", p.Batch, max(1, p.Clients/10), max(1, p.Conns/10)), txns, times(report.CPUPerOp, 0.4)),
		{prepare: loadPage, rows: []row{
			{work: "linearizable get, " + many, measure: linearizable, targets: targets{times(report.CPUPerOp, 0.5)}},
			{work: "serializable get, " + many, measure: serializable, targets: targets{times(report.CPUPerOp, 0.5)}},
			{work: fmt.Sprintf("range of %d keys, decoded, 4 clients", p.Page), measure: ranges, targets: targets{
				times(report.CPUPerOp, 0.2), {Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 2.2}}},
		}},
		alone(watchers+", 1 writer", sameKey(func(*Plan) int { return 1 }), times(report.CPU, 0.4), times(report.Time, 0.5)),
		alone(fmt.Sprintf("%s, %d writers", watchers, p.Writers), sameKey(func(p *Plan) int { return p.Writers }), times(report.CPU, 0.4), times(report.Time, 0.5)),
		alone(fmt.Sprintf("%d watchers of a key each, %d events, %d writers", p.OwnKeys, p.OwnEvents, 4*p.Writers), ownKeys, times(report.CPU, 0.5), times(report.Time, 0.5)),
		alone("lease keep-alive, "+many, keepAlives, times(report.CPUPerOp, 0.6)),
		alone("lease keep-alive, a stream each time, "+many, keepAlivesOnce, times(report.CPUPerOp, 0.6)),
		secureScene(p),
		clusterScene(p),
		v2Scene(p),
		large(p),
	}
}

// large are the rows on the large store: reads, restarts, and what comes after every key was overwritten.
func large(p *Plan) *scene {
	n := p.Keys
	load := func(ctx context.Context, s *subject) error { return s.load(ctx, loadPrefix, n) }
	inTime := targets{{Metric: report.Mean, Bound: report.AtMost, Value: 1e-3}}
	down, byKey := pb.RangeRequest_DESCEND, pb.RangeRequest_KEY
	rows := []row{{work: fmt.Sprintf("memory with %d keys, after load", n), measure: memory, once: true, targets: targets{times(report.Memory, 1)}}}
	// The whole store is read right after a restart and first as a stream: memory that a larger answer left to the process
	// would hide by how much the next one makes it grow.
	rows = append(rows,
		row{work: fmt.Sprintf("kill -9 to serving with %d keys", n), measure: restart, targets: targets{times(report.Time, 0.4)}},
		row{work: fmt.Sprintf("memory with %d keys, after restart", n), measure: afterRestart, targets: targets{times(report.Memory, 0.8)}},
		row{work: fmt.Sprintf("all %d keys, stream", n), measure: all(allAsStream), targets: targets{times(report.Time, 0.4),
			{Metric: report.Growth, Bound: report.AtMost, Value: 64e6}}},
		row{work: fmt.Sprintf("all %d keys, pages of 10000", n), measure: all(allInPages), targets: targets{times(report.Time, 0.4)}},
		row{work: fmt.Sprintf("all %d keys, one range", n), measure: all(allAtOnce), targets: targets{times(report.Time, 0.4)}},
	)
	for _, r := range []struct {
		what string
		q    *pb.RangeRequest
	}{
		{"count only", &pb.RangeRequest{CountOnly: true}},
		{"count only, descending", &pb.RangeRequest{CountOnly: true, SortOrder: down, SortTarget: byKey}},
		{"limit 1", &pb.RangeRequest{Limit: 1}},
		{"limit 1, descending", &pb.RangeRequest{Limit: 1, SortOrder: down, SortTarget: byKey}},
		{"limit 500", &pb.RangeRequest{Limit: 500}},
		{"limit 500, descending", &pb.RangeRequest{Limit: 500, SortOrder: down, SortTarget: byKey}},
	} {
		rows = append(rows, row{work: fmt.Sprintf("%s, of %d keys", r.what, n), measure: page(r.q), targets: inTime})
	}
	return &scene{prepare: load, rows: rows, then: &scene{prepare: load, copies: true, rows: []row{
		{work: fmt.Sprintf("compaction of %d old revisions", n), measure: disturbed(compaction), targets: targets{
			times(report.Time, 0.5), never(report.MaxRead, 0.030), never(report.MaxWrite, 0.030)}},
		{work: fmt.Sprintf("defragment, %d keys", n), measure: disturbed(defragment), targets: targets{
			times(report.Time, 0.8), never(report.MaxRead, 0.050), never(report.MaxWrite, 0.050)}},
		{work: fmt.Sprintf("snapshot save, %d keys", n), measure: disturbed(snapshot), targets: targets{
			times(report.Time, 0.8), never(report.MaxRead, 0.050), never(report.MaxWrite, 0.050)}},
		{work: fmt.Sprintf("delete %d keys in one request", n), measure: disturbed(deleteAll), targets: targets{
			never(report.MaxRead, 0.050), times(report.MaxWrite, 0.15)}},
	}}}
}
