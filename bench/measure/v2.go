package measure

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/cairn-kv/cairn/bench/report"
)

// v2Scene are the rows of the v2 API.
func v2Scene(p *Plan) *scene {
	sc := &scene{v2: true, prepare: func(ctx context.Context, s *subject) error {
		return s.v2Load(ctx)
	}}
	for _, n := range p.V2Conns {
		on := fmt.Sprintf(", %d connections", n)
		sc.rows = append(sc.rows,
			row{work: "v2: put" + on, measure: v2Puts(n), targets: targets{
				{Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 1.3}, times(report.CPUPerOp, 0.7)}},
			row{work: "v2: quorum get" + on, measure: v2Gets(n, "?quorum=true"), targets: targets{
				{Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 1.4}, times(report.CPUPerOp, 0.6)}},
			row{work: "v2: get" + on, measure: v2Gets(n, ""), targets: targets{times(report.CPUPerOp, 0.8)}})
	}
	sc.rows = append(sc.rows, row{work: fmt.Sprintf("v2: %d waiters on a directory, %d changes", p.Polls, p.Polled), measure: v2Polls,
		targets: targets{times(report.CPU, 0.4)}})
	return sc
}

func v2Key(n int) string { return fmt.Sprintf("/v2/keys/bench/%08d", n) }

// v2Text is a value of text, which a form needs no escapes for.
func v2Text(r *rand.Rand) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	b := make([]byte, valueSize)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

// v2Load makes the keys that gets choose from.
func (s *subject) v2Load(ctx context.Context) error {
	return each(loaders, func(w int) error {
		c, err := s.dialWeb(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		r := newRand(w)
		for i := w; i < s.plan.Page; i += loaders {
			if status, err := c.do(request("PUT", v2Key(i), "value="+v2Text(r))); err != nil || status >= 300 {
				return fmt.Errorf("measure: status %d: %w", status, err)
			}
		}
		return nil
	})
}

func v2Loop(n int, client func(s *subject, r *rand.Rand) func() (request []byte)) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		return s.loop(ctx, n, func(ctx context.Context, i int) (call, error) {
			c, err := s.dialWeb(ctx)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			next := client(s, newRand(i))
			return func(context.Context) error {
				status, err := c.do(next())
				if err == nil && (status >= http.StatusMultipleChoices || len(c.body) < valueSize) {
					err = fmt.Errorf("measure: %s answers %d and %d bytes", s.Program.Kind, status, len(c.body))
				}
				return err
			}, nil
		})
	}
}

// v2Puts: what is sent is made beforehand.
func v2Puts(n int) measurement {
	return v2Loop(n, func(s *subject, r *rand.Rand) func() []byte {
		var some [][]byte
		for range 64 {
			some = append(some, request("PUT", v2Key(r.IntN(s.plan.Page)), "value="+v2Text(r)))
		}
		return func() []byte { return some[r.IntN(len(some))] }
	})
}

func v2Gets(n int, query string) measurement {
	return v2Loop(n, func(s *subject, r *rand.Rand) func() []byte {
		var some [][]byte
		for range 64 {
			some = append(some, request("GET", v2Key(r.IntN(s.plan.Page))+query, ""))
		}
		return func() []byte { return some[r.IntN(len(some))] }
	})
}

// v2Polls takes the time from the first change until every client has seen all, and the server's processor time for it. A
// client waits for one change at a time, and asks for the next by its index.
func v2Polls(ctx context.Context, s *subject) (report.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	w, err := s.dialWeb(ctx)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	put := request("PUT", "/v2/keys/polled/k", "value="+v2Text(newRand(0)))
	if _, err := w.do(put); err != nil {
		return nil, err
	}
	first, err := modifiedIndex(w.body)
	if err != nil {
		return nil, err
	}
	conns := make([]*webConn, s.plan.Polls)
	if err := each(len(conns), func(i int) (err error) {
		if conns[i], err = s.dialWeb(ctx); err != nil {
			return err
		}
		_, err = conns[i].Write(poll(first + 1))
		return err
	}); err != nil {
		return nil, err
	}
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	s.settle()
	before, err := s.CPU()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	seen := make(chan error, 1)
	go func() {
		seen <- each(len(conns), func(i int) error { return conns[i].polls(first, s.plan.Polled) })
	}()
	for range s.plan.Polled {
		if _, err := w.do(put); err != nil {
			return nil, err
		}
	}
	if err := <-seen; err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := s.CPU()
	return report.Sample{report.Time: took.Seconds(), report.CPU: (after - before).Seconds()}, err
}

func poll(index uint64) []byte {
	return request("GET", "/v2/keys/polled?wait=true&recursive=true&waitIndex="+strconv.FormatUint(index, 10), "")
}

// polls reads the answer to each poll and sends the next one.
func (c *webConn) polls(last uint64, n int) error {
	for i := range n {
		if _, err := c.answer(); err != nil {
			return err
		}
		index, err := modifiedIndex(c.body)
		if err != nil || index != last+1 {
			return fmt.Errorf("measure: a change at %d in place of %d: %w", index, last+1, err)
		}
		last = index
		if i+1 < n {
			if _, err := c.Write(poll(last + 1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// modifiedIndex is that of the node in an answer.
func modifiedIndex(b []byte) (uint64, error) {
	_, rest, ok := bytes.Cut(b, []byte(`"modifiedIndex":`))
	if !ok {
		return 0, fmt.Errorf("measure: no index in %q", b)
	}
	end := bytes.IndexAny(rest, ",}")
	return strconv.ParseUint(string(rest[:max(end, 0)]), 10, 64)
}
