package host

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

// applyWork is a job of the node, or a call that wants to see the state between two batches.
type applyWork struct {
	job  *node.ApplyJob
	call func()
}

// compactStep is how many records one step of a compaction looks at; traffic goes first between two steps.
const compactStep = 250

// applier owns the machine.
func (h *Host) applier() {
	defer h.wg.Done()
	var box []applyWork
	var eff machine.Effects
	compact := compactor{host: h, hashed: make(chan compactHashed, 1)}
	defer compact.stop()
	if err := compact.run(); err != nil {
		h.fail(engineError(err))
		return
	}
	for {
		if compact.due() {
			select {
			case <-h.stop:
				return
			case <-h.applies.wake:
			default:
			}
		} else {
			select {
			case <-h.stop:
				return
			case <-h.applies.wake:
			case r := <-compact.hashed:
				compact.hashDone(r)
			}
		}
		box = h.applies.take(box)
		for _, w := range box {
			if w.call != nil {
				w.call()
				continue
			}
			if !h.apply(w.job, &eff) {
				return
			}
		}
		if err := compact.run(); err != nil {
			h.fail(engineError(err))
			return
		}
	}
}

func (h *Host) apply(job *node.ApplyJob, eff *machine.Effects) bool {
	eff.Reset()
	began := time.Now()
	if err := h.machine().Apply(job.Entries, eff); err != nil {
		h.fail(engineError(err))
		return false
	}
	h.cfg.Metrics.observeApply(time.Since(began), len(job.Entries))
	var n int64
	for _, e := range job.Entries {
		n += int64(len(e.GetData()))
	}
	h.appliedBytes.Add(n)
	v := h.machine().View()
	if len(eff.Conf) > 0 {
		h.membersChanged(v)
		h.peers.SetPeers(v.Cluster.Members())
		h.announceOnce(v)
	}
	h.leaseEffects(eff, v)
	h.hub.Publish(v.KV.Rev(), eff.Changes)
	h.paths.Publish(eff.Events)
	h.cfg.Metrics.Events.Add(float64(len(eff.Changes)))
	h.tellSessions(eff.Sessions)
	h.handedOn.Store(v.Applied)
	h.queue.deliver(eff.Results)
	if eff.NewTerm != 0 {
		h.queue.again(eff.NewTerm)
	}
	h.loopBox.put(applied{job, eff.Conf, eff.NewTerm})
	h.announced(v)
	if len(v.Alarms) > 0 || h.unfit.Load() {
		h.corruptHere(v)
	}
	return true
}

func (h *Host) tellSessions(all machine.Sessions) {
	if h.cfg.Sessions == nil {
		return
	}
	for _, x := range all {
		switch x := x.(type) {
		case machine.Login:
			h.cfg.Sessions.Login(x.User, x.Token)
		case machine.Logout:
			h.cfg.Sessions.Logout(x.User)
		}
	}
}

// membersChanged takes note of who belongs to the cluster. It is called before raft is told of a change: a new voter
// must not vote before this member stops to act as if it were alone.
func (h *Host) membersChanged(v *machine.View) {
	members := v.Cluster.Members()
	h.alone.Store(len(members) == 1 && members[0].ID == h.cfg.MemberID)
	cs := v.Cluster.ConfState()
	h.soleReady.Store(h.acts() && len(cs.Voters) == 1 && cs.Voters[0] == uint64(h.cfg.MemberID))
	if v.Cluster.Removed(h.cfg.MemberID) {
		h.leave(nil)
	}
}

// leave ends the member's part in the cluster; err is what a peer said, nil if the log says so.
func (h *Host) leave(err error) {
	h.leaving.Do(func() {
		h.cfg.Logger.Warn("the member has been permanently removed from the cluster", "local-member-id", h.cfg.MemberID.String())
		if err != nil {
			h.expelled.Store(&failure{err})
		}
		close(h.departed)
	})
}

// acts reports whether this member leads and has applied what was committed before it did.
func (h *Host) acts() bool {
	t := h.leadTerm.Load()
	return t != 0 && h.acting.Load() == t
}

// leaseEffects keeps the deadlines in step with the table of leases.
func (h *Host) leaseEffects(eff *machine.Effects, v *machine.View) {
	if eff.NewTerm != 0 && eff.NewTerm == h.leadTerm.Load() {
		h.leaseMu.Lock()
		h.deadlines.Lead(h.now())
		h.leaseMu.Unlock()
		h.acting.Store(eff.NewTerm)
		h.membersChanged(v)
		h.announce(v)
		select {
		case h.newTerm <- struct{}{}:
		default:
		}
	}
	if len(eff.Leases) == 0 {
		return
	}
	now := h.now()
	revoked := false
	h.leaseMu.Lock()
	defer h.leaseMu.Unlock()
	for _, e := range eff.Leases {
		switch e.What {
		case machine.LeaseRevoked:
			revoked = true
			h.deadlines.Forget(e.Lease.ID)
			h.cfg.Metrics.LeaseRevoked.Inc()
		case machine.LeaseGranted:
			h.deadlines.Set(now, e.Lease)
			h.cfg.Metrics.LeaseGranted.Inc()
			h.cfg.Metrics.LeaseTTL.Observe(float64(e.Lease.TTL))
		case machine.LeaseRenewed:
			h.deadlines.Renewed(now, e.Lease)
		default:
			h.deadlines.Set(now, e.Lease)
		}
	}
	if revoked {
		close(h.leaseGone)
		h.leaseGone = make(chan struct{})
	}
}

// proposeOwn queues a command that nobody waits for.
func (h *Host) proposeOwn(kind wire.Kind, m proto.Message) {
	body, err := proto.Marshal(m)
	if err != nil {
		return
	}
	h.proposeBody(kind, body)
}

func (h *Host) proposeBody(kind wire.Kind, body []byte) {
	c := wire.Command{ID: h.queue.nextID(), Kind: kind, Body: body, User: auth.Member.User, AuthRevision: auth.Member.Revision}
	// A full queue drops it; what asked for it will ask again.
	_ = h.queue.add(c.ID, wire.AppendCommand(make([]byte, 0, wire.CommandSize(&c)), &c), nil)
}
