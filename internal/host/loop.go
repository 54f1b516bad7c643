package host

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

// maxAppends is how many jobs the log has at a time. While it works on one, proposals gather for the next: under load
// each sync then serves as many as came during the one before.
const maxAppends = 1

// Messages to the loop.
type (
	appended struct{ job *node.AppendJob }
	applied  struct {
		job  *node.ApplyJob
		conf []*raftpb.ConfChange
	}
	readRequest   struct{ r *read }
	persistCommit struct{}
)

// loop owns the node.
func (h *Host) loop() {
	defer h.wg.Done()
	ticker := time.NewTicker(h.cfg.Tick)
	defer ticker.Stop()
	var out node.Output
	var box []any
	reads := reads{waiting: map[node.ReadTicket]*read{}}
	appends := 0
	var commit *raftpb.HardState // not given to the log yet
	lastScan := time.Duration(0)
	for {
		select {
		case <-h.stop:
			reads.failAll(wire.ErrStopped)
			return
		case <-h.loopBox.wake:
		case <-h.queue.wake:
		case <-ticker.C:
			now := h.now()
			h.node.Tick(now)
			if now-lastScan >= leaseScan {
				lastScan = now
				h.scanLeases(now)
				h.queue.expire(now, wire.ErrTimeout)
				reads.expire(now)
			}
		}
		box = h.loopBox.take(box)
		for _, m := range box {
			var err error
			switch m := m.(type) {
			case appended:
				appends--
				err = h.node.Appended(m.job)
			case applied:
				if err = h.node.Applied(m.job, m.conf); err == nil {
					err = h.node.Trim()
				}
			case readRequest:
				h.node.Read(reads.add(m.r))
			case persistCommit:
				if commit != nil {
					h.logBox.put(&node.AppendJob{HardState: commit})
					appends++
					commit = nil
				}
			}
			if err != nil {
				h.fail(fmt.Errorf("cairn: raft refused its own work: %w", err))
				return
			}
		}
		if appends < maxAppends && h.failure.Load() == nil {
			h.proposeQueued()
		}
		for again := true; again; {
			again = false
			h.node.Drain(&out)
			h.notices(&out)
			reads.done(out.Reads)
			if out.Apply != nil {
				h.applies.put(applyWork{job: out.Apply})
			}
			switch j := out.Append; {
			case j == nil:
			case j.OnlyCommit():
				// Only the commit index moved. It need not be durable, so it rides with the next entries.
				commit = j.HardState
				if err := h.node.Appended(j); err != nil {
					h.fail(fmt.Errorf("cairn: raft refused its own work: %w", err))
					return
				}
				again = true
			default:
				if j.HardState == nil {
					j.HardState = commit
				}
				commit = nil
				appends++
				h.logBox.put(j)
			}
		}
		reads.release(h.machine.View().Applied)
		s := h.node.Status()
		h.commit.Store(s.Commit)
		h.term.Store(s.Term)
	}
}

// proposeQueued steps everything that waits as one message. Without a leader it goes on waiting.
func (h *Host) proposeQueued() {
	cmds := h.queue.take()
	if len(cmds) == 0 {
		return
	}
	err := h.node.Propose(cmds)
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrProposalDropped) && h.lead.Load() == 0:
		h.queue.putBack(cmds)
	default:
		h.queue.drop(cmds, err)
	}
}

// drop fails the tickets of commands that raft did not take.
func (p *proposals) drop(cmds [][]byte, err error) {
	if errors.Is(err, raft.ErrProposalDropped) {
		err = wire.ErrProposalDropped
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range cmds {
		c, bad := wire.ParseCommand(b)
		if t := p.tickets[c.ID]; bad == nil && t != nil {
			delete(p.tickets, c.ID)
			t.res.Err = &outcome{err}
			t.done <- struct{}{}
		}
	}
}

func (h *Host) notices(out *node.Output) {
	for _, n := range out.Notices {
		old := h.lead.Swap(uint64(n.Leader))
		if n.Leader != 0 && uint64(n.Leader) != old {
			h.cfg.Metrics.LeaderChanges.Inc()
		}
		h.cfg.Logger.Info("leader changed", "logger", "raft", "leader", n.Leader.String(), "term", n.Term)
		if n.Leader == h.cfg.MemberID {
			h.leadTerm.Store(n.Term)
			continue
		}
		h.leadTerm.Store(0)
		h.soleReady.Store(false)
		h.leaseMu.Lock()
		h.deadlines.Reset(h.now(), nil)
		h.leaseMu.Unlock()
	}
}

// logger owns the log.
func (h *Host) logger() {
	defer h.wg.Done()
	var jobs []*node.AppendJob
	var entries []*raftpb.Entry
	for {
		select {
		case <-h.stop:
			return
		case <-h.logBox.wake:
		}
		jobs = h.logBox.take(jobs)
		if len(jobs) == 0 {
			continue
		}
		var hs *raftpb.HardState
		sync := false
		entries = entries[:0]
		for _, j := range jobs {
			entries = append(entries, j.Entries...)
			if j.HardState != nil {
				hs = j.HardState
			}
			sync = sync || j.MustSync
		}
		if err := h.log.Append(hs, entries, sync); err != nil {
			h.fail(logError(err))
			return
		}
		if hs != nil {
			h.loggedCommit.Store(hs.GetCommit())
		}
		clear(entries)
		for _, j := range jobs {
			h.loopBox.put(appended{j})
		}
	}
}

func logError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return wire.ErrNoSpace
	}
	return status.Errorf(codes.Unavailable, "cairn: the log cannot be written: %v", err)
}

// fail stops writing for good: what is on disk is not known any more. Reads of what was acknowledged go on.
func (h *Host) fail(err error) {
	if h.failure.CompareAndSwap(nil, &failure{err}) {
		h.cfg.Logger.Error("the member has stopped writing and has to be restarted once the cause is removed", "error", err.Error())
	}
	h.queue.failAll(err)
}

const leaseScan = 500 * time.Millisecond

// scanLeases proposes what deadlines ask for.
func (h *Host) scanLeases(now time.Duration) {
	if h.leadTerm.Load() == 0 || h.failure.Load() != nil {
		return
	}
	h.leaseMu.Lock()
	revoke, checkpoints := h.deadlines.Tick(now)
	h.leaseMu.Unlock()
	for _, id := range revoke {
		h.proposeOwn(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: id})
		h.cfg.Metrics.LeaseExpired.Inc()
	}
	if len(checkpoints) > 0 {
		q := &pb.LeaseCheckpointRequest{}
		for _, c := range checkpoints {
			q.Checkpoints = append(q.Checkpoints, &pb.LeaseCheckpoint{ID: c.ID, Remaining_TTL: c.RemainingSeconds})
		}
		h.proposeOwn(wire.KindLeaseCheckpoint, q)
	}
}
