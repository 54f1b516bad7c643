package security

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/process"
)

// steal reads a key that is not the attacker's.
func (w *world) steal(t testing.TB, p certs.Pair, token string) outcome {
	ctx := process.Within(t, patience)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	r, err := pb.NewKVClient(w.conn(t, w.Members[1], p)).Range(ctx, &pb.RangeRequest{Key: []byte("secret")})
	if err == nil && len(r.Kvs) == 0 {
		return refused(errors.New("nothing"))
	}
	return unless(err, "the secret")
}

// own reads a key that is ann's.
func (w *world) own(t testing.TB, p certs.Pair, token string) error {
	_, err := pb.NewKVClient(w.conn(t, w.Members[2], p)).Range(bearing(t, token), &pb.RangeRequest{Key: []byte("app/x")})
	return err
}

// tokenAttempts use identities that are none, or none any more.
func tokenAttempts() []attempt {
	mallory := func(t *testing.T, w *world) (token string, ctx clientv3.Auth) {
		_, err := w.root.UserAdd(process.Within(t, patience), "mallory", "m")
		require.NoError(t, err)
		_, err = w.root.UserGrantRole(process.Within(t, patience), "mallory", "app")
		require.NoError(t, err)
		token = w.token(t, "mallory", "m")
		require.NoError(t, w.own(t, w.nobody, token), "the token is good")
		return token, w.root
	}
	remove := func(t *testing.T, w *world) { _, _ = w.root.UserDelete(process.Within(t, patience), "mallory") }
	password := func(user, password string) func(w *world, t *testing.T) outcome {
		return func(w *world, t *testing.T) outcome {
			r, err := pb.NewAuthClient(w.conn(t, w.Members[1], w.nobody)).Authenticate(process.Within(t, patience), &pb.AuthenticateRequest{Name: user, Password: password})
			return unless(err, r.GetToken())
		}
	}
	token := func(text string) func(w *world, t *testing.T) outcome {
		return func(w *world, t *testing.T) outcome { return w.steal(t, w.nobody, text) }
	}
	return []attempt{
		{name: "nobody", run: token("")},
		{name: "a token that is none", run: token("nonsense.7")},
		{name: "a token of an index that is to come", waits: true, run: token("aaaaaaaaaaaaaaaa.18446744073709551615")},
		{name: "a token with an index below zero", run: token("aaaaaaaaaaaaaaaa.-1")},
		{name: "a token as long as a book", run: token(strings.Repeat("a", 7000))},
		{name: "a JWT that nobody has signed", run: token("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6MX0.")},
		{name: "basic authentication", run: token("Basic " + basic("root", "root"))},
		{name: "a user that does not exist", run: password("nobody", "x")},
		{name: "a wrong password", run: password("root", "wrong")},
		{name: "an empty password", run: password("root", "")},
		{name: "no name", run: password("", "")},
		{name: "a password with its hash's first part", run: password("ann", annPassword[:8])},
		{name: "a user without a password", run: password("cert", "")},
		{name: "a name with a zero in it", run: password("root\x00", rootPassword)},
		{name: "another case", run: password("Root", rootPassword)},
		{name: "a deleted user's token", run: func(w *world, t *testing.T) outcome {
			token, _ := mallory(t, w)
			remove(t, w)
			return unless(w.own(t, w.nobody, token), "ann's key")
		}},
		{name: "a token of before the password changed", run: func(w *world, t *testing.T) outcome {
			token, _ := mallory(t, w)
			defer remove(t, w)
			_, err := w.root.UserChangePassword(process.Within(t, patience), "mallory", "n")
			require.NoError(t, err)
			return unless(w.own(t, w.nobody, token), "ann's key")
		}},
		{name: "a right that was taken back", run: func(w *world, t *testing.T) outcome {
			token, _ := mallory(t, w)
			defer remove(t, w)
			_, err := w.root.UserRevokeRole(process.Within(t, patience), "mallory", "app")
			require.NoError(t, err)
			return unless(w.own(t, w.nobody, token), "ann's key")
		}},
		{name: "the password of before", run: func(w *world, t *testing.T) outcome {
			mallory(t, w)
			defer remove(t, w)
			_, err := w.root.UserChangePassword(process.Within(t, patience), "mallory", "n")
			require.NoError(t, err)
			return password("mallory", "m")(w, t)
		}},
		{name: "a deleted user that comes back with another password", run: func(w *world, t *testing.T) outcome {
			token, _ := mallory(t, w)
			remove(t, w)
			_, err := w.root.UserAdd(process.Within(t, patience), "mallory", "other")
			require.NoError(t, err)
			defer remove(t, w)
			_, err = w.root.UserGrantRole(process.Within(t, patience), "mallory", "app")
			require.NoError(t, err)
			return unless(w.own(t, w.nobody, token), "ann's key")
		}},
		{name: "a certificate of a name that is no user", run: func(w *world, t *testing.T) outcome {
			return w.steal(t, w.clientCA.Issue(t, "ghost", nil), "")
		}},
		{name: "a certificate of a user that may not", run: func(w *world, t *testing.T) outcome {
			return w.steal(t, w.clientCA.Issue(t, "cert", nil), "")
		}},
		{name: "a bad token beside root's certificate", run: func(w *world, t *testing.T) outcome {
			return w.steal(t, w.clientCA.Issue(t, "root", nil), "nonsense")
		}},
		{name: "a good token of ann beside root's certificate", run: func(w *world, t *testing.T) outcome {
			return w.steal(t, w.clientCA.Issue(t, "root", nil), w.token(t, "ann", annPassword))
		}},
		{name: "two tokens", run: func(w *world, t *testing.T) outcome {
			ctx := metadata.AppendToOutgoingContext(bearing(t, "nonsense"), "token", w.token(t, "root", rootPassword))
			_, err := pb.NewKVClient(w.conn(t, w.Members[1], w.nobody)).Range(ctx, &pb.RangeRequest{Key: []byte("secret")})
			return unless(err, "the secret")
		}},
		{name: "root's name in the metadata", run: func(w *world, t *testing.T) outcome {
			ctx := metadata.AppendToOutgoingContext(process.Within(t, patience), "user", "root", "username", "root", "grpcgateway-authorization", "root",
				"x-forwarded-user", "root", "x-remote-user", "root", ":authority", "root")
			_, err := pb.NewKVClient(w.conn(t, w.Members[1], w.nobody)).Range(ctx, &pb.RangeRequest{Key: []byte("secret")})
			return unless(err, "the secret")
		}},
	}
}
