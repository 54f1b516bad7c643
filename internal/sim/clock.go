package sim

import "time"

// clock is a member's idea of the time since it was started. It never goes back; it may run too fast or too slow, and
// jump ahead.
type clock struct {
	rate  float64
	base  time.Duration // what it showed at since
	since time.Duration
}

func (c *clock) at(now time.Duration) time.Duration {
	return c.base + time.Duration(float64(now-c.since)*c.rate)
}

// local is what the member takes the time for.
func (m *member) local() time.Duration { return m.clock.at(m.w.now) }

// takes is how long d of the member's time takes.
func (m *member) takes(d time.Duration) time.Duration {
	return time.Duration(float64(d) / m.clock.rate)
}

// jump moves the clock ahead.
func (m *member) jump(d time.Duration) {
	m.clock.base, m.clock.since = m.local()+d, m.w.now
	m.armed, m.resumed = 0, m.w.now // it cannot be told from a pause
	m.s.jumped += d
	m.truth().leases.jumped(d)
	for _, id := range sortedKeys(m.ends) {
		m.ends[id] -= d
	}
}

// later runs f in d of the world's time, unless the member has crashed by then.
func (m *member) later(d time.Duration, f func() error) {
	life := m.life
	m.w.after(d, func() { m.enter(life, f) })
}

// enter runs f in one life of the member. While the member is paused, f waits.
func (m *member) enter(life int, f func() error) {
	if !m.up || m.life != life {
		return
	}
	if m.w.now < m.paused || len(m.backlog) > 0 {
		m.backlog = append(m.backlog, f)
		return
	}
	m.do(f)
}

func (m *member) do(f func() error) {
	if err := f(); err != nil {
		fail("member", "%v: %w", m, err)
	}
}

// pause makes the member do nothing for a while.
func (m *member) pause(d time.Duration) {
	m.paused = max(m.paused, m.w.now+d)
	m.w.after(m.paused-m.w.now, m.resume)
}

func (m *member) resume() {
	if !m.up || m.w.now < m.paused {
		return
	}
	m.resumed = m.w.now
	for life := m.life; len(m.backlog) > 0 && m.life == life; {
		f := m.backlog[0]
		m.do(f)
		if m.life == life {
			m.backlog = m.backlog[1:]
		}
	}
}

// arm makes an event for the node's next tick.
func (m *member) arm() {
	at := m.node.NextTick()
	if at == m.armed {
		return
	}
	m.armed = at
	m.alarm++
	alarm := m.alarm
	m.later(m.takes(at-m.local())+time.Microsecond, func() error {
		if alarm != m.alarm {
			return nil
		}
		m.armed = 0
		return m.tick()
	})
}
