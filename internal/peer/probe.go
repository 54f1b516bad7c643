package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	probeEvery = 4 * time.Second
	// warnEvery bounds how often the same is said of the clock.
	warnEvery = 30 * time.Second
	// maxClockDifference is from where the clocks of two members are worth a warning: leases count on them.
	maxClockDifference = time.Second
)

// health is the answer to a probe, in etcd's words.
type health struct {
	OK  bool
	Now time.Time
}

// prober asks a peer for the time, again and again, to know how far away it is. It is one goroutine, which ends with the
// peer. etcd asks on two transports; it sees no difference in who asks.
type prober struct {
	p       *peer
	failing bool
	warned  time.Time // of the clock
}

func (b *prober) run() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !b.p.cut.Load() {
				b.probe()
			}
		case <-b.p.ctx.Done():
			return
		}
	}
}

func (b *prober) probe() {
	p := b.p
	rtt, now, err := p.ask()
	received := time.Now()
	if err != nil {
		if !b.failing && p.ctx.Err() == nil {
			p.log.Warn("prober detected unhealthy status", "error", err.Error())
		}
		b.failing = true
		return
	}
	b.failing = false
	s := p.status.probed(rtt, func(smoothed time.Duration) time.Duration { return received.Sub(now) - smoothed/2 })
	p.figures.probed(s.RoundTrip.Seconds())
	if s.ClockDifference.Abs() > maxClockDifference && received.Sub(b.warned) > warnEvery {
		b.warned = received
		p.log.Warn("prober found high clock drift", "clock-drift", s.ClockDifference.String(), "rtt", s.RoundTrip.String())
	}
}

func (p *peer) ask() (rtt time.Duration, now time.Time, err error) {
	u := p.addrs.pick()
	if u == nil {
		return 0, now, fmt.Errorf("peer: no address is known")
	}
	ctx, cancel := context.WithTimeout(p.ctx, p.t.cfg.DialTimeout+p.t.cfg.ReadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at(u, pathProbing), nil)
	if err != nil {
		return 0, now, err
	}
	began := time.Now()
	resp, err := p.t.posts.RoundTrip(req)
	if err != nil {
		return 0, now, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, now, fmt.Errorf("peer: unexpected status %s", resp.Status)
	}
	var h health
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxHead)).Decode(&h); err != nil {
		return 0, now, err
	}
	if !h.OK {
		return 0, now, fmt.Errorf("peer: it says that it is not well")
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxHead)) // so that the connection can be used again
	return time.Since(began), h.Now, nil
}
