package host

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/wire"
)

// applyWait is how long a lease that is in the table may be unknown to the deadlines.
const applyWait = time.Second

// Renew gives a lease its full TTL again and returns it in seconds; 0 stands for a lease that is not there. A lease
// whose time is over is waited for until its revoke has taken effect.
func (h *Host) Renew(ctx context.Context, id int64) (ttlSeconds int64, err error) {
	for limit := h.now() + applyWait; ; {
		if h.leadTerm.Load() == 0 {
			if err := h.awaitLeadership(ctx); err != nil {
				return 0, err
			}
		}
		h.leaseMu.Lock()
		r := h.deadlines.Renew(h.now(), id)
		gone := h.leaseGone
		h.leaseMu.Unlock()
		switch {
		case !r.Known:
			if _, there := h.View().Leases.Get(id); there {
				// Granted, but this member has only just become the leader and does not watch it yet.
				if h.now() > limit {
					return 0, wire.ErrTimeoutWaitAppliedIndex
				}
				if err := h.pause(ctx, 10*time.Millisecond); err != nil {
					return 0, err
				}
				continue
			}
			return 0, nil
		case r.Expired:
			select {
			case <-gone:
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-h.stop:
				return 0, wire.ErrStopped
			}
		case r.Reset:
			// A checkpoint says that less is left. It has to be taken back first, or a crash could end the lease early.
			_, err := h.ProposeMessage(ctx, wire.KindLeaseCheckpoint,
				&pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: id}}})
			h.cfg.Metrics.LeaseRenewed.Inc()
			return r.TTLSeconds, err
		default:
			h.cfg.Metrics.LeaseRenewed.Inc()
			return r.TTLSeconds, nil
		}
	}
}

// Remaining is how long a lease has left, negative once it is over. known is false for a lease that is not there.
func (h *Host) Remaining(ctx context.Context, id int64) (left time.Duration, known bool, err error) {
	for limit := h.now() + applyWait; ; {
		if h.leadTerm.Load() == 0 {
			if err := h.awaitLeadership(ctx); err != nil {
				return 0, false, err
			}
		}
		h.leaseMu.Lock()
		left, known = h.deadlines.Remaining(h.now(), id)
		h.leaseMu.Unlock()
		if !known {
			if _, there := h.View().Leases.Get(id); there {
				if h.now() > limit {
					return 0, false, wire.ErrTimeoutWaitAppliedIndex
				}
				if err := h.pause(ctx, 10*time.Millisecond); err != nil {
					return 0, false, err
				}
				continue
			}
		}
		return left, known, nil
	}
}

// awaitLeadership waits until this member leads: the leader is the only one that watches leases.
func (h *Host) awaitLeadership(ctx context.Context) error {
	limit := h.now() + h.RequestTimeout()
	for h.leadTerm.Load() == 0 {
		if h.now() > limit {
			return wire.ErrTimeout
		}
		if err := h.pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
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
