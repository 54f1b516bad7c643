package host

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

// elections remembers when this member last came to lead.
type elections struct {
	mu   sync.Mutex
	won  time.Duration
	ever bool
}

func (e *elections) began(now time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.won, e.ever = now, true
}

// within reports whether this member came to lead less than d after the moment.
func (e *elections) within(since, d time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ever && since < e.won && since > e.won-d
}

func (h *Host) electionTimeout() time.Duration {
	return h.cfg.Tick * time.Duration(h.cfg.ElectionTicks)
}

// timeoutSince is the error for a proposal that was made at a moment and had no effect in time (v3-grpc.md section 3.5).
func (h *Host) timeoutSince(since time.Duration) error {
	if h.led.within(since, 2*h.electionTimeout()) {
		return wire.ErrTimeoutDueToLeaderFail
	}
	lead := h.Leader()
	switch {
	case h.IsLeader():
		if !h.connectedToQuorum(since) {
			return wire.ErrTimeoutDueToConnectionLost
		}
	case lead != 0:
		if at, ok := h.peers.ActiveSince(lead); !ok || at.Sub(h.start) > since {
			return wire.ErrTimeoutDueToConnectionLost
		}
	}
	return wire.ErrTimeout
}

// connectedToQuorum reports whether a majority of the voters, self among them, was connected all the time since.
func (h *Host) connectedToQuorum(since time.Duration) bool {
	voters, n := h.View().Cluster.ConfState().GetVoters(), 0
	for _, id := range voters {
		if id == uint64(h.cfg.MemberID) || h.connected(id, since) {
			n++
		}
	}
	return n > len(voters)/2
}

// handOver gives leadership to another voter, if this member leads and there is one.
func (h *Host) handOver() {
	if !h.IsLeader() || h.Failed() != nil {
		return
	}
	var to cluster.ID
	if err := h.ask(func(n *node.Node) {
		if to = n.Successor(); to != 0 {
			n.Transfer(to)
		}
	}); err != nil || to == 0 {
		return
	}
	for limit := h.now() + h.electionTimeout(); h.now() < limit; {
		if h.lead.Load() != uint64(h.cfg.MemberID) && h.lead.Load() != 0 {
			h.cfg.Logger.Info("leadership transfer finished", "to", h.Leader().String())
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.cfg.Logger.Warn("leadership was not taken over in time", "by", to.String())
}

// MoveLeader hands leadership to a voter and waits until it leads.
func (h *Host) MoveLeader(ctx context.Context, to cluster.ID) error {
	if err := h.ask(func(n *node.Node) { n.Transfer(to) }); err != nil {
		return wire.ErrStopped
	}
	for limit := h.now() + h.RequestTimeout(); h.Leader() != to; {
		if h.now() >= limit {
			return wire.ErrTimeoutLeaderTransfer
		}
		if err := h.pause(ctx, h.cfg.Tick/10); err != nil {
			return err
		}
	}
	return nil
}
