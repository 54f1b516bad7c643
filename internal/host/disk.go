package host

import (
	"time"

	"github.com/cairn-kv/cairn/internal/node"
)

const (
	// stallTime is how long others may be ahead with a write before this member counts as stalled.
	stallTime = time.Second
	// slowWrite is by how much a write may come later here than elsewhere, slowTime for how long all may.
	slowWrite   = 80 * time.Millisecond
	slowTime    = 600 * time.Millisecond
	slowSamples = 3
)

// write is a job that the log works on.
type write struct {
	last  uint64        // its last entry, 0 if it has none
	ahead time.Duration // when the cluster had committed that entry without this member; 0 if it has not
}

// writes are the jobs that the log works on, in order. From when the others were done first it can be told whether the
// disk here is slower than theirs: if all are slow, no other leader would be better.
type writes []write

func (w writes) committed(commit uint64, now func() time.Duration) {
	for i := range w {
		if w[i].last != 0 && w[i].ahead == 0 && w[i].last <= commit {
			w[i].ahead = now()
		}
	}
}

// written takes note that the oldest job is done.
func (l *looper) written(now time.Duration) {
	w := l.writes[0]
	l.writes = append(l.writes[:0], l.writes[1:]...)
	if l.stalled {
		l.stalled = false
		l.cfg.Logger.Info("the log can be written again")
		l.node.SetStalled(l.unfit.Load())
	}
	if w.last == 0 || l.leadTerm.Load() == 0 {
		return
	}
	if w.ahead == 0 || now-w.ahead < slowWrite {
		l.slow = slowness{}
		return
	}
	if l.slow.n == 0 {
		l.slow.since = w.ahead
	}
	if l.slow.n++; l.slow.n < slowSamples || now-l.slow.since < slowTime {
		return
	}
	l.slow = slowness{}
	if to := l.node.Successor(); to != 0 {
		l.cfg.Logger.Warn("the disk is slower than those of the other members: leadership is handed over", "behind", (now - w.ahead).String(), "to", to.String())
		l.node.Transfer(to)
	}
}

// slowness counts writes that came late one after the other.
type slowness struct {
	n     int
	since time.Duration
}

// watchDisk gives up leadership when the disk does not answer while those of other members do.
func (l *looper) watchDisk(now time.Duration) {
	if l.stalled || len(l.writes) == 0 {
		return
	}
	w := l.writes[0]
	if w.ahead == 0 || now-w.ahead < stallTime {
		return
	}
	l.stalled = true
	l.cfg.Logger.Error("the log cannot be written: this member does not lead until it can", "waiting", (now - w.ahead).String())
	l.node.SetStalled(true)
}

// ask runs f on the loop, which owns the node, and waits for it.
func (h *Host) ask(f func(*node.Node)) error {
	done := make(chan struct{})
	if !h.loopBox.put(inspect{func(n *node.Node) { f(n); close(done) }}) {
		return ErrStopping
	}
	select {
	case <-done:
		return nil
	case <-h.stop:
		return ErrStopping
	}
}
