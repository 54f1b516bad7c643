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
	// Where there is no other member, everything acknowledged is in the view. A learner is another member: it may have
	// applied, and answered for, what is committed and not applied here.
	alone := m.alone() || m.s.bad.SoleReads && m.node.Status().Sole
	if m.s.bad.LocalReads && m.leadTerm != 0 || m.acts() && alone && m.w.chance(50) {
		m.later(0, func() error { answer(m.view()); return nil })
		return
	}
	m.ticket++
	m.reads[m.ticket] = &read{answer: answer}
	m.node.Read(node.ReadTicket(m.ticket))
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
