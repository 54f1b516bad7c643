package v3rpc

import (
	"time"

	"github.com/cairn-kv/cairn/internal/wire"
)

// leaderWatch ends the streams that demanded a leader once there was none in three looks in a row. It owns one
// goroutine, which stop ends.
type leaderWatch struct {
	*calls
	quit chan struct{}
	done chan struct{}
}

const leaderlessLooks = 3

func newLeaderWatch(b Backend, every time.Duration) *leaderWatch {
	l := &leaderWatch{calls: newCalls(), quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		without := 0
		for {
			select {
			case <-l.quit:
				return
			case <-ticker.C:
			}
			if b.Leader() != 0 {
				without = 0
				continue
			}
			if without++; without >= leaderlessLooks {
				l.end(wire.ErrNoLeader)
			}
		}
	}()
	return l
}

func (l *leaderWatch) stop() {
	close(l.quit)
	<-l.done
}
