package password

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

func newChecker(t *testing.T) (*Checker, *time.Time) {
	now := time.Unix(1e9, 0)
	c, err := New(Config{Cost: bcrypt.MinCost, Now: func() time.Time { return now }})
	require.NoError(t, err)
	return c, &now
}

func TestCheck(t *testing.T) {
	c, now := newChecker(t)
	ctx := t.Context()
	hash, err := c.Hash(ctx, "secret")
	require.NoError(t, err)
	require.NotContains(t, hash, "secret")
	check := func(user, password, hash string) bool {
		ok, err := c.Check(ctx, Attempt{User: user, Password: password, Hash: hash})
		require.NoError(t, err)
		return ok
	}
	for range 2 { // the second time it is remembered
		require.True(t, check("u", "secret", hash))
		require.False(t, check("u", "Secret", hash))
		require.False(t, check("u", "", hash))
		require.False(t, check("u", "secret", ""), "there is no such user")
	}
	other, err := c.Hash(ctx, "other")
	require.NoError(t, err)
	require.False(t, check("u", "secret", other), "what is remembered ends with a change of the password")
	*now = now.Add(remembered)
	require.True(t, check("u", "secret", hash))
	_, err = c.Hash(ctx, strings.Repeat("x", 73))
	require.ErrorIs(t, err, bcrypt.ErrPasswordTooLong)
	require.False(t, check("v", strings.Repeat("x", 73), hash))
}

func TestPenalties(t *testing.T) {
	c, now := newChecker(t)
	hash, err := c.Hash(t.Context(), "secret")
	require.NoError(t, err)
	wrong := Attempt{User: "u", Address: "1.2.3.4", Password: "x", Hash: hash}
	for range freeFailures {
		_, err := c.Check(t.Context(), wrong)
		require.NoError(t, err)
	}
	p := c.failures
	require.Equal(t, firstPenalty, p.penalty(*now, "user u"))
	require.Equal(t, firstPenalty, p.penalty(*now, "address 1.2.3.4", "user other"))
	require.Zero(t, p.penalty(*now, "user other"))
	for range 100 {
		p.add(*now, "user u")
	}
	require.Equal(t, mostPenalty, p.penalty(*now, "user u"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = c.Check(ctx, wrong)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	*now = now.Add(forgiven + 1)
	require.Zero(t, p.penalty(*now, "user u"))
}

func TestBounds(t *testing.T) {
	c, now := newChecker(t)
	for i := range 3 * mostPunished {
		c.failures.add(*now, fmt.Sprint(i))
		c.verified.add([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, now.Add(time.Hour))
	}
	require.LessOrEqual(t, len(c.failures.young)+len(c.failures.old), 2*mostPunished)
	require.LessOrEqual(t, len(c.verified.young)+len(c.verified.old), 2*mostRemembered)
	for range mostWaiting {
		c.waiting <- struct{}{}
	}
	_, err := c.Check(t.Context(), Attempt{User: "u"})
	require.ErrorIs(t, err, ErrTooMany)
}

func TestManyAtOnce(t *testing.T) {
	c, _ := newChecker(t)
	hash, err := c.Hash(t.Context(), "secret")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			ok, err := c.Check(t.Context(), Attempt{User: fmt.Sprint(i), Password: "secret", Hash: hash})
			if err != nil || !ok {
				t.Error(ok, err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkWarm(b *testing.B) {
	c, err := New(Config{})
	require.NoError(b, err)
	hash, err := c.Hash(b.Context(), "secret")
	require.NoError(b, err)
	for b.Loop() {
		if ok, err := c.Check(b.Context(), Attempt{User: "u", Password: "secret", Hash: hash}); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}
