package auth

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

// rig is a table over an engine in memory, which is opened anew now and then.
type rig struct {
	t   *testing.T
	eng *mem.Engine
	*Table
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, eng: mem.New()}
	r.reopen()
	require.NoError(t, r.do(func(b engine.Batch) error { r.Initialise(b); return nil }))
	return r
}

func (r *rig) reopen() {
	t, err := Open(r.eng)
	require.NoError(r.t, err)
	r.Table = t
}

func (r *rig) do(f func(b engine.Batch) error) error {
	b := r.eng.NewBatch()
	err := f(b)
	require.NoError(r.t, r.eng.Commit(b))
	return err
}

// run does one line: a word and its arguments.
func (r *rig) run(line string) error {
	w := append(strings.Fields(line), "", "", "", "")
	arg := func(s string) string { return strings.NewReplacer("-", "", "0", "\x00").Replace(s) }
	return r.do(func(b engine.Batch) error {
		switch w[0] {
		case "enable":
			return r.Enable(b)
		case "disable":
			r.Disable(b)
			return nil
		case "user":
			return r.AddUser(b, User{Name: arg(w[1]), Hash: []byte("h"), NoPassword: w[2] == "nopassword"})
		case "deluser":
			return r.DeleteUser(b, w[1])
		case "password":
			return r.ChangePassword(b, w[1], []byte(w[2]))
		case "grant":
			return r.GrantRole(b, w[1], w[2])
		case "revoke":
			return r.RevokeRole(b, w[1], w[2])
		case "role":
			return r.AddRole(b, arg(w[1]))
		case "delrole":
			return r.DeleteRole(b, w[1])
		case "allow":
			kinds := map[string]authpb.Permission_Type{"r": authpb.READ, "w": authpb.WRITE, "rw": authpb.READWRITE}
			return r.Grant(b, w[1], &Permission{kinds[w[2]], []byte(arg(w[3])), []byte(arg(w[4]))})
		case "forbid":
			return r.Ungrant(b, w[1], []byte(arg(w[2])), []byte(arg(w[3])))
		}
		panic(line)
	})
}

func TestRules(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		line string
		want error
		bump uint64 // of the revision
	}{
		{"enable", wire.ErrRootUserNotExist, 0},
		{"user -", wire.ErrUserEmpty, 0},
		{"user root", nil, 1},
		{"user root", wire.ErrUserAlreadyExist, 0},
		{"enable", wire.ErrRootRoleNotExist, 0},
		{"grant nobody root", wire.ErrUserNotFound, 0},
		{"grant root none", wire.ErrRoleNotFound, 0},
		{"grant root root", nil, 1}, // the role itself need not be there
		{"grant root root", nil, 0},
		{"enable", nil, 0},
		{"enable", nil, 0},
		{"deluser root", wire.ErrInvalidAuthMgmt, 0},
		{"revoke root root", wire.ErrInvalidAuthMgmt, 0},
		{"delrole root", wire.ErrInvalidAuthMgmt, 0},
		{"deluser none", wire.ErrUserNotFound, 0},
		{"role -", wire.ErrRoleEmpty, 0},
		{"role r", nil, 1},
		{"role r", wire.ErrRoleAlreadyExist, 0},
		{"delrole none", wire.ErrRoleNotFound, 0},
		{"user ann nopassword", nil, 1},
		{"password ann x", nil, 1},
		{"password none x", wire.ErrUserNotFound, 0},
		{"grant ann r", nil, 1},
		{"revoke ann root", wire.ErrRoleNotGranted, 0},
		{"revoke none r", wire.ErrUserNotFound, 0},
		{"allow none r a", wire.ErrRoleNotFound, 0},
		{"allow r r -", wire.ErrInvalidAuthMgmt, 0},
		{"allow r r b a", wire.ErrInvalidAuthMgmt, 0},
		{"allow r r b b", wire.ErrInvalidAuthMgmt, 0},
		{"allow r r b 0", nil, 1},
		{"allow r r a b", nil, 1},
		{"allow r rw a b", nil, 1},
		{"forbid none a", wire.ErrRoleNotFound, 0},
		{"forbid r a", wire.ErrPermissionNotGranted, 0},
		{"forbid r a b", nil, 1},
		{"delrole r", nil, 1},
		{"disable", nil, 1},
		{"disable", nil, 0},
		{"deluser root", nil, 1},
	} {
		before := r.View().Revision
		require.ErrorIs(t, r.run(c.line), c.want, c.line)
		require.Equal(t, before+c.bump, r.View().Revision, c.line)
		v := r.View()
		r.reopen()
		require.Equal(t, fmt.Sprint(v.Enabled, v.Revision, v.Users(), v.Roles()), fmt.Sprint(r.View().Enabled, r.View().Revision, r.View().Users(), r.View().Roles()))
	}
	ann, ok := r.View().User("ann")
	require.True(t, ok)
	require.Empty(t, ann.Hash, "a user without a password keeps none")
	require.Empty(t, ann.Roles, "the role is gone from all users")
	require.ErrorIs(t, r.do(func(b engine.Batch) error { return r.Grant(b, "r", nil) }), wire.ErrPermissionNotGiven)
}

// TestPermissions is the table of section 15.4.
func TestPermissions(t *testing.T) {
	r := newRig(t)
	for _, line := range []string{"user root", "grant root root", "enable", "role r1", "role r2", "role all", "user ann", "user eve", "user max",
		"grant ann r1", "grant ann r2", "grant max all",
		"allow r1 r a c", "allow r2 r c e", "allow r1 w k", "allow r2 rw m n", "allow r2 r x 0", "allow all rw 0 0"} {
		require.NoError(t, r.run(line), line)
	}
	now := r.View().Revision
	for _, c := range []struct {
		who, need string // kind, key, end
		want      error
	}{
		{"-", "r a", wire.ErrUserEmpty},
		{"none", "r a", wire.ErrPermissionDenied},
		{"eve", "r a", wire.ErrPermissionDenied},
		{"root", "w 0 0", nil},
		{"max", "w 0 0", nil},
		{"max", "r zz 0", nil},
		{"ann", "r a", nil},
		{"ann", "w a", wire.ErrPermissionDenied},
		{"ann", "r bzz", nil},
		{"ann", "r c", nil},
		{"ann", "r e", wire.ErrPermissionDenied},
		{"ann", "r a e", nil}, // two roles together
		{"ann", "r a f", wire.ErrPermissionDenied},
		{"ann", "r a 0", wire.ErrPermissionDenied},
		{"ann", "r 0 b", wire.ErrPermissionDenied},
		{"ann", "w k", nil},
		{"ann", "r k", wire.ErrPermissionDenied}, // writing is not reading
		{"ann", "w ka", wire.ErrPermissionDenied},
		{"ann", "w k l", wire.ErrPermissionDenied},
		{"ann", "w m n", nil},
		{"ann", "r m n", nil},
		{"ann", "r x 0", nil},
		{"ann", "r y", nil},
		{"ann", "w y", wire.ErrPermissionDenied},
		{"ann", "r w 0", wire.ErrPermissionDenied},
		{"ann", "r b a", nil}, // of an empty range the first key counts
		{"ann", "r f a", wire.ErrPermissionDenied},
	} {
		w := append(strings.Fields(c.need), "")
		arg := func(s string) []byte { return []byte(strings.ReplaceAll(s, "0", "\x00")) }
		id := Identity{strings.TrimPrefix(c.who, "-"), now}
		n := Need{wire.ParseRange(arg(w[1]), arg(w[2])), w[0] == "w"}
		require.ErrorIs(t, r.View().Allow(id, n), c.want, "%s %s", c.who, c.need)
	}
	a := wire.One("a")
	require.ErrorIs(t, r.View().Allow(Identity{"ann", now - 1}, Read(a)), wire.ErrAuthOldRevision)
	require.ErrorIs(t, r.View().Allow(Identity{"root", now - 1}, Read(a)), wire.ErrAuthOldRevision)
	require.NoError(t, r.View().Allow(Member, Read(a), Write(wire.Range{Lo: "\x00"})))
	require.ErrorIs(t, r.View().Allow(Identity{"ann", now}, Read(a), Write(a)), wire.ErrPermissionDenied, "all needs count")

	require.NoError(t, r.View().Admin(Identity{"root", 0}), "however old")
	require.ErrorIs(t, r.View().Admin(Identity{"ann", now}), wire.ErrPermissionDenied)
	require.ErrorIs(t, r.View().Admin(Identity{"none", now}), wire.ErrUserNotFound)
	require.ErrorIs(t, r.View().Admin(Identity{}), wire.ErrUserEmpty)
	require.ErrorIs(t, r.View().Known(Identity{}), wire.ErrUserEmpty)
	require.ErrorIs(t, r.View().Known(Identity{User: "ghost"}), wire.ErrPermissionDenied)
	require.NoError(t, r.run("disable"))
	require.NoError(t, r.View().Allow(Identity{}, Write(a)))
	require.NoError(t, r.View().Admin(Identity{}))
	require.NoError(t, r.View().Known(Identity{}))
}

// TestCoverAgainstAModel compares ranges that roles together cover with a look at every key.
func TestCoverAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	key := func() string { return string(rune('a' + rng.IntN(8))) }
	for range 3000 {
		var held []*Role
		var all []wire.Range
		for range 1 + rng.IntN(3) {
			var perms []Permission
			for range rng.IntN(4) {
				lo, hi := key(), key()
				if rng.IntN(6) == 0 {
					hi = "\x00"
				}
				if validRange([]byte(lo), []byte(hi)) {
					perms = append(perms, Permission{authpb.READ, []byte(lo), []byte(hi)})
					all = append(all, wire.ParseRange([]byte(lo), []byte(hi)))
				}
			}
			held = append(held, newRole("r", perms))
		}
		r := wire.ParseRange([]byte(key()), []byte(key()))
		if rng.IntN(6) == 0 {
			r.Hi = ""
		}
		want := true
		for c := 'a' - 1; c <= 'i'; c++ { // permissions begin and end at letters: one key between two of them stands for all
			for _, k := range []string{string(c), string(c) + "x"} {
				if !r.Contains(k) && !(r.Empty() && k == r.Lo) {
					continue
				}
				in := false
				for _, p := range all {
					in = in || p.Contains(k)
				}
				want = want && in
			}
		}
		require.Equal(t, want, covered(held, Read(r)), "%v of %v", r, all)
	}
}
