package host

import (
	"context"
	"slices"
	"time"

	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

const maxReads = 100_000 // linearizable reads that wait at a time

// read is one caller's wait for a linearizable view.
type read struct {
	done            chan error
	since, deadline time.Duration
	index           uint64 // known once the round is over
}

// Read waits until the view holds everything that was acknowledged before the call.
func (h *Host) Read(ctx context.Context) error {
	if h.soleReady.Load() && h.acts() {
		// The only voter acknowledges a write after it is in the view, and nobody else can.
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := h.readPool.Get().(*read)
	r.since = h.now()
	r.deadline = r.since + h.RequestTimeout()
	if !h.loopBox.put(readRequest{r}) {
		return wire.ErrStopped
	}
	// As with a proposal, the wait is not ended by ctx: it is answered within the request timeout in any case.
	err := <-r.done
	h.readPool.Put(r)
	return err
}

// slowRead is how long a read may wait for the leader to confirm itself without being counted.
const slowRead = 500 * time.Millisecond

// reads are the reads that the loop knows of.
type reads struct {
	metrics *Metrics
	next    node.ReadTicket
	waiting map[node.ReadTicket]*read // for a read index
	behind  []*read                   // for the machine to get there, by index
}

func (rs *reads) add(r *read) node.ReadTicket {
	rs.next++
	if len(rs.waiting) >= maxReads {
		r.done <- wire.ErrTooManyRequests
		return rs.next
	}
	rs.waiting[rs.next] = r
	return rs.next
}

func (rs *reads) done(rounds []node.ReadsDone, now func() time.Duration) {
	for _, d := range rounds {
		for _, t := range d.Tickets {
			r := rs.waiting[t]
			if r == nil {
				continue
			}
			delete(rs.waiting, t)
			if now()-r.since > slowRead {
				rs.metrics.SlowReads.Inc()
			}
			r.index = d.Index
			rs.behind = append(rs.behind, r)
		}
	}
}

func (rs *reads) release(applied uint64) {
	rs.behind = slices.DeleteFunc(rs.behind, func(r *read) bool {
		if r.index <= applied {
			r.done <- nil
			return true
		}
		return false
	})
}

func (rs *reads) expire(now time.Duration) {
	for t, r := range rs.waiting {
		if r.deadline <= now {
			delete(rs.waiting, t)
			rs.metrics.FailedReads.Inc()
			r.done <- wire.ErrTimeout
		}
	}
	rs.behind = slices.DeleteFunc(rs.behind, func(r *read) bool {
		if r.deadline <= now {
			r.done <- wire.ErrTimeout
			return true
		}
		return false
	})
}

func (rs *reads) failAll(err error) {
	for t, r := range rs.waiting {
		delete(rs.waiting, t)
		r.done <- err
	}
	clear(rs.waiting)
	for _, r := range rs.behind {
		r.done <- err
	}
	rs.behind = nil
}
