package measure

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/bench/report"
)

const (
	probeEvery = 2 * time.Millisecond
	probeLimit = time.Minute
)

// prober reads and writes in small steps, one of each at a time, and remembers how long the slowest took.
type prober struct {
	failed      atomic.Int64
	read, write atomic.Pointer[histogram]

	conns conns
	stop  chan struct{}
	ended sync.WaitGroup
}

func (s *subject) probe(ctx context.Context) (*prober, error) {
	cs, err := s.dial(ctx, 2)
	if err != nil {
		return nil, err
	}
	p := &prober{conns: cs, stop: make(chan struct{})}
	p.begin()
	r := newRand(1)
	put, get := newPutBody("probe"), rangeBody(key(loadPrefix, 0))
	p.ended.Go(func() {
		w := newRand(2)
		p.run(ctx, cs[0], methodPut, &p.write, func() []byte { return put.set(w.IntN(1000), w) })
	})
	p.ended.Go(func() {
		p.run(ctx, cs[1], methodRange, &p.read, func() []byte {
			appendKey(get[:2], loadPrefix, r.IntN(s.plan.Keys))
			return get
		})
	})
	return p, nil
}

// begin forgets what was before.
func (p *prober) begin() {
	p.read.Store(new(histogram))
	p.write.Store(new(histogram))
	p.failed.Store(0)
}

func (p *prober) run(ctx context.Context, c *grpc.ClientConn, method string, into *atomic.Pointer[histogram], next func() []byte) {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
		}
		one, cancel := context.WithTimeout(ctx, probeLimit)
		var n int
		begin := time.Now()
		err := c.Invoke(one, method, next(), &n, raw)
		into.Load().add(time.Since(begin)) // also into one that began since: the call was under way in its time
		cancel()
		if err != nil {
			p.failed.Add(1)
		}
	}
}

// end waits for the calls that are on their way: they count.
func (p *prober) end(s report.Sample) error {
	read, write := p.read.Load(), p.write.Load()
	close(p.stop)
	p.ended.Wait()
	s[report.MaxRead], s[report.MaxWrite] = read.max(), write.max()
	s[report.Failed] = float64(p.failed.Load())
	return p.conns.close()
}
