package host

import (
	"slices"

	"go.etcd.io/etcd/api/v3/membershippb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// ClusterVersion is the cluster version that this server stands for, x.y.0.
const ClusterVersion = "3.7.0"

// announce publishes the member's name and client URLs, and the cluster version, through the log.
func (h *Host) announce(v *machine.View) {
	if !h.published(v) {
		h.proposeOwn(wire.KindMemberAttrSet, &membershippb.ClusterMemberAttrSetRequest{Member_ID: uint64(h.cfg.MemberID),
			MemberAttributes: &membershippb.Attributes{Name: h.cfg.Name, ClientUrls: h.cfg.ClientURLs}})
	}
	if v.Cluster.Version() == "" {
		h.proposeOwn(wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: ClusterVersion})
	}
	h.announced(v)
}

func (h *Host) published(v *machine.View) bool {
	m, ok := v.Cluster.Member(h.cfg.MemberID)
	return ok && m.Name == h.cfg.Name && slices.Equal(m.ClientURLs, h.cfg.ClientURLs)
}

// announced opens the gate to clients once the member is published. Called by the applier.
func (h *Host) announced(v *machine.View) {
	select {
	case <-h.ready:
		return
	default:
	}
	if h.leadTerm.Load() != 0 && h.soleReady.Load() && h.published(v) && v.Cluster.Version() != "" {
		h.cfg.Logger.Info("published local member to cluster through raft", "local-member-id", h.cfg.MemberID.String(), "cluster-id", h.cfg.ClusterID.String())
		close(h.ready)
	}
}
