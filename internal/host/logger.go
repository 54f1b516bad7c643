package host

import (
	"errors"
	"syscall"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/wire"
)

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
		for left := jobs; len(left) > 0; {
			n := node.Together(left)
			entries = entries[:0]
			for _, j := range left[:n] {
				entries = append(entries, j.Entries...)
			}
			err := h.write(left[:n], entries)
			clear(entries)
			if errors.Is(err, ErrStopping) {
				return
			}
			if err != nil {
				h.fail(logError(err))
				return
			}
			for _, j := range left[:n] {
				h.loopBox.put(appended{j})
			}
			left = left[n:]
		}
	}
}

func (h *Host) write(jobs []*node.AppendJob, entries []*raftpb.Entry) error {
	var hs *raftpb.HardState
	sync := false
	for _, j := range jobs {
		if j.HardState != nil {
			hs = j.HardState
		}
		sync = sync || j.MustSync
	}
	snap := jobs[0].Snapshot
	if snap != nil {
		// The database is on disk already. Once the mark and a commit index that reaches it are in the log, a start
		// takes that database.
		m := snap.GetMetadata()
		if err := h.log.Mark(wal.Mark{Index: m.GetIndex(), Term: m.GetTerm(), ConfState: m.GetConfState()}); err != nil {
			return err
		}
		sync = true
	}
	if err := h.log.Append(hs, entries, sync); err != nil {
		return err
	}
	if hs != nil {
		h.loggedCommit.Store(hs.GetCommit())
	}
	if snap != nil {
		return h.install(snap)
	}
	return nil
}

func logError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return wire.ErrNoSpace
	}
	return status.Errorf(codes.Unavailable, "cairn: the log cannot be written: %v", err)
}

// fail stops writing for good: what is on disk is not known any more. Reads of what was acknowledged go on, and another
// member has to lead.
func (h *Host) fail(err error) {
	if h.failure.CompareAndSwap(nil, &failure{err}) {
		h.cfg.Logger.Error("the member has stopped writing and has to be restarted once the cause is removed", "error", err.Error())
	}
	h.queue.failAll(err)
	h.loopBox.put(failed{})
}
