package host

import (
	"errors"
	"time"

	"github.com/cairn-kv/cairn/internal/wal"
)

var errBehind = errors.New("host: the log has not been given the commit index yet")

// keeper flushes the engine when enough was applied, so that the log can be released and a restart has little to
// replay, and watches how much space there is.
func (h *Host) keeper() {
	defer h.wg.Done()
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	last, flushed := time.Now(), h.machine().View().Applied
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		}
		h.measure()
		if err := errors.Join(h.retired.closeOld(h.now()), h.received.drop(h.View().Applied)); err != nil {
			h.cfg.Logger.Warn("failed to close a replaced database", "error", err.Error())
		}
		if n%5 == 0 {
			h.checkDisk()
		}
		applied := h.machine().View().Applied
		if h.Failed() != nil || applied == flushed {
			continue
		}
		if h.appliedBytes.Load() >= h.cfg.FlushBytes || time.Since(last) >= flushIdle {
			h.loopBox.put(persistCommit{})
			began := time.Now()
			if err := h.flush(); err != nil {
				if !errors.Is(err, errBehind) {
					h.cfg.Logger.Warn("failed to flush the database", "error", err.Error())
				}
				continue
			}
			h.cfg.Metrics.BackendCommit.Observe(time.Since(began).Seconds())
			last, flushed = time.Now(), applied
		}
	}
}

// flush makes the applied state durable, marks it in the log and releases what came before.
func (h *Host) flush() error {
	h.appliedBytes.Store(0)
	v := h.machine().View()
	if err := h.machine().Engine().Flush(); err != nil {
		return err
	}
	// A start only believes in a mark up to the commit index that the log knows of.
	for i := 0; h.loggedCommit.Load() < v.Applied; i++ {
		select {
		case <-h.stop:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
		if i == 100 {
			return errBehind
		}
	}
	if err := h.log.Mark(wal.Mark{Index: v.Applied, Term: v.Term, ConfState: v.Cluster.ConfState()}); err != nil {
		return err
	}
	return h.log.Release(v.Applied)
}

func (h *Host) measure() {
	s := h.machine().Engine().Size()
	h.size.Store(s.Total)
	h.sizeInUse.Store(s.InUse)
}

// checkDisk refuses writes before the disk is full: the log keeps room to say so.
func (h *Host) checkDisk() {
	u, err := h.cfg.FS.GetDiskUsage(h.cfg.DataDir)
	if err != nil {
		return // not every file system can tell
	}
	h.diskFree.Store(u.AvailBytes)
	full := u.AvailBytes < diskReserve
	if h.noSpace.Swap(full) != full && full {
		h.cfg.Logger.Error("the disk is nearly full: writes are refused", "available-bytes", u.AvailBytes, "dir", h.cfg.DataDir)
	}
}

// DiskFree is how many bytes the disk with the data has left, 0 if that is not known.
func (h *Host) DiskFree() uint64 { return h.diskFree.Load() }
