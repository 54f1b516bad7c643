package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/bench/report"
)

// page reads one page of the large store again and again with one client, which does not decode what it reads.
func page(q *pb.RangeRequest) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		cs, err := s.dial(ctx, 1)
		if err != nil {
			return nil, err
		}
		defer cs.close()
		q.Key, q.RangeEnd = under(loadPrefix)
		r, err := pb.NewKVClient(cs[0]).Range(ctx, q)
		if err != nil {
			return nil, err
		}
		want := int(q.Limit)
		if q.CountOnly {
			want = 0
		}
		if len(r.Kvs) != want || r.Count != int64(s.plan.Keys) {
			return nil, fmt.Errorf("measure: %s: %d of %d keys", s.Program.Kind, len(r.Kvs), r.Count)
		}
		b, h := body(q), new(histogram)
		for begin := time.Now(); time.Since(begin) < s.plan.Slow; {
			var n int
			t := time.Now()
			if err := cs[0].Invoke(ctx, methodRange, b, &n, raw); err != nil {
				return nil, err
			}
			h.add(time.Since(t))
		}
		sample := report.Sample{}
		h.into(sample)
		return sample, nil
	}
}

// all reads the large store whole, in a way, and checks that it was. The client decodes.
func all(read func(context.Context, pb.KVClient) (keys int, err error)) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		cs, err := s.dial(ctx, 1)
		if err != nil {
			return nil, err
		}
		defer cs.close()
		if err := s.ResetPeak(); err != nil {
			return nil, err
		}
		keys := 0
		sample, err := s.timed(func() (err error) {
			keys, err = read(ctx, pb.NewKVClient(cs[0]))
			return err
		})
		if err == nil && keys != s.plan.Keys {
			err = fmt.Errorf("measure: %s gave %d keys of %d", s.Program.Kind, keys, s.plan.Keys)
		}
		return sample, err
	}
}

// timed takes the time of f, the server's processor time and by how much its memory grew at most.
func (s *subject) timed(f func() error) (report.Sample, error) {
	before, err := s.Memory()
	if err != nil {
		return nil, err
	}
	cpu, err := s.CPU()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return nil, fmt.Errorf("measure: %s: %w", s.Program.Kind, err)
	}
	took := time.Since(begin)
	cpuAfter, err := s.CPU()
	if err != nil {
		return nil, err
	}
	after, err := s.Memory()
	return report.Sample{report.Time: took.Seconds(), report.CPU: (cpuAfter - cpu).Seconds(), report.Growth: float64(after.Peak - before.Now)}, err
}

func allAtOnce(ctx context.Context, kv pb.KVClient) (int, error) {
	from, to := under(loadPrefix)
	r, err := kv.Range(ctx, &pb.RangeRequest{Key: from, RangeEnd: to})
	return len(r.GetKvs()), err
}

// allInPages asks as a paging client does: from behind the last key, at the first page's revision.
func allInPages(ctx context.Context, kv pb.KVClient) (keys int, err error) {
	q := &pb.RangeRequest{Limit: 10_000}
	q.Key, q.RangeEnd = under(loadPrefix)
	for {
		r, err := kv.Range(ctx, q)
		if err != nil {
			return keys, err
		}
		if keys += len(r.Kvs); !r.More || len(r.Kvs) == 0 {
			return keys, nil
		}
		q.Key, q.Revision = append(r.Kvs[len(r.Kvs)-1].Key, 0), r.Header.Revision
	}
}

func allAsStream(ctx context.Context, kv pb.KVClient) (keys int, err error) {
	from, to := under(loadPrefix)
	st, err := kv.RangeStream(ctx, &pb.RangeRequest{Key: from, RangeEnd: to})
	for err == nil {
		var r *pb.RangeStreamResponse
		if r, err = st.Recv(); err == nil {
			keys += len(r.GetRangeResponse().GetKvs())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return keys, err
}
