package sim

import (
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
)

// reading is a member's linearizable reads.
type reading struct {
	reads  map[uint64]*read // by ticket
	ticket uint64
	behind []*read // they wait for their index to be applied
	stale  *machine.View
}

type read struct {
	index  uint64
	answer func(*machine.View)
}

// read calls answer with a state that holds everything acknowledged before now.
func (m *member) read(answer func(*machine.View)) {
	knows := m.knowsAll() || m.s.bad.SoleReads && m.acts() && m.node.Status().Sole
	if m.s.bad.LocalReads && m.leadTerm != 0 || knows && m.w.chance(50) {
		m.later(0, func() error { answer(m.view()); return nil })
		return
	}
	m.ticket++
	m.reads[m.ticket] = &read{answer: answer}
	m.node.Read(node.ReadTicket(m.ticket))
}

// knowsAll reports whether everything acknowledged is in the view: there is no other member. A learner is another one: it
// may have applied, and answered for, what is committed and not applied here. So may one that was just removed.
func (m *member) knowsAll() bool {
	alone := len(m.conf.GetLearners()) == 0 && len(m.conf.GetVoters()) == 1 && m.conf.GetVoters()[0] == uint64(m.id.ID)
	return alone && m.acts() && m.machine.Applied() >= m.confCommit
}

func (m *member) readsDone(done []node.ReadsDone) {
	for _, d := range done {
		for _, t := range d.Tickets {
			r := m.reads[uint64(t)]
			delete(m.reads, uint64(t))
			if r == nil {
				fail("member", "%v: read %d was answered twice", m, t)
			}
			r.index = d.Index
			m.behind = append(m.behind, r)
		}
	}
}

// release answers the reads whose index is reached.
func (m *member) release() {
	left := m.behind[:0]
	for _, r := range m.behind {
		if r.index > m.machine.Applied() {
			left = append(left, r)
		} else {
			r.answer(m.view())
		}
	}
	clear(m.behind[len(left):])
	m.behind = left
}

// view is what a reader sees.
func (m *member) view() *machine.View {
	if m.s.bad.StaleReads {
		return m.stale
	}
	return m.machine.View()
}
