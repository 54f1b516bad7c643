package host

import (
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/membershippb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// announceEvery is after how long an announcement that had no effect is made again.
const announceEvery = 2 * time.Second

// announce publishes the member's name and client URLs through the log.
func (h *Host) announce(v *machine.View) {
	last, now := h.announces.Load(), int64(h.now())
	fresh := last == 0 || now-last >= int64(announceEvery) // the last one may still be on its way
	if _, member := v.Cluster.Member(h.cfg.MemberID); member && fresh && !h.published(v) && h.announces.CompareAndSwap(last, now) {
		h.proposeOwn(wire.KindMemberAttrSet, &membershippb.ClusterMemberAttrSetRequest{Member_ID: uint64(h.cfg.MemberID),
			MemberAttributes: &membershippb.Attributes{Name: h.cfg.Name, ClientUrls: h.cfg.ClientURLs}})
	}
	h.announced(v)
}

// announceAgain makes up for an announcement that was lost, or that came before this member knew that it is one.
func (h *Host) announceAgain(now time.Duration) {
	select {
	case <-h.ready:
	default:
		if h.lead.Load() != 0 {
			h.announce(h.View())
		}
	}
}

// announceOnce announces a member that has just learned that it is one.
func (h *Host) announceOnce(v *machine.View) {
	if h.announces.Load() == 0 && h.lead.Load() != 0 {
		h.announce(v)
	}
}

func (h *Host) published(v *machine.View) bool {
	m, ok := v.Cluster.Member(h.cfg.MemberID)
	return ok && m.Name == h.cfg.Name && slices.Equal(m.ClientURLs, h.cfg.ClientURLs)
}

// announced opens the gate to clients once the member is published, and, if it has no peers to learn it from, the
// cluster's version is set.
func (h *Host) announced(v *machine.View) {
	select {
	case <-h.ready:
		return
	default:
	}
	if h.lead.Load() == 0 || !h.published(v) || (h.alone.Load() && (!h.acts() || v.Cluster.Version() == "")) {
		return
	}
	h.opened.Do(func() {
		h.cfg.Logger.Info("published local member to cluster through raft", "local-member-id", h.cfg.MemberID.String(), "cluster-id", h.cfg.ClusterID.String())
		close(h.ready)
	})
}
