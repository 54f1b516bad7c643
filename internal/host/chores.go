package host

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	choreEvery    = time.Second
	versionsEvery = 4 // chores
	startEvery    = 5 // chores between two tries to compare with the others after a start
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
	started, compared, downgraded := false, time.Now(), time.Now()
	storage, mirrored := h.View().StorageVersion, ""
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
		if v := h.View(); v.StorageVersion != storage {
			storage = v.StorageVersion
			h.tellStorage(v)
		}
		if !h.acts() {
			continue
		}
		if n%versionsEvery == 0 {
			h.agreeOnVersion(ctx)
			mirrored = h.agreeOnMirror(ctx, mirrored)
		}
		if h.View().Downgrade.Enabled && time.Since(downgraded) >= h.cfg.DowngradeEvery {
			h.endDowngrade(ctx)
			downgraded = time.Now()
		}
		h.promoteCandidates(ctx)
		if h.cfg.CompareEvery > 0 && time.Since(compared) >= h.cfg.CompareEvery {
			h.compareCompactions(ctx)
			compared = time.Now()
		}
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
