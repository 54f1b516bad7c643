package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/wire"
)

// FuzzIdentify shows any token to both providers, those of JWT with a good signature or any. Who is let in has a token that
// was made with the secret, says a name and a revision and when it ends, or has logged in.
func FuzzIdentify(f *testing.F) {
	secret := []byte("a secret of many bytes")
	name := filepath.Join(f.TempDir(), "secret")
	require.NoError(f, os.WriteFile(name, secret, 0o600))
	jwt, err := New(Config{Options: "jwt,sign-method=HS256,priv-key=" + name + ",ttl=1h", Logger: quiet()})
	require.NoError(f, err)
	known := strings.Repeat("k", prefixLetters) + ".7"
	simple := newSimple(Config{TTL: time.Hour, Await: func(_ context.Context, index uint64) error {
		if index > 50 {
			return context.DeadlineExceeded
		}
		return nil
	}})
	simple.Login("ann", known)
	f.Cleanup(simple.Close)
	good, err := jwt.Issue("ann", 9)
	require.NoError(f, err)
	parts := strings.Split(good, ".")
	plain := func(s string) string {
		b, err := base64.RawURLEncoding.DecodeString(s)
		require.NoError(f, err)
		return string(b)
	}
	f.Add(plain(parts[0]), plain(parts[1]), parts[2], true)
	f.Add(plain(parts[0]), plain(parts[1]), parts[2], false)
	for _, claims := range []string{`{}`, `{"username":"ann","revision":9}`, `{"username":"","revision":1,"exp":9e99}`, `{"username":"a","revision":-1,"exp":9999999999}`,
		`{"username":"a","revision":18446744073709551615,"exp":9999999999}`, `{"username":"a","revision":1,"exp":"9999999999","nbf":1e30}`, `{"username":"a","Username":"b","revision":1,"exp":1}`} {
		f.Add(`{"alg":"HS256","typ":"JWT"}`, claims, "", true)
	}
	f.Add(`{"alg":"none"}`, `{"username":"root","revision":1,"exp":9999999999}`, "", false)
	f.Add(`{"alg":"RS256","crit":["x"]}`, `{"username":"root","revision":1,"exp":9999999999}`, "", true)
	f.Add(known, known, strings.Repeat("k", prefixLetters)+".99", false)
	f.Fuzz(func(t *testing.T, head, claims, signature string, sign bool) {
		ctx, e := context.Background(), base64.RawURLEncoding
		body := e.EncodeToString([]byte(head)) + "." + e.EncodeToString([]byte(claims))
		h := hmac.New(sha256.New, secret)
		_, _ = h.Write([]byte(body))
		want := e.EncodeToString(h.Sum(nil))
		if sign {
			signature = want
		}
		id, err := jwt.Identify(ctx, body+"."+signature, 12)
		if err != nil {
			require.Equal(t, wire.ErrInvalidAuthToken, err)
		} else {
			require.Equal(t, want, signature, "signed by somebody else")
			var said map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(claims), &said))
			require.NotEmpty(t, id.User)
			require.Contains(t, strings.ToLower(claims), "exp")
			require.Contains(t, head, "HS256")
		}
		for _, token := range []string{head, signature, body + "." + signature} {
			id, err := simple.Identify(ctx, token, 12)
			if err != nil {
				require.True(t, errors.Is(err, wire.ErrInvalidAuthToken))
			}
			require.Equal(t, token == known, err == nil)
			require.Equal(t, err == nil, id.User == "ann")
		}
	})
}
