package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/membershippb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	choreEvery    = time.Second
	versionsEvery = 4 // chores
	startEvery    = 5 // chores between two tries to compare with the others after a start
	versionWithin = time.Second
	// firstVersion is the cluster's version as long as not all members have told theirs.
	firstVersion = "3.0.0"
)

// chores are what a leader does now and then.
func (h *Host) chores() {
	defer h.wg.Done()
	ticker := time.NewTicker(choreEvery)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-h.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	started, compared := false, time.Now()
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			return
		case <-h.newTerm:
			n = 0
		case <-ticker.C:
		}
		if h.Failed() != nil {
			continue
		}
		if !started && n%startEvery == 0 {
			started = h.compareAtStart(ctx)
		}
		if !h.acts() {
			continue
		}
		if n%versionsEvery == 0 {
			h.agreeOnVersion(ctx)
		}
		h.promoteCandidates(ctx)
		if h.cfg.CompareEvery > 0 && time.Since(compared) >= h.cfg.CompareEvery {
			h.compareCompactions(ctx)
			compared = time.Now()
		}
	}
}

// agreeOnVersion sets the cluster's version: the lowest of all members', once all are known, and never lower than it was.
func (h *Host) agreeOnVersion(ctx context.Context) {
	now := h.View().Cluster.Version()
	lowest, all := h.lowestVersion(ctx)
	switch {
	case all && wire.CompareVersions(lowest, now) > 0:
		h.setVersion(lowest)
	case now == "":
		h.setVersion(firstVersion)
	}
}

// promoteCandidates makes voters of the learners that were added to become some, as soon as they may.
func (h *Host) promoteCandidates(ctx context.Context) {
	for _, m := range h.View().Cluster.Members() {
		if !m.IsLearner || !m.AutoPromote || m.Name == "" {
			continue
		}
		switch err := h.PromoteMember(ctx, m.ID); {
		case err == nil:
			h.cfg.Logger.Info("promoted a learner that has caught up", "member-id", m.ID.String(), "name", m.Name)
		case !errors.Is(err, wire.ErrLearnerNotReady):
			h.cfg.Logger.Warn("failed to promote a learner", "member-id", m.ID.String(), "error", err.Error())
		}
	}
}

func (h *Host) setVersion(v string) {
	h.proposeOwn(wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: v})
}

// lowestVersion asks every member; all is false if one does not answer.
func (h *Host) lowestVersion(ctx context.Context) (lowest string, all bool) {
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
			return "", false
		}
		if lowest == "" || wire.CompareVersions(v, lowest) < 0 {
			lowest = v
		}
	}
	return lowest, true
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
