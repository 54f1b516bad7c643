package v3rpc

import (
	"context"
	"sync"
)

// calls are those under way that would go on for as long as their clients like. They are ended together, each with the
// cause as its status.
type calls struct {
	mu     sync.Mutex
	open   map[*context.CancelCauseFunc]struct{}
	closed error // what later ones get at once
}

func newCalls() *calls { return &calls{open: map[*context.CancelCauseFunc]struct{}{}} }

func (c *calls) join(cancel context.CancelCauseFunc) (leave func()) {
	key := &cancel
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		cancel(c.closed)
		return func() {}
	}
	c.open[key] = struct{}{}
	return func() {
		c.mu.Lock()
		delete(c.open, key)
		c.mu.Unlock()
	}
}

func (c *calls) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancel := range c.open {
		(*cancel)(cause)
	}
	clear(c.open)
}

// close ends all calls, and those to come.
func (c *calls) close(cause error) {
	c.mu.Lock()
	c.closed = cause
	c.mu.Unlock()
	c.end(cause)
}
