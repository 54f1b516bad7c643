// Package password judges passwords: it keeps only what cannot be turned back into them, lets nobody try many, and
// remembers for a while what it has verified, since a hash that is hard to guess is slow to check.
//
// It must never know users, roles or requests: it is given names, hashes and passwords. It never logs or returns a
// password.
package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// ErrTooMany says that too many passwords are waiting to be checked.
var ErrTooMany = errors.New("password: too many passwords are being checked")

const (
	// remembered is how long a verified password is taken without looking again.
	remembered = 5 * time.Minute
	// mostRemembered bounds how many there are of each of two generations.
	mostRemembered = 8192
	// mostWaiting bounds how many checks wait for a processor, mostPenalised how many for the end of a penalty: who is
	// often wrong takes nobody else's place.
	mostWaiting   = 1024
	mostPenalised = 256
)

// Config says how passwords are treated.
type Config struct {
	Cost int // of bcrypt; 0 for its default, 10
	Now  func() time.Time
}

// Checker hashes and checks passwords.
type Checker struct {
	cost     int
	now      func() time.Time
	key      [32]byte               // of this process alone: what is remembered tells nothing to who reads its memory image elsewhere
	none     func() ([]byte, error) // a hash to compare with when there is no user, so that it takes as long
	places   chan struct{}
	waiting  chan struct{}
	punished chan struct{}
	verified *recent
	failures *penalties
}

// New makes a checker.
func New(cfg Config) (*Checker, error) {
	c := &Checker{cost: cfg.Cost, now: cfg.Now, waiting: make(chan struct{}, mostWaiting),
		punished: make(chan struct{}, mostPenalised),
		places:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	switch {
	case c.cost == 0:
		c.cost = bcrypt.DefaultCost
	case c.cost < bcrypt.MinCost || c.cost > bcrypt.MaxCost:
		return nil, fmt.Errorf("password: the cost %d is not within %d and %d", c.cost, bcrypt.MinCost, bcrypt.MaxCost)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if _, err := rand.Read(c.key[:]); err != nil {
		return nil, err
	}
	c.none = sync.OnceValues(func() ([]byte, error) { return bcrypt.GenerateFromPassword(c.key[:16], c.cost) })
	c.verified, c.failures = newRecent(mostRemembered), newPenalties()
	return c, nil
}

// Hash returns what to keep of a password. One of more than 72 bytes is refused: bcrypt would not look at the rest.
func (c *Checker) Hash(ctx context.Context, password string) (string, error) {
	done, err := c.enter(ctx, 0)
	if err != nil {
		return "", err
	}
	defer done()
	h, err := bcrypt.GenerateFromPassword([]byte(password), c.cost)
	return string(h), err
}

// Attempt is somebody's try to be a user.
type Attempt struct {
	User     string
	Address  string // where it comes from, without a port; "" if that is not known
	Password string
	Hash     string // what is kept of the right one; "" if there is no such user, or none that has a password
}

// Check reports whether the password is right. It takes the same time if it is not, or if there is no such user, and longer
// and longer for a user or an address that is often wrong.
func (c *Checker) Check(ctx context.Context, a Attempt) (bool, error) {
	mark := c.mark(a)
	if a.Hash != "" && c.verified.has(mark, c.now()) {
		return true, nil
	}
	who := []string{"user " + a.User}
	if a.Address != "" {
		who = append(who, "address "+a.Address)
	}
	done, err := c.enter(ctx, c.failures.penalty(c.now(), who...))
	if err != nil {
		return false, err
	}
	defer done()
	hash := []byte(a.Hash)
	if a.Hash == "" {
		if hash, err = c.none(); err != nil {
			return false, err
		}
	}
	right := bcrypt.CompareHashAndPassword(hash, []byte(a.Password)) == nil && a.Hash != ""
	if right {
		c.failures.forget(who[0])
		c.verified.add(mark, c.now().Add(remembered))
	} else {
		c.failures.add(c.now(), who...)
	}
	return right, nil
}

// enter waits for the end of a penalty, then for a processor.
func (c *Checker) enter(ctx context.Context, penalty time.Duration) (done func(), err error) {
	if penalty > 0 {
		if err := c.punish(ctx, penalty); err != nil {
			return nil, err
		}
	}
	if !take(c.waiting) {
		return nil, ErrTooMany
	}
	defer func() { <-c.waiting }()
	select {
	case c.places <- struct{}{}:
		return func() { <-c.places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Checker) punish(ctx context.Context, penalty time.Duration) error {
	if !take(c.punished) {
		return ErrTooMany
	}
	defer func() { <-c.punished }()
	t := time.NewTimer(penalty)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func take(places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

// mark stands for a password that goes with a hash: another hash, another mark.
func (c *Checker) mark(a Attempt) [32]byte {
	m := hmac.New(sha256.New, c.key[:])
	for _, s := range []string{a.User, a.Hash, a.Password} {
		sum := sha256.Sum256([]byte(s))
		m.Write(sum[:])
	}
	return [32]byte(m.Sum(nil))
}
