package v3rpc

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/wire"
)

// leaderWatch ends the streams that demanded a leader once there was none in three looks in a row. It owns one
// goroutine, which stop ends.
type leaderWatch struct {
	mu      sync.Mutex
	streams map[*context.CancelCauseFunc]struct{}
	quit    chan struct{}
	done    chan struct{}
}

const leaderlessLooks = 3

func newLeaderWatch(b Backend, every time.Duration) *leaderWatch {
	l := &leaderWatch{streams: map[*context.CancelCauseFunc]struct{}{}, quit: make(chan struct{}), done: make(chan struct{})}
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
				l.endAll()
			}
		}
	}()
	return l
}

func (l *leaderWatch) join(cancel context.CancelCauseFunc) (leave func()) {
	key := &cancel
	l.mu.Lock()
	l.streams[key] = struct{}{}
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		delete(l.streams, key)
		l.mu.Unlock()
	}
}

func (l *leaderWatch) endAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for cancel := range l.streams {
		(*cancel)(wire.ErrNoLeader)
	}
	clear(l.streams)
}

func (l *leaderWatch) stop() {
	close(l.quit)
	<-l.done
}
