//go:build linux

package network

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	leaseTTL = 10 * time.Second
	// leaseLate is how late a lease may end.
	leaseLate = time.Second
	leaseCall = 200 * time.Millisecond
)

// tenure is one lease, and what its holder knows of it.
type tenure struct {
	s    *scene
	rng  *rand.Rand
	key  string
	stop time.Duration // when its holder stops to renew it

	asked, told time.Duration // the last renewal that was answered
	open        time.Duration // the end of the last one that was not: it may have its effect a moment later
	seen, gone  time.Duration // when it was asked last and its key was there, and when it was first known not to be
}

// Leases last from their last renewal, whoever leads, and not longer.
func TestLeasesOutliveLeaders(t *testing.T) {
	s := newScene(t)
	t.Logf("seed %d", s.seed)
	leases := 10
	if *long {
		leases = 40
	}
	var ts []*tenure
	var wg sync.WaitGroup
	for i := range leases {
		x := &tenure{s: s, rng: rand.New(rand.NewPCG(s.seed, uint64(i+1))), key: fmt.Sprint("leased/", i)}
		x.stop = s.now() + time.Duration(x.rng.Int64N(int64(6*time.Second)))
		ts = append(ts, x)
		wg.Go(x.live)
	}
	type outage struct{ from, to time.Duration }
	var outages []outage
	// One leader is killed while leases are renewed, the machine of another goes when they end.
	time.Sleep(time.Second + time.Duration(s.rng.Int64N(int64(4*time.Second))))
	began := s.now()
	lead := s.Leader()
	from := s.now()
	lead.Kill()
	s.resumed(s.Others(lead)...)
	outages = append(outages, outage{from, s.now()})
	lead.Start()
	time.Sleep(8*time.Second - (s.now() - began) + time.Duration(s.rng.Int64N(int64(3*time.Second))))
	lead = s.Leader()
	from = s.now()
	s.lab.unplug(lead)
	s.resumed(s.Others(lead)...)
	outages = append(outages, outage{from, s.now()})
	time.Sleep(500 * time.Millisecond)
	s.lab.plug(lead)
	wg.Wait()
	t.Logf("without a leader: %v", outages)
	var late []time.Duration
	for _, x := range ts {
		require.GreaterOrEqual(t, x.gone, x.asked+leaseTTL, "the lease of %s has ended early", x.key)
		end := max(x.told, x.open) + leaseTTL
		limit := end + leaseLate
		for _, o := range outages {
			if end < o.to && limit > o.from {
				limit = max(limit, o.to+leaseLate)
			}
		}
		t.Logf("%s: renewed at %v, gone between %v and %v, allowed until %v", x.key, x.told, x.seen, x.gone, limit)
		late = append(late, max(0, x.seen-(limit-leaseLate)))
	}
	measured(t, "lease: its key is still there so long after its end, or after the election that it fell into", leaseLate, late...)
	s.end()
}

// live grants the lease, renews it until it is time to stop, and looks on until its key is gone.
func (x *tenure) live() {
	s := x.s
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	// Any member is asked, and not for long: it may be gone.
	call := func(f func(context.Context, *clientv3.Client) error) error {
		ctx, cancel := context.WithTimeout(ctx, leaseCall)
		defer cancel()
		return f(ctx, s.outside[s.Members[x.rng.IntN(3)]])
	}
	var id clientv3.LeaseID
	if err := call(func(ctx context.Context, c *clientv3.Client) error {
		x.asked = s.now()
		r, err := c.Grant(ctx, int64(leaseTTL/time.Second))
		if err == nil {
			id = r.ID
			_, err = c.Put(ctx, x.key, "here", clientv3.WithLease(id))
		}
		x.told = s.now()
		return err
	}); err != nil {
		s.t.Errorf("grant: %v", err)
		return
	}
	for last := false; !last; {
		pause(ctx, time.Duration(100+x.rng.IntN(900))*time.Millisecond)
		last = s.now() >= x.stop
		for {
			asked := s.now()
			err := call(func(ctx context.Context, c *clientv3.Client) error {
				_, err := c.KeepAliveOnce(ctx, id)
				return err
			})
			if err == nil {
				x.asked, x.told = asked, s.now()
				break
			}
			if x.open = s.now() + time.Second; ctx.Err() != nil {
				s.t.Errorf("renew: %v", err)
				return
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
	for x.gone == 0 && ctx.Err() == nil {
		asked := s.now()
		var there bool
		if err := call(func(ctx context.Context, c *clientv3.Client) error {
			r, err := c.Get(ctx, x.key)
			there = err == nil && len(r.Kvs) > 0
			return err
		}); err == nil {
			if there {
				x.seen = asked
			} else {
				x.gone = s.now()
			}
		}
		pause(ctx, 20*time.Millisecond)
	}
}
