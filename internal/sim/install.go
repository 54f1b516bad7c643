package sim

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wal"
)

// image is the content of a database at a batch boundary, on its way to another member.
type image struct {
	index uint64
	pairs []pair
}

type pair struct {
	space      engine.Space
	key, value []byte
}

// sendImage sends the state that a message needs: the present one, which is never older than the one that it names.
func (m *member) sendImage(msg *raftpb.Message) {
	v := m.machine.View()
	img := &image{index: v.Applied}
	for _, s := range engine.Spaces {
		must(m.eng.Scan(s, nil, nil, func(k, value []byte) bool {
			img.pairs = append(img.pairs, pair{s, append([]byte(nil), k...), append([]byte(nil), value...)})
			return true
		}))
	}
	msg = &raftpb.Message{Type: msg.Type, To: msg.To, From: msg.From, Term: msg.Term, Snapshot: &raftpb.Snapshot{
		Metadata: &raftpb.SnapshotMetadata{Index: new(v.Applied), Term: new(v.Term), ConfState: v.Cluster.ConfState()}}}
	data, err := proto.Marshal(msg)
	must(err)
	to := m.s.member(msg.GetTo())
	m.truth().sent(m, msg)
	m.w.note("%v sends %v a snapshot at %d", m, to, img.index)
	took := m.w.between(5*time.Millisecond, 300*time.Millisecond)
	if m.w.chance(10) {
		took = m.w.between(time.Second, 4*time.Second)
	}
	reported := false
	report := func(ok bool) func() error {
		return func() error {
			if reported {
				return nil
			}
			reported = true
			m.node.SnapshotSent(to.id.ID, ok)
			return m.pump()
		}
	}
	if m.w.chance(m.s.plan.cutImages) {
		m.w.note("it is cut short")
		m.later(m.w.span(took), report(false))
		return
	}
	arrive := func(arrived func(ok bool)) {
		link := m.s.net.link(m, to)
		if link.cut > 0 || !to.up {
			arrived(false)
			return
		}
		to.enter(to.life, func() error { return to.receiveImage(img, data, arrived) })
	}
	m.later(took, func() error {
		// The answer goes back to the sender. If there is none, the connection has broken.
		arrive(func(ok bool) { m.later(m.w.span(5*time.Millisecond), report(ok)) })
		m.later(time.Second, report(false))
		return nil
	})
	if m.w.chance(m.s.plan.repeatImage) {
		m.w.after(took+m.w.span(3*time.Second), func() { arrive(func(bool) {}) })
	}
}

// receiveImage prepares a database beside the one in use. Raft hears of it when it is durable.
func (m *member) receiveImage(img *image, data []byte, done func(ok bool)) error {
	msg := &raftpb.Message{}
	if err := proto.Unmarshal(data, msg); err != nil {
		return err
	}
	switch {
	case m.s.bad.RollBack && img.index < m.machine.Applied():
		return m.replace(img.engine(m.w))
	case m.preparing:
		done(false)
		return nil
	case img.index <= m.machine.Applied() || m.prepared[img.index] != nil:
		// The database is not needed, or there already.
		done(true)
		return m.receive(msg)
	}
	m.preparing = true
	if m.w.chance(m.s.plan.crashImage) && !m.s.calm {
		m.later(m.w.span(40*time.Millisecond), func() error { panic(crashed{m}) })
	}
	eng := img.engine(m.w)
	m.prepared[img.index] = eng
	m.later(m.w.span(20*time.Millisecond), func() error {
		if !m.s.bad.MarkBeforeDurable {
			if err := eng.Flush(); err != nil {
				return err
			}
		}
		m.later(m.w.span(5*time.Millisecond), func() error {
			m.preparing = false
			done(true)
			return m.receive(msg)
		})
		return nil
	})
	return nil
}

// dropUnused drops the databases that the member has got past without them.
func (m *member) dropUnused() {
	for _, i := range sortedKeys(m.prepared) {
		if i <= m.machine.Applied() {
			m.s.rep.Unused++
			m.w.note("%v has no use for the snapshot at %d", m, i)
			delete(m.prepared, i)
		}
	}
}

// engine is a database with the image's content, not durable yet.
func (i *image) engine(w *world) *mem.Engine {
	e := mem.New()
	for left := i.pairs; len(left) > 0; {
		n := min(len(left), 1+w.rng.IntN(1+len(i.pairs)))
		b := e.NewBatch()
		for _, p := range left[:n] {
			b.Set(p.space, p.key, p.value)
		}
		must(e.Commit(b))
		left = left[n:]
	}
	return e
}

// install makes a snapshot the member's state. Its database is durable already. Once the mark and a commit index that
// reaches it are in the log, a start takes that database; only then is it put into use.
func (m *member) install(j *node.AppendJob) error {
	meta := j.Snapshot.GetMetadata()
	eng := m.prepared[meta.GetIndex()]
	if eng == nil {
		fail("member", "%v: raft wants the snapshot at %d, which is not here", m, meta.GetIndex())
	}
	m.busy(func() error {
		if !m.s.bad.NoMark {
			if err := m.log.Mark(wal.Mark{Index: meta.GetIndex(), Term: meta.GetTerm(), ConfState: meta.GetConfState()}); err != nil {
				return err
			}
		}
		m.busy(func() error {
			if err := m.append(j.HardState, j.Entries, true); err != nil {
				return err
			}
			m.busy(func() error {
				m.next(0, func() error { return m.installed(j, eng) })
				return nil
			})
			return nil
		})
		return nil
	})
	return nil
}

func (m *member) installed(j *node.AppendJob, eng *mem.Engine) error {
	meta := j.Snapshot.GetMetadata()
	if err := m.replace(eng); err != nil {
		return err
	}
	delete(m.prepared, meta.GetIndex())
	m.s.rep.Snapshots++
	m.notified = meta.GetIndex()
	jobs := m.atWork
	m.tell(func() error {
		m.conf, m.confSince = meta.GetConfState(), m.w.now
		return nil
	})
	m.report(jobs)
	m.atWork = nil
	if err := m.work(); err != nil {
		return err
	}
	return m.log.Release(meta.GetIndex())
}

// openDatabase opens the database in use. If the log starts behind it, the installation of a snapshot was cut short and
// the database that was prepared for that index is the one.
func (m *member) openDatabase(start uint64) {
	mc, err := machine.Open(machineConfig, m.store())
	if err == nil && mc.Applied() < start {
		next := m.prepared[start]
		if next == nil {
			fail("boot", "%v: the database is at index %d, the log starts behind %d, and no other database is there", m, mc.Applied(), start)
		}
		m.w.note("%v takes the database prepared for %d", m, start)
		m.s.rep.Prepared++
		m.eng = next
		mc, err = machine.Open(machineConfig, m.store())
		if err == nil && mc.Applied() != start {
			fail("boot", "%v: the database for index %d is at index %d", m, start, mc.Applied())
		}
	}
	if err != nil {
		fail("boot", "%v: opening the database: %w", m, err)
	}
	clear(m.prepared)
	m.machine = mc
}

// store is what the machine keeps its state in.
func (m *member) store() engine.Engine {
	if m.s.bad.IndexBeforeEntry {
		return hasty{m.eng}
	}
	return m.eng
}
