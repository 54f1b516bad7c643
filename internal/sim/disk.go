package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wal"
)

// writing is a member's log at work.
type writing struct {
	commit       *raftpb.HardState // a commit index that the log was not given yet
	jobs         []*node.AppendJob
	atWork       []*node.AppendJob // what the log is busy with, nil if nothing
	since        time.Duration     // since when
	loggedCommit uint64            // the commit index that the log was given
	stallUntil   time.Duration     // until then the disk does not answer
	stallAfter   time.Duration     // how long a write may take before the member does not lead any more
	stalled      bool              // the node was told
}

// write queues a job for the log.
func (m *member) write(j *node.AppendJob) error {
	if j.HardState == nil {
		j.HardState = m.commit
	}
	m.commit = nil
	m.jobs = append(m.jobs, j)
	return m.work()
}

// work gives the log what waits for it, if it is free.
func (m *member) work() error {
	if m.atWork != nil || len(m.jobs) == 0 {
		return nil
	}
	n := node.Together(m.jobs)
	m.atWork, m.since = append([]*node.AppendJob(nil), m.jobs[:n]...), m.w.now
	m.jobs = append(m.jobs[:0], m.jobs[n:]...)
	if m.atWork[0].Snapshot != nil {
		return m.install(m.atWork[0])
	}
	var entries []*raftpb.Entry
	var hs *raftpb.HardState
	sync := false
	for _, j := range m.atWork {
		entries = append(entries, j.Entries...)
		if j.HardState != nil {
			hs = j.HardState
		}
		sync = sync || j.MustSync
	}
	// The bytes leave at once and are durable later: the power may go in between.
	if err := m.append(hs, entries, false); err != nil {
		return err
	}
	early := m.reportsEarly()
	if early {
		m.report(m.atWork)
	}
	m.busy(func() error {
		if sync && !m.s.bad.SkipSync {
			if err := m.log.Sync(); err != nil {
				return err
			}
		}
		if !early {
			m.report(m.atWork)
		}
		m.atWork = nil
		return m.work()
	})
	return nil
}

func (m *member) append(hs *raftpb.HardState, entries []*raftpb.Entry, sync bool) error {
	if len(entries) > 0 && entries[0].GetIndex() <= m.entries {
		m.s.rep.Conflicts++
	}
	hs, entries = m.tamperWrite(hs, entries)
	if err := m.log.Append(hs, entries, sync); err != nil {
		return err
	}
	if hs != nil {
		m.loggedCommit = hs.GetCommit()
	}
	return nil
}

// busy runs f when the disk has done its work.
func (m *member) busy(f func() error) {
	d := m.w.between(50*time.Microsecond, 2*time.Millisecond)
	if m.w.chance(1) {
		d = m.w.between(10*time.Millisecond, 200*time.Millisecond)
	}
	var done func() error
	done = func() error {
		if wait := m.stallUntil - m.w.now; wait > 0 {
			m.later(min(wait, tick), done)
			return nil
		}
		return f()
	}
	m.later(d, done)
}

// report tells the node that jobs are durable.
func (m *member) report(jobs []*node.AppendJob) {
	m.tell(func() error {
		if m.stalled {
			m.stalled = false
			m.node.SetStalled(false)
		}
		for _, j := range jobs {
			if err := m.node.Appended(j); err != nil {
				return err
			}
		}
		return nil
	})
}

// watchDisk tells the node when the disk does not answer.
func (m *member) watchDisk() {
	if m.stalled || m.atWork == nil || m.w.now-m.since < m.stallAfter || m.node.Status().Sole || m.s.bad.StalledLeaders {
		return
	}
	m.w.note("%v: the log cannot be written", m)
	m.stalled = true
	m.node.SetStalled(true)
}

// flush makes the database durable and lets the log go.
func (m *member) flush() error {
	m.later(m.w.between(m.s.plan.flushEvery/2, m.s.plan.flushEvery*2), m.flush)
	m.dropUnused()
	v := m.machine.View()
	if m.w.now < m.stallUntil || v.Applied == 0 {
		return nil
	}
	if !m.s.bad.ForgetHistory {
		if err := m.eng.Flush(); err != nil {
			return err
		}
		m.flushed = v.Applied
	}
	return m.mark(v)
}

// mark notes in the log what the database holds. A mark must not be above the commit index that the log knows of.
func (m *member) mark(v *machine.View) error {
	if m.loggedCommit < v.Applied {
		if m.commit == nil || m.atWork != nil || len(m.jobs) > 0 {
			return nil
		}
		if err := m.append(m.commit, nil, false); err != nil {
			return err
		}
		m.commit = nil
		if m.loggedCommit < v.Applied {
			return nil
		}
	}
	if err := m.log.Mark(wal.Mark{Index: v.Applied, Term: v.Term, ConfState: v.Cluster.ConfState()}); err != nil {
		return err
	}
	return m.log.Release(v.Applied)
}
