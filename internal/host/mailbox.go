package host

import "sync"

// mailbox hands items from many goroutines to one. Put never waits, so two goroutines may send to each other without
// the danger of both waiting; what bounds a mailbox is said where it is declared.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{} // holds one token while there may be items
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{wake: make(chan struct{}, 1)} }

// put reports whether the item was taken: a closed mailbox takes none.
func (m *mailbox[T]) put(x T) bool {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.items = append(m.items, x)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

// close returns what nobody will take any more.
func (m *mailbox[T]) close() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.items
}

// take moves all items into buf[:0]'s place and gives the mailbox buf to collect the next ones in.
func (m *mailbox[T]) take(buf []T) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.items
	clear(buf)
	m.items = buf[:0]
	return got
}
