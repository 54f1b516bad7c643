package security

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"
)

// attempt is one attack. run returns what the attacker has been told, or has got hold of.
type attempt struct {
	name  string
	waits bool // for long: others may run at the same time
	run   func(w *world, t *testing.T) outcome
}

// outcome is how an attempt went: refused says with what words.
type outcome struct {
	refused error
	got     string // what was to be protected
}

func refused(err error) outcome { return outcome{refused: err} }

// through is an attempt that has succeeded.
func through(what string) outcome { return outcome{got: what} }

// unless is refused by an error, and through without one.
func unless(err error, what string) outcome {
	if err != nil {
		return refused(err)
	}
	return through(what)
}

// TestAttacks tries to get in, and to get at what others own. Nothing may succeed, and the members must serve on as if nothing
// had happened.
func TestAttacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.state(t)
	var all, foiled atomic.Int64
	groups := []struct {
		name     string
		attempts []attempt
	}{
		{"certificates", certificateAttempts()}, {"tokens", tokenAttempts()}, {"keys", keyAttempts()}, {"methods", methodAttempts()},
		{"HTTP", httpAttempts()}, {"members", memberAttempts()}, {"load", loadAttempts()},
	}
	waiting := map[string]chan outcome{}
	for _, group := range groups {
		for _, a := range group.attempts {
			if a.waits {
				done := make(chan outcome, 1)
				waiting[group.name+a.name] = done
				go func() { done <- a.run(w, t) }()
			}
		}
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, a := range group.attempts {
				all.Add(1)
				t.Run(a.name, func(t *testing.T) {
					var o outcome
					if a.waits {
						o = <-waiting[group.name+a.name]
					} else {
						o = a.run(w, t)
					}
					require.Empty(t, o.got, "the attempt has succeeded")
					require.Error(t, o.refused, "nothing was refused")
					require.NotContains(t, o.refused.Error(), treasure)
					require.NotContains(t, o.refused.Error(), rootPassword)
					foiled.Add(1)
					t.Log(o.refused)
				})
			}
		})
		for _, m := range w.Members {
			w.healthy(t, m)
		}
	}
	t.Logf("%d attempts: %d refused, %d succeeded", all.Load(), foiled.Load(), all.Load()-foiled.Load())
	require.GreaterOrEqual(t, all.Load(), int64(60))
	require.Equal(t, before, w.state(t), "an attempt has left something behind")
	w.agree(t)
	for _, m := range w.Members {
		require.NotContains(t, m.Out.String(), "panic")
		for _, secret := range []string{rootPassword, annPassword, treasure} {
			require.NotContains(t, m.Out.String(), secret, "the log tells a secret")
		}
	}
}

// state is everything that attackers may not change.
func (w *world) state(t *testing.T) (out []string) {
	ctx := process.Within(t, patience)
	r, err := w.root.Get(ctx, "\x00", clientv3.WithFromKey())
	require.NoError(t, err)
	for _, kv := range r.Kvs {
		if !strings.HasPrefix(string(kv.Key), "app/") {
			out = append(out, kv.String())
		}
	}
	users, err := w.root.UserList(ctx)
	require.NoError(t, err)
	for _, u := range users.Users {
		g, err := w.root.UserGet(ctx, u)
		require.NoError(t, err)
		out = append(out, u+" "+strings.Join(g.Roles, ","))
	}
	roles, err := w.root.RoleList(ctx)
	require.NoError(t, err)
	for _, role := range roles.Roles {
		g, err := w.root.RoleGet(ctx, role)
		require.NoError(t, err)
		for _, p := range g.Perm {
			out = append(out, role+" "+p.String())
		}
	}
	members, err := w.root.MemberList(ctx)
	require.NoError(t, err)
	for _, m := range members.Members {
		out = append(out, m.String())
	}
	alarms, err := w.root.AlarmList(ctx)
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	return out
}

// agree checks that all members hold the same.
func (w *world) agree(t *testing.T) {
	r, err := w.root.Get(process.Within(t, patience), "x")
	require.NoError(t, err)
	hashes := map[uint32]bool{}
	for _, m := range w.Members {
		require.Eventually(t, func() bool {
			h, err := w.root.HashKV(process.Within(t, patience), m.URL(), r.Header.Revision)
			if err == nil {
				hashes[h.Hash] = true
			}
			return err == nil
		}, patience, 50*time.Millisecond)
	}
	require.Len(t, hashes, 1)
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// exchange sends bytes and reads an HTTP answer.
func exchange(c net.Conn, bytes string) (a answer) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, bytes); err != nil {
		return answer{err: err}
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return answer{err: err}
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	return answer{r.StatusCode, string(b), err}
}

// judged is an answer that had to be a refusal.
func (a answer) judged() outcome {
	switch {
	case strings.Contains(a.body, treasure):
		return through(a.body)
	case a.err != nil:
		return refused(a.err)
	case a.status < 300:
		return through(a.body)
	case a.status < 400:
		return refused(errors.New("go elsewhere: " + a.body)) // where other attempts begin
	}
	return refused(errors.New(a.body))
}
