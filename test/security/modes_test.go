package security

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// use does what an application does, as a user of the role app.
func use(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := process.Within(t, patience)
	watched := c.Watch(ctx, "app/", clientv3.WithPrefix())
	_, err := c.Put(ctx, "app/k", "v")
	require.NoError(t, err)
	r, err := c.Get(ctx, "app/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.NotEmpty(t, r.Kvs)
	lease, err := c.Grant(ctx, 60)
	require.NoError(t, err)
	alive, err := c.KeepAlive(ctx, lease.ID)
	require.NoError(t, err)
	require.NotNil(t, <-alive)
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("app/k"), "=", "v")).Then(clientv3.OpPut("app/l", "1", clientv3.WithLease(lease.ID)), clientv3.OpGet("app/k")).Commit()
	require.NoError(t, err)
	require.True(t, txn.Succeeded)
	w := <-watched
	require.NoError(t, w.Err())
	require.NotEmpty(t, w.Events)
	_, err = c.Get(ctx, "secret")
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	foreign := <-c.Watch(ctx, "secret")
	require.ErrorContains(t, foreign.Err(), rpctypes.ErrPermissionDenied.Error())
	_, err = c.UserList(ctx)
	require.ErrorIs(t, err, rpctypes.ErrPermissionDenied)
	_, err = c.Delete(ctx, "app/k")
	require.NoError(t, err)
	_, err = c.Revoke(ctx, lease.ID)
	require.NoError(t, err)
}

// TestPasswordAndCertificate: the official client as a user with a password, and as one with a certificate, on every member.
func TestPasswordAndCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	use(t, w.as(t, "ann", annPassword))
	use(t, w.as(t, "", "", w.clientCA.Issue(t, "cert", nil)))
	// A password's user counts for more than the certificate's.
	use(t, w.as(t, "ann", annPassword, w.clientCA.Issue(t, "root", nil)))
	root := w.as(t, "", "", w.clientCA.Issue(t, "root", nil))
	_, err := root.UserList(process.Within(t, patience))
	require.NoError(t, err)
	// v2 takes the same certificate for the user of its own (L-05).
	a := w.http(t, w.Members[1], w.clientCA.Issue(t, "ann", nil), "GET", "/v2/keys/pub/key", "")
	require.Equal(t, 200, a.status, a.body)
	a = w.http(t, w.Members[1], w.clientCA.Issue(t, "root", nil), "GET", "/v2/keys/secret/key", "")
	require.Equal(t, 200, a.status, a.body)
}

// TestSignedTokens: the official client with tokens that members sign, and those who sign tokens themselves.
func TestSignedTokens(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	require.NoError(t, os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	require.NoError(t, os.WriteFile(public, publicPEM, 0o600))
	w := newWorld(t, "--auth-token", "jwt,pub-key="+public+",priv-key="+private+",sign-method=RS256,ttl=1m")
	use(t, w.as(t, "ann", annPassword))

	good := w.token(t, "ann", annPassword)
	require.Equal(t, 2, strings.Count(good, "."))
	require.NoError(t, w.own(t, w.nobody, good))
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(good, claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
	require.NoError(t, err)
	forge := func(m jwt.SigningMethod, with any, change map[string]any) string {
		mine := jwt.MapClaims{}
		for k, v := range claims {
			mine[k] = v
		}
		for k, v := range change {
			if mine[k] = v; v == nil {
				delete(mine, k)
			}
		}
		s, err := jwt.NewWithClaims(m, mine).SignedString(with)
		require.NoError(t, err)
		return s
	}
	require.NoError(t, w.own(t, w.nobody, forge(jwt.SigningMethodRS256, key, nil)), "who has the key signs as the members do")
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	root := map[string]any{"username": "root"}
	for name, token := range map[string]string{
		"nobody has signed":              forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, root),
		"another key":                    forge(jwt.SigningMethodRS256, other, root),
		"the public key as a secret":     forge(jwt.SigningMethodHS256, publicPEM, root),
		"the public key's bytes":         forge(jwt.SigningMethodHS256, der, root),
		"another method":                 forge(jwt.SigningMethodRS512, key, root),
		"another method of the same key": forge(jwt.SigningMethodPS256, key, root),
		"over":                           forge(jwt.SigningMethodRS256, key, map[string]any{"exp": time.Now().Add(-time.Second).Unix()}),
		"without an end":                 forge(jwt.SigningMethodRS256, key, map[string]any{"exp": nil}),
		"without a name":                 forge(jwt.SigningMethodRS256, key, map[string]any{"username": nil}),
		"a name that is none":            forge(jwt.SigningMethodRS256, key, map[string]any{"username": 7}),
		"without a revision":             forge(jwt.SigningMethodRS256, key, map[string]any{"revision": nil}),
		"of revision 0":                  forge(jwt.SigningMethodRS256, key, map[string]any{"revision": 0}),
		"of a revision below zero":       forge(jwt.SigningMethodRS256, key, map[string]any{"revision": -1}),
		"of somebody who is not there":   forge(jwt.SigningMethodRS256, key, map[string]any{"username": "ghost"}),
		"another's signature":            parts[0] + "." + strings.Split(forge(jwt.SigningMethodRS256, key, root), ".")[1] + "." + parts[2],
		"no signature":                   parts[0] + "." + parts[1] + ".",
		"no head":                        "." + parts[1] + "." + parts[2],
	} {
		require.Error(t, w.own(t, w.nobody, token), name)
		require.NotEmpty(t, w.steal(t, w.nobody, token).refused, name)
	}
	// A change of users makes all tokens old, and clients get new ones by themselves.
	c := w.as(t, "ann", annPassword)
	use(t, c)
	_, err = w.root.RoleAdd(process.Within(t, patience), "later")
	require.NoError(t, err)
	require.ErrorContains(t, w.own(t, w.nobody, good), rpctypes.ErrAuthOldRevision.Error())
	_, err = c.Put(process.Within(t, patience), "app/k", "v")
	require.NoError(t, err)
	use(t, w.as(t, "ann", annPassword))
	_, err = w.root.UserDelete(process.Within(t, patience), "ann")
	require.NoError(t, err)
	_, err = c.Get(process.Within(t, patience), "app/k")
	require.Error(t, err)
}
