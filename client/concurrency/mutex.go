package concurrency

import (
	"context"
	"errors"
	"sync"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var (
	// ErrLocked is returned by TryLock when another session holds the lock.
	ErrLocked = errors.New("mutex: Locked by another session")
	// ErrLockReleased is returned by Unlock without a lock.
	ErrLockReleased = errors.New("mutex: lock has already been released")
)

// Mutex is a lock shared by sessions. One session has one place in it: a second
// Lock of the same session on the same name succeeds at once, and either Unlock
// releases both. It is not for concurrent use; give each goroutine a session.
type Mutex struct {
	place place
	hdr   *pb.ResponseHeader
}

// NewMutex names a lock; its key is pfx/leaseHex.
func NewMutex(s *Session, pfx string) *Mutex { return &Mutex{place: newPlace(s, pfx+"/")} }

// Lock waits for its turn. It fails with ErrSessionExpired when the session ends
// first, or with the error of ctx; then it has left the line.
func (m *Mutex) Lock(ctx context.Context) error {
	hdr, first, _, err := m.place.enter(ctx, "")
	if err != nil {
		return err
	}
	if first {
		m.hdr = hdr
		return nil
	}
	hdr, _, err = m.place.await(ctx)
	if err != nil {
		m.place.abandon()
		return err
	}
	m.hdr = hdr
	return nil
}

// TryLock takes the lock if it is free, and fails with ErrLocked otherwise.
func (m *Mutex) TryLock(ctx context.Context) error {
	hdr, first, _, err := m.place.enter(ctx, "")
	if err != nil {
		return err
	}
	if !first {
		before, _, err := m.place.predecessor(ctx)
		if err != nil || before != "" {
			m.place.abandon()
			if err == nil {
				err = ErrLocked
			}
			return err
		}
	}
	m.hdr = hdr
	return nil
}

// Unlock gives the lock back.
func (m *Mutex) Unlock(ctx context.Context) error {
	if m.place.rev <= 0 {
		return ErrLockReleased
	}
	_, err := m.place.give(ctx)
	return err
}

// IsOwner guards a transaction by the lock still being held.
func (m *Mutex) IsOwner() client.Cmp { return m.place.isMine() }

// Key is the session's key in the lock.
func (m *Mutex) Key() string { return m.place.key }

// Rev is the create revision of Key while the lock is held: it grows with every
// owner and so serves as a fencing token.
func (m *Mutex) Rev() int64 { return m.place.rev }

// Header is that of the response which gave the lock.
func (m *Mutex) Header() *pb.ResponseHeader { return m.hdr }

// NewLocker wraps a Mutex as a sync.Locker, whose methods panic on failure.
func NewLocker(s *Session, pfx string) sync.Locker { return locker{NewMutex(s, pfx)} }

type locker struct{ m *Mutex }

func (l locker) Lock() {
	if err := l.m.Lock(l.m.place.s.Client().Ctx()); err != nil {
		panic(err)
	}
}

func (l locker) Unlock() {
	if err := l.m.Unlock(l.m.place.s.Client().Ctx()); err != nil {
		panic(err)
	}
}
