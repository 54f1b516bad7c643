package token

import (
	"container/list"
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	prefixLetters = 16
	letters       = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	// mostTokens bounds how many tokens are known. Beyond it the one that was used the longest time ago is forgotten.
	mostTokens = 1 << 20
	awaitLogin = 5 * time.Second
	sweepEvery = time.Second
)

// simple are tokens of random letters and the index of the login in the log. Each member knows them for as long as they are
// used, and forgets them with its process.
type simple struct {
	ttl   time.Duration
	await func(ctx context.Context, index uint64) error
	now   func() time.Time
	most  int // tokens

	mu     sync.Mutex
	tokens map[string]*list.Element // of held
	byUse  *list.List               // the one that was used the longest time ago comes first
	users  map[string]map[string]struct{}

	stop chan struct{}
	wg   sync.WaitGroup
}

type held struct {
	token, user string
	until       time.Time
}

func newSimple(cfg Config) *simple {
	s := &simple{ttl: cfg.TTL, await: cfg.Await, now: time.Now, most: mostTokens, tokens: map[string]*list.Element{}, byUse: list.New(),
		users: map[string]map[string]struct{}{}, stop: make(chan struct{})}
	s.wg.Go(func() {
		t := time.NewTicker(sweepEvery)
		defer t.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-t.C:
				s.sweep()
			}
		}
	})
	return s
}

// Close implements Provider.
func (s *simple) Close() {
	close(s.stop)
	s.wg.Wait()
}

// Prefix implements Provider.
func (s *simple) Prefix() (string, error) {
	out := make([]byte, 0, prefixLetters)
	for len(out) < prefixLetters {
		var b [2 * prefixLetters]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		for _, x := range b {
			// Above the last whole multiple some letters would come more often than others.
			if limit := 256 / len(letters) * len(letters); int(x) < limit && len(out) < prefixLetters {
				out = append(out, letters[int(x)%len(letters)])
			}
		}
	}
	return string(out), nil
}

// Issue implements Provider: the log makes these tokens.
func (s *simple) Issue(string, uint64) (string, error) { return "", wire.ErrInvalidAuthToken }

// Login implements Provider.
func (s *simple) Login(user, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.tokens[token]; ok {
		return
	}
	if len(s.tokens) >= s.most {
		s.remove(s.byUse.Front())
	}
	s.tokens[token] = s.byUse.PushBack(&held{token, user, s.now().Add(s.ttl)})
	if s.users[user] == nil {
		s.users[user] = map[string]struct{}{}
	}
	s.users[user][token] = struct{}{}
}

func (s *simple) remove(e *list.Element) {
	h := s.byUse.Remove(e).(*held)
	delete(s.tokens, h.token)
	delete(s.users[h.user], h.token)
	if len(s.users[h.user]) == 0 {
		delete(s.users, h.user)
	}
}

// Logout implements Provider.
func (s *simple) Logout(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user == "" {
		clear(s.tokens)
		clear(s.users)
		s.byUse.Init()
		return
	}
	for token := range s.users[user] { // in any order: all of them go
		s.remove(s.tokens[token])
	}
}

func (s *simple) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.byUse.Front(); e != nil && !e.Value.(*held).until.After(s.now()); e = s.byUse.Front() {
		s.remove(e)
	}
}

// find tells whose a token is, and lets it live on.
func (s *simple) find(token string) (user string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.tokens[token]
	if !ok {
		return "", false
	}
	h := e.Value.(*held)
	now := s.now()
	if !h.until.After(now) {
		s.remove(e)
		return "", false
	}
	h.until = now.Add(s.ttl)
	s.byUse.MoveToBack(e)
	return h.user, true
}

// Identify implements Provider. A member that has not applied the login yet waits for it.
func (s *simple) Identify(ctx context.Context, token string, revision uint64) (auth.Identity, error) {
	user, ok := s.find(token)
	if !ok {
		prefix, index, found := strings.Cut(token, ".")
		n, err := strconv.ParseUint(index, 10, 64)
		if !found || len(prefix) != prefixLetters || err != nil {
			return auth.Identity{}, wire.ErrInvalidAuthToken
		}
		ctx, cancel := context.WithTimeout(ctx, awaitLogin)
		defer cancel()
		if s.await(ctx, n) != nil {
			return auth.Identity{}, wire.ErrInvalidAuthToken
		}
		if user, ok = s.find(token); !ok {
			return auth.Identity{}, wire.ErrInvalidAuthToken
		}
	}
	return auth.Identity{User: user, Revision: revision}, nil
}
