package host

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/wire"
)

// maxRenewals bounds the renewals of one entry of the log.
const maxRenewals = 5000

// renewals gathers renewals of leases for the log: while one entry is on its way, those that come wait for the next.
type renewals struct {
	mu   sync.Mutex
	next *renewal // nil if nobody waits
	busy bool     // an entry is on its way
}

// renewal is one entry and those that wait for it.
type renewal struct {
	ids  []int64
	done chan struct{}
	err  error
}

// renew puts the renewal of a lease into the log and waits for its effect.
func (h *Host) renew(ctx context.Context, id int64) error {
	r := &h.renewals
	r.mu.Lock()
	if r.next == nil {
		r.next = &renewal{done: make(chan struct{})}
	}
	if len(r.next.ids) >= maxRenewals {
		r.mu.Unlock()
		return wire.ErrTooManyRequests
	}
	mine := r.next
	mine.ids = append(mine.ids, id)
	if !r.busy {
		r.busy = true
		h.wg.Add(1)
		go h.renewAll()
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	case <-h.stop:
		return wire.ErrStopped
	}
}

// renewAll proposes what waits until nothing does.
func (h *Host) renewAll() {
	defer h.wg.Done()
	r := &h.renewals
	for {
		r.mu.Lock()
		batch := r.next
		r.next = nil
		if batch == nil {
			r.busy = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		q := &pb.LeaseCheckpointRequest{Checkpoints: make([]*pb.LeaseCheckpoint, len(batch.ids))}
		for i, id := range batch.ids {
			q.Checkpoints[i] = &pb.LeaseCheckpoint{ID: id}
		}
		_, batch.err = h.ProposeMessage(context.Background(), wire.KindLeaseCheckpoint, q)
		close(batch.done)
	}
}
