package host

import (
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

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
		job     *node.ApplyJob
		conf    []*raftpb.ConfChange
		newTerm uint64 // as in machine.Effects
	}
	readRequest   struct{ r *read }
	persistCommit struct{}
	inspect       struct{ f func(*node.Node) }
	failed        struct{} // this member cannot write any more
	fitness       struct{} // whether this member may lead has changed
	confChange    struct{ cc *raftpb.ConfChange }
)

// looper is what the loop keeps between its rounds.
type looper struct {
	*Host
	out      node.Output
	reads    reads
	box      []any
	commit   *raftpb.HardState // not given to the log yet
	writes   writes
	stalled  bool // the disk does not answer
	slow     slowness
	conf     []confWait
	lastScan time.Duration

	kept      []*raftpb.Message // proposals of peers that came while leadership was moving; bounded as the queue is
	keptBytes int
}

// confWait is a membership change without an effect yet, and the term it was proposed in, 0 if it was not.
type confWait struct {
	cc   *raftpb.ConfChange
	term uint64
}

// loop owns the node.
func (h *Host) loop() {
	defer h.wg.Done()
	l := &looper{Host: h, reads: reads{metrics: h.cfg.Metrics, waiting: map[node.ReadTicket]*read{}}}
	defer func() {
		l.reads.failAll(wire.ErrStopped)
		for _, m := range append(l.box, h.loopBox.close()...) {
			if r, ok := m.(readRequest); ok {
				r.r.done <- wire.ErrStopped
			}
		}
	}()
	timer := time.NewTimer(h.cfg.Tick)
	defer timer.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-h.loopBox.wake:
		case <-h.queue.wake:
		case m := <-h.inbox:
			l.receive(m)
		case <-timer.C:
			l.tick()
		}
		if err := l.round(); err != nil {
			h.fail(fmt.Errorf("cairn: raft refused its own work: %w", err))
			return
		}
		timer.Reset(max(h.node.NextTick()-h.now(), 0))
	}
}

func (l *looper) tick() {
	now := l.now()
	l.node.Tick(now)
	l.watchDisk(now)
	if l.commit != nil && len(l.writes) == 0 {
		l.append(&node.AppendJob{HardState: l.commit}) // no entries have come that it could ride with
	}
	if now-l.lastScan >= leaseScan {
		l.lastScan = now
		l.scanLeases(now)
		l.queue.expire(now, l.timeoutSince)
		l.reads.expire(now)
		l.conf = slices.DeleteFunc(l.conf, func(c confWait) bool { return !l.queue.awaits(c.cc.GetId()) })
		l.announceAgain(now)
	}
}

// receive steps a message of a peer, and those behind it.
func (l *looper) receive(m *raftpb.Message) {
	for range inboxSize {
		l.step(m)
		select {
		case m = <-l.inbox:
		default:
			return
		}
	}
}

// round does what the messages to the loop ask for and hands out what comes of it.
func (l *looper) round() error {
	h := l.Host
	l.box = h.loopBox.take(l.box)
	for i, m := range l.box {
		l.box[i] = nil
		var err error
		switch m := m.(type) {
		case appended:
			l.written(h.now())
			err = h.node.Appended(m.job)
		case applied:
			if err = h.node.Applied(m.job, m.conf); err == nil {
				err = h.node.Trim()
			}
			for i := range l.conf {
				if c := &l.conf[i]; c.term < m.newTerm {
					c.term = 0
				}
			}
		case readRequest:
			if err := h.cutOff(); err != nil {
				m.r.done <- err
				break
			}
			h.node.Read(l.reads.add(m.r))
		case inspect:
			m.f(h.node)
		case failed:
			h.node.SetStalled(true)
			if err := h.cutOff(); err != nil {
				l.reads.failAll(err)
			}
		case fitness:
			h.node.SetStalled(l.stalled || h.unfit.Load())
		case confChange:
			l.conf = append(l.conf, confWait{cc: m.cc})
		case persistCommit:
			if l.commit != nil {
				l.append(&node.AppendJob{HardState: l.commit})
			}
		}
		if err != nil {
			return err
		}
	}
	if len(l.writes) < maxAppends && h.failure.Load() == nil {
		l.proposeQueued()
	}
	for again := true; again; {
		again = false
		h.node.Drain(&l.out)
		h.notices(&l.out)
		l.reads.done(l.out.Reads, h.now)
		if len(l.out.Send) > 0 {
			h.peers.Send(l.out.Send)
		}
		for _, m := range l.out.Snapshots {
			h.sendSnapshot(m)
		}
		if l.out.Apply != nil {
			h.applies.put(applyWork{job: l.out.Apply})
		}
		switch j := l.out.Append; {
		case j == nil:
		case j.OnlyCommit():
			// Only the commit index moved. It need not be durable, so it rides with the next entries.
			l.commit = j.HardState
			if err := h.node.Appended(j); err != nil {
				return err
			}
			again = true
		default:
			if j.HardState == nil {
				j.HardState = l.commit
			}
			l.append(j)
		}
	}
	l.reads.release(h.machine().View().Applied)
	s := h.node.Status()
	h.commit.Store(s.Commit)
	h.term.Store(s.Term)
	l.writes.committed(s.Commit, h.now)
	return nil
}

// append hands a job to the log.
func (l *looper) append(j *node.AppendJob) {
	l.commit = nil
	w := write{}
	if n := len(j.Entries); n > 0 {
		w.last = j.Entries[n-1].GetIndex()
	}
	l.writes = append(l.writes, w)
	l.logBox.put(j)
}

// proposeQueued steps everything that waits as one message. What is not taken goes on waiting: there is no leader, or
// leadership is on its way to another member.
func (l *looper) proposeQueued() {
	if len(l.kept) > 0 {
		kept := l.kept
		l.kept, l.keptBytes = nil, 0
		for _, m := range kept {
			l.step(m)
		}
	}
	term := l.node.Term()
	if q := l.queue.take(term); len(q) > 0 {
		cmds := make([][]byte, len(q))
		for i, x := range q {
			cmds[i] = x.cmd
		}
		if l.node.Propose(cmds) != nil {
			l.queue.putBack(q)
		}
	}
	for i := range l.conf {
		if c := &l.conf[i]; c.term == 0 && l.node.ChangeMembers(c.cc) == nil {
			c.term = term
		}
	}
}

// step steps a message of a peer. A proposal that comes while leadership moves is kept.
func (l *looper) step(m *raftpb.Message) {
	if err := l.node.Receive(m); !errors.Is(err, raft.ErrProposalDropped) {
		return
	}
	for _, e := range m.GetEntries() {
		l.keptBytes += len(e.GetData())
	}
	if l.keptBytes <= maxQueueBytes && len(l.kept) < maxQueue {
		l.kept = append(l.kept, m)
	}
}

func (h *Host) notices(out *node.Output) {
	for _, n := range out.Notices {
		old := h.lead.Swap(uint64(n.Leader))
		if n.Leader != 0 && uint64(n.Leader) != old {
			h.cfg.Metrics.LeaderChanges.Inc()
			h.leadSince.Store(time.Now().UnixNano())
		}
		h.cfg.Logger.Info("leader changed", "logger", "raft", "leader", n.Leader.String(), "term", n.Term)
		if n.Leader == h.cfg.MemberID {
			h.leadTerm.Store(n.Term)
			h.led.began(h.now())
		} else {
			h.leadTerm.Store(0)
		}
		if n.Leader != 0 {
			h.announce(h.View())
		}
	}
}

const leaseScan = 500 * time.Millisecond

// scanLeases proposes what deadlines ask for.
func (h *Host) scanLeases(now time.Duration) {
	if !h.acts() || h.failure.Load() != nil {
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
	if _, lacks := h.peers.LacksV2(); lacks {
		return
	}
	if now := time.Now().UnixNano(); h.Tree().Due(now) {
		q := wire.V2Request{Method: wire.V2Sync, Time: now}
		h.proposeBody(wire.KindV2, q.Append(nil))
	}
}
