package host

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

// applyWait is how long a lease that is in the table may be unknown to the deadlines.
const applyWait = time.Second

// Renew gives a lease its full TTL again and returns it in seconds; 0 stands for a lease that is not there. A lease
// whose time is over is waited for until its revoke has taken effect. The leader knows; another member asks it.
func (h *Host) Renew(ctx context.Context, id int64) (ttlSeconds int64, err error) {
	for limit := h.now() + applyWait; ; {
		if !h.IsLeader() {
			err := h.askLeader(ctx, func(ctx context.Context, url string) (err error) {
				ttlSeconds, err = h.cfg.Others.Renew(ctx, url, id)
				return err
			})
			return ttlSeconds, err
		}
		h.leaseMu.Lock()
		var r node.Renewal
		alone := h.alone.Load()
		switch {
		case !h.acts():
		case alone:
			r = h.deadlines.Renew(h.now(), id)
		default:
			r = h.deadlines.Alive(h.now(), id)
		}
		gone := h.leaseGone
		h.leaseMu.Unlock()
		switch {
		case !r.Known:
			again, err := h.awaitLease(ctx, id, limit)
			if err != nil || !again {
				return 0, err
			}
		case r.Expired:
			select {
			case <-gone:
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-h.stop:
				return 0, wire.ErrStopped
			}
		case r.Reset || !alone:
			// Alone, a checkpoint says that less is left, and has to be taken back first, or a crash could end the lease
			// early. Among others, they have to know before the holder does.
			h.cfg.Metrics.LeaseRenewed.Inc()
			return r.TTLSeconds, h.renew(ctx, id)
		default:
			h.cfg.Metrics.LeaseRenewed.Inc()
			return r.TTLSeconds, nil
		}
	}
}

// awaitLease waits a moment for a lease that is in the table, or will be, but not known to the deadlines: this member
// has only just become the leader.
func (h *Host) awaitLease(ctx context.Context, id int64, limit time.Duration) (again bool, err error) {
	if _, there := h.View().Leases.Get(id); !there && h.acts() {
		// A follower that has applied the grant before this member may have told the holder of it.
		if err := h.Read(ctx); err != nil {
			return false, err
		}
		if _, there = h.View().Leases.Get(id); !there {
			return false, nil
		}
	}
	if h.now() > limit {
		return false, wire.ErrTimeoutWaitAppliedIndex
	}
	return true, h.pause(ctx, 10*time.Millisecond)
}

// Remaining is how long a lease has left, negative once it is over. known is false for a lease that is not there.
func (h *Host) Remaining(ctx context.Context, id int64) (left time.Duration, known bool, err error) {
	for limit := h.now() + applyWait; ; {
		if !h.IsLeader() {
			err := h.askLeader(ctx, func(ctx context.Context, url string) error {
				r, err := h.cfg.Others.TimeToLive(ctx, url, id, false)
				left, known = time.Duration(r.GetTTL())*time.Second, err == nil && r.GetTTL() >= 0
				if errors.Is(err, wire.ErrLeaseNotFound) {
					return nil
				}
				return err
			})
			return left, known, err
		}
		h.leaseMu.Lock()
		left, known = h.deadlines.Remaining(h.now(), id)
		h.leaseMu.Unlock()
		if known && h.acts() {
			return left, known, nil
		}
		again, err := h.awaitLease(ctx, id, limit)
		if err != nil || !again {
			return 0, false, err
		}
	}
}

func (h *Host) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.stop:
		return wire.ErrStopped
	}
}

// NewLeaseID picks an ID for a lease whose client did not: positive, and unused before.
func (h *Host) NewLeaseID() int64 { return int64(h.queue.nextID() &^ (1 << 63)) }
