package token

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/wire"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)) }

func newTestSimple(t *testing.T, await func(context.Context, uint64) error) (*simple, *time.Time) {
	now := time.Unix(1000, 0)
	s := newSimple(Config{TTL: time.Minute, Await: await})
	s.now = func() time.Time { return now }
	t.Cleanup(s.Close)
	return s, &now
}

func TestSimpleTokens(t *testing.T) {
	ctx := context.Background()
	var s *simple
	s, now := newTestSimple(t, func(_ context.Context, index uint64) error {
		if index == 77 { // its login is applied while it is waited for
			s.Login("late", "abcdefghijklmnop.77")
			return nil
		}
		if index > 50 {
			return context.DeadlineExceeded
		}
		return nil
	})
	p, err := s.Prefix()
	require.NoError(t, err)
	require.Regexp(t, `^[a-zA-Z]{16}$`, p)
	q, err := s.Prefix()
	require.NoError(t, err)
	require.NotEqual(t, p, q)
	s.Login("ann", p+".7")
	s.Login("ann", q+".8")
	s.Login("eve", q+".9")
	id, err := s.Identify(ctx, p+".7", 5)
	require.NoError(t, err)
	require.Equal(t, auth.Identity{User: "ann", Revision: 5}, id)
	id, err = s.Identify(ctx, "abcdefghijklmnop.77", 5)
	require.NoError(t, err)
	require.Equal(t, "late", id.User)
	for _, bad := range []string{"", "x", ".7", p, p + ".", p + ".x", p + ".8", p + ".-7", p + ".99", strings.Repeat("a", 1<<16)} {
		_, err = s.Identify(ctx, bad, 5)
		require.ErrorIs(t, err, wire.ErrInvalidAuthToken, bad)
	}

	// It lives on while it is used, and no longer.
	*now = now.Add(40 * time.Second)
	_, err = s.Identify(ctx, p+".7", 5)
	require.NoError(t, err)
	*now = now.Add(40 * time.Second)
	s.sweep()
	require.Len(t, s.tokens, 1)
	_, err = s.Identify(ctx, p+".7", 5)
	require.NoError(t, err)
	_, err = s.Identify(ctx, q+".8", 5)
	require.ErrorIs(t, err, wire.ErrInvalidAuthToken)

	s.Login("eve", q+".10")
	s.Logout("ann")
	_, err = s.Identify(ctx, p+".7", 5)
	require.ErrorIs(t, err, wire.ErrInvalidAuthToken)
	_, err = s.Identify(ctx, q+".10", 5)
	require.NoError(t, err)
	s.Logout("nobody")
	s.Logout("")
	_, err = s.Identify(ctx, q+".10", 5)
	require.ErrorIs(t, err, wire.ErrInvalidAuthToken)
	require.Empty(t, s.tokens)
	require.Empty(t, s.users)
	require.Zero(t, s.byUse.Len())
}

func writePEM(t *testing.T, kind string, der []byte) string {
	f := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(f, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return f
}

func pair(t *testing.T, key crypto.Signer) (private, public string) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return writePEM(t, "PRIVATE KEY", der), writePEM(t, "PUBLIC KEY", pub)
}

func TestJWT(t *testing.T) {
	ctx := context.Background()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("a secret of many bytes"), 0o600))
	keys := map[string]crypto.Signer{"EdDSA": edKey}
	for _, m := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		keys[m] = rsaKey
	}
	for m, c := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		require.NoError(t, err)
		keys[m] = k
	}
	for _, m := range []string{"HS256", "HS384", "HS512"} {
		keys[m] = nil
	}
	for method, key := range keys {
		private, public := secret, ""
		if key != nil {
			private, public = pair(t, key)
		}
		p, err := New(Config{Options: "jwt,sign-method=" + method + ",priv-key=" + private + ",ttl=1h", Logger: quiet()})
		require.NoError(t, err, method)
		token, err := p.Issue("ann", 9)
		require.NoError(t, err, method)
		id, err := p.Identify(ctx, token, 12)
		require.NoError(t, err, method)
		require.Equal(t, auth.Identity{User: "ann", Revision: 9}, id, "as old as it was when it was made")
		for i := range len(token) { // a change anywhere is noticed
			if i%7 != 0 {
				continue
			}
			b := []byte(token)
			b[i] ^= 1
			if id, err := p.Identify(ctx, string(b), 12); err == nil {
				require.Equal(t, "ann", id.User, "bits that mean nothing")
			}
		}
		if public == "" {
			continue
		}
		both, err := New(Config{Options: "jwt,sign-method=" + method + ",pub-key=" + public + ",priv-key=" + private, Logger: quiet()})
		require.NoError(t, err)
		_, err = both.Identify(ctx, token, 12)
		require.NoError(t, err)
		only, err := New(Config{Options: "jwt,sign-method=" + method + ",pub-key=" + public, Logger: quiet()})
		require.NoError(t, err)
		_, err = only.Identify(ctx, token, 12)
		require.NoError(t, err)
		_, err = only.Issue("ann", 1)
		require.ErrorIs(t, err, errVerifyOnly)
	}

	// What a token must not get away with.
	private, public := pair(t, rsaKey)
	p, err := New(Config{Options: "jwt,sign-method=RS256,priv-key=" + private + ",ttl=1ns", Logger: quiet()})
	require.NoError(t, err)
	late, err := p.Issue("ann", 1)
	require.NoError(t, err)
	time.Sleep(1100 * time.Millisecond)
	pub, err := os.ReadFile(public)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(secret, pub, 0o600))
	confused, err := New(Config{Options: "jwt,sign-method=HS256,priv-key=" + secret, Logger: quiet()})
	require.NoError(t, err)
	hmac, err := confused.Issue("root", 1)
	require.NoError(t, err)
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	none := part(`{"alg":"none"}`) + "." + part(`{"username":"root","revision":1,"exp":9999999999}`) + "."
	forever, err := p.Issue("root", auth.Member.Revision)
	require.NoError(t, err)
	nobody, err := p.Issue("", 1)
	require.NoError(t, err)
	for name, token := range map[string]string{"expired": late, "signed with the public key": hmac, "not signed": none, "a member's": forever, "nobody's": nobody,
		"empty": "", "garbage": "a.b.c", "long": strings.Repeat("x", 1<<20)} {
		_, err := p.Identify(ctx, token, 1)
		require.ErrorIs(t, err, wire.ErrInvalidAuthToken, name)
	}
}

func TestOptions(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	private, public := pair(t, edKey)
	_, otherPublic := pair(t, other)
	for _, bad := range []string{"rsa", "jwt", "jwt,x", "jwt,sign-method=none,priv-key=" + private, "jwt,sign-method=EdDSA", "jwt,sign-method=HS256,pub-key=" + public,
		"jwt,sign-method=EdDSA,priv-key=/does/not/exist", "jwt,sign-method=RS256,priv-key=" + private, "jwt,sign-method=EdDSA,priv-key=" + private + ",ttl=x",
		"jwt,sign-method=EdDSA,priv-key=" + private + ",ttl=0s", "jwt,sign-method=EdDSA,sign-method=EdDSA,priv-key=" + private,
		"jwt,sign-method=EdDSA,priv-key=" + private + ",pub-key=" + otherPublic, "simple,x"} {
		_, err := New(Config{Options: bad, Logger: quiet()})
		require.ErrorIs(t, err, errOptions, bad)
	}
	p, err := New(Config{Options: "jwt,sign-method=EdDSA,colour=red,priv-key=" + private, Logger: quiet()})
	require.NoError(t, err, "unknown names are only warned about")
	p.Close()
	p, err = New(Config{Options: "", Logger: quiet()})
	require.NoError(t, err)
	_, err = p.Identify(context.Background(), "x", 1)
	require.ErrorIs(t, err, wire.ErrInvalidAuthToken)
	p, err = New(Config{Options: "simple", TTL: time.Second, Logger: quiet()})
	require.NoError(t, err)
	p.Close()
}

// TestTokensAreBounded: the one that was used the longest time ago is forgotten.
func TestTokensAreBounded(t *testing.T) {
	s, _ := newTestSimple(t, func(context.Context, uint64) error { return errors.New("not applied") })
	s.most = 1000
	for i := range s.most + 10 {
		s.Login("u", fmt.Sprint("t.", i))
	}
	require.Len(t, s.tokens, s.most)
	require.Len(t, s.users["u"], s.most)
	_, ok := s.find("t.9")
	require.False(t, ok)
	_, ok = s.find("t.10")
	require.True(t, ok)
}
