package host

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/membershippb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	versionWithin = time.Second
	// firstVersion is the cluster's version as long as not all members have told theirs.
	firstVersion = "3.0.0"
)

// agreeOnVersion sets the cluster's version: the lowest of all members', once all are known, and never lower than it was,
// unless a downgrade is under way. That one begins only while all members are of later versions than its target.
func (h *Host) agreeOnVersion(ctx context.Context) {
	now, down := h.View().Cluster.Version(), h.View().Downgrade
	lowest, _, all := h.versions(ctx)
	switch {
	case now == "" && all:
		h.setVersion(lowest)
	case now == "":
		h.setVersion(firstVersion)
	case !all:
	case down.Enabled:
		if wire.CompareVersions(down.TargetVersion, now) < 0 && wire.CompareVersions(down.TargetVersion, lowest) < 0 {
			h.cfg.Logger.Info("the cluster's version is lowered", "target-version", down.TargetVersion)
			h.setVersion(down.TargetVersion)
		}
	case wire.CompareVersions(lowest, now) > 0:
		h.setVersion(lowest)
	}
}

// endDowngrade ends the job once all members are of the version that it goes to.
func (h *Host) endDowngrade(ctx context.Context) {
	target := h.View().Downgrade.TargetVersion
	if lowest, highest, all := h.versions(ctx); all && lowest == target && highest == target {
		h.cfg.Logger.Info("the cluster has been downgraded", "cluster-version", target)
		h.proposeOwn(wire.KindDowngradeInfoSet, &membershippb.DowngradeInfoSetRequest{})
	}
}

// tellStorage tells, on every member, that its database has another schema.
func (h *Host) tellStorage(v *machine.View) {
	h.cfg.Logger.Info("the database's schema follows the cluster's version", "storage-version", v.StorageVersion)
	if v.Downgrade.Enabled {
		h.cfg.Logger.Info("The server is ready to downgrade", "target-version", v.Downgrade.TargetVersion, "server-version", h.cfg.Version)
	}
}

func (h *Host) setVersion(v string) {
	h.proposeOwn(wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: v})
}

// versions asks every member for its version; all is false if one does not answer.
func (h *Host) versions(ctx context.Context) (lowest, highest string, all bool) {
	ctx, cancel := context.WithTimeout(ctx, versionWithin)
	defer cancel()
	members := h.View().Cluster.Members()
	answers := make([]string, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { answers[i] = h.versionOf(ctx, m) })
	}
	wg.Wait()
	for _, v := range answers {
		v = wire.MinorVersion(v)
		if v == "" {
			return "", "", false
		}
		if lowest == "" || wire.CompareVersions(v, lowest) < 0 {
			lowest = v
		}
		if wire.CompareVersions(v, highest) > 0 {
			highest = v
		}
	}
	return lowest, highest, true
}

func (h *Host) versionOf(ctx context.Context, m cluster.Member) string {
	if m.ID == h.cfg.MemberID {
		return h.cfg.Version
	}
	if h.cfg.Others == nil {
		return ""
	}
	for _, url := range m.PeerURLs {
		if server, _, err := h.cfg.Others.Version(ctx, url); err == nil {
			return server
		}
	}
	return ""
}
