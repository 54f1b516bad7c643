package v2http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// writer is a member that can be written to.
type writer struct{ *member }

func (b writer) Propose(_ context.Context, k wire.Kind, body []byte) (machine.Result, error) {
	b.index++
	eff := new(machine.Effects)
	data := wire.AppendCommand(nil, &wire.Command{ID: b.index, Kind: k, Body: body})
	require.NoError(b.t, b.machine.Apply([]*raftpb.Entry{{Index: &b.index, Term: new(uint64(1)), Data: data}}, eff))
	return eff.Results[0], eff.Results[0].Err
}

func (b writer) Paths() *watch.Paths { return nil }
func (b writer) Term() uint64        { return 1 }

// rights are the routes that permissions are for, over a member.
type rights struct {
	t    *testing.T
	b    writer
	auth *Auth
	mux  *http.ServeMux
}

func newRights(t *testing.T, certificates bool) *rights {
	b := writer{newMember(t)}
	pw, err := password.New(password.Config{Cost: 4})
	require.NoError(t, err)
	a := NewAuth(b, b, pw, certificates, "c1", slog.New(slog.NewTextHandler(io.Discard, nil)))
	r := &rights{t: t, b: b, auth: a, mux: http.NewServeMux()}
	r.mux.Handle("/v2/auth/", a)
	keys := NewKeys(b, b, a, "c1")
	r.mux.Handle("/v2/keys", keys)
	r.mux.Handle("/v2/keys/", keys)
	r.mux.Handle("/v2/members/", NewMembers(b, nil, a, "c1"))
	return r
}

// do sends a request as somebody: "name:password", "" for nobody, or "cn=name" with a certificate.
func (r *rights) do(as, method, target, body string) *httptest.ResponseRecorder {
	q := httptest.NewRequest(method, target, strings.NewReader(body))
	if strings.HasPrefix(target, "/v2/keys") {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if cn, ok := strings.CutPrefix(as, "cn="); ok {
		q.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: cn}}}}}
	} else if name, secret, ok := strings.Cut(as, ":"); ok {
		q.SetBasicAuth(name, secret)
	}
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, q)
	return w
}

// step is a request and what it is answered: the status, and the body if it matters.
type step struct {
	id, as, method, target, body string
	status                       int
	want                         string
}

func (r *rights) walk(steps []step) {
	r.t.Helper()
	for i, s := range steps {
		w := r.do(s.as, s.method, s.target, s.body)
		require.Equal(r.t, s.status, w.Code, "%d %s %s %s %s: %s", i, s.id, s.method, s.target, s.body, w.Body)
		if s.want != "" {
			require.Equal(r.t, s.want, w.Body.String(), "%d %s %s %s %s", i, s.id, s.method, s.target, s.body)
		}
	}
}

const (
	users, roles, enable = "/v2/auth/users", "/v2/auth/roles", "/v2/auth/enable"
	denied               = `{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials","index":0}` + "\n"
	noAdmin              = `{"message":"Insufficient credentials"}`
)

// TestAuthWalk is the walk of section 13.5, and what the other rules say on its way.
func TestAuthWalk(t *testing.T) {
	r := newRights(t, false)
	r.walk([]step{
		{"A-50", "", "GET", enable, "", 200, `{"enabled":false}` + "\n"},
		{"A-51", "", "PUT", enable, "", 409, `{"message":"auth: No root user available, please create one"}`},
		{"A-52", "", "DELETE", enable, "", 409, `{"message":"auth: already disabled"}`},
		{"A-60", "", "GET", users, "", 200, `{"users":null}` + "\n"},
		{"A-80", "", "GET", roles, "", 200, `{"roles":[{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}]}` + "\n"},
		{"A-03", "", "PUT", users + "/root", `{"user":"root","password":"pw"}`, 201, `{"user":"root","roles":["root"]}` + "\n"},
		{"A-68", "", "PUT", users + "/root", `{"user":"root"}`, 400, `{"message":"auth: User not updated. Use grant/revoke/password to update the user."}`},
		{"A-51", "", "PUT", enable, "", 200, ""},
		{"A-51", "root:pw", "PUT", enable, "", 409, `{"message":"auth: already enabled"}`},
		{"A-50", "", "GET", enable, "", 200, `{"enabled":true}` + "\n"},
		{"A-04", "", "GET", "/v2/keys/", "", 200, ""},
		{"A-13", "", "GET", users, "", 401, noAdmin},
		{"A-11", "root:no", "GET", "/v2/keys/", "", 401, denied},
		{"A-11", "nobody:pw", "GET", "/v2/keys/", "", 401, denied},
		{"A-83", "root:pw", "PUT", roles + "/guest", `{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}`, 200,
			`{"role":"guest","permissions":{"kv":{"read":[],"write":[]}}}` + "\n"},
		{"A-47", "", "GET", "/v2/keys/", "", 401, denied},
		{"A-82", "root:pw", "PUT", roles + "/app", `{"role":"app","permissions":{"kv":{"read":["/app/*"],"write":["/app/*"]}}}`, 201,
			`{"role":"app","permissions":{"kv":{"read":["/app/*"],"write":["/app/*"]}}}` + "\n"},
		{"A-62", "root:pw", "PUT", users + "/u", `{"user":"u","password":"p"}`, 201, `{"user":"u","roles":null}` + "\n"},
		{"A-66", "root:pw", "PUT", users + "/u", `{"user":"u","grant":["app"]}`, 200, `{"user":"u","roles":["app"]}` + "\n"},
		{"A-40", "u:p", "PUT", "/v2/keys/app/x", "value=1", 201, ""},
		{"A-40", "u:p", "GET", "/v2/keys/app/x?recursive=true", "", 200, ""},
		{"A-44", "u:p", "GET", "/v2/keys/app/", "", 200, ""},
		{"A-44", "u:p", "GET", "/v2/keys/app", "", 401, denied},
		{"A-40", "u:p", "PUT", "/v2/keys/other", "value=1", 401, denied},
		{"A-13", "u:p", "GET", users, "", 401, noAdmin},
		{"R-03", "u:p", "POST", "/v2/members/", "", 401, noAdmin},
		{"R-03", "", "DELETE", "/v2/members/1", "", 401, noAdmin},
		{"R-03", "", "GET", "/v2/members/", "", 200, ""},
		{"A-02", "root:pw", "GET", roles + "/root", "", 200, `{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}` + "\n"},
		{"A-02", "root:pw", "PUT", roles + "/root", `{"role":"root","grant":{"kv":{"read":["/x"]}}}`, 403, `{"message":"auth: Cannot modify role root: is root role."}`},
		{"A-02", "root:pw", "DELETE", roles + "/root", "", 403, ""},
		{"A-46", "u:p", "POST", "/v2/keys/app/q", "value=1", 201, ""},
		{"A-46", "u:p", "POST", "/v2/keys/app", "value=1", 401, denied},
		{"A-71", "root:pw", "DELETE", users + "/root", "", 403, `{"message":"auth: Cannot delete root user while auth is enabled."}`},
		{"A-72", "root:pw", "GET", users + "/u", "", 200,
			`{"user":"u","roles":[{"role":"app","permissions":{"kv":{"read":["/app/*"],"write":["/app/*"]}}}]}` + "\n"},
		{"A-52", "u:p", "DELETE", enable, "", 401, noAdmin},
		{"A-52", "root:pw", "DELETE", enable, "", 200, ""},
		{"A-10", "root:no", "GET", "/v2/keys/", "", 200, ""},
	})
}

func TestAuthUsers(t *testing.T) {
	r := newRights(t, false)
	r.walk([]step{
		{"A-65", "", "PUT", users + "/a", `{"user":"a"}`, 400, `{"message":"auth: Cannot create user a with an empty password"}`},
		{"A-69", "", "PUT", users + "/a", `{`, 400, `{"message":"Invalid JSON in request body."}`},
		{"A-70", "", "PUT", users + "/a", `{"user":"b","password":"p"}`, 400, `{"message":"User JSON name does not match the name in the URL"}`},
		{"A-73", "", "GET", users + "/a/b", "", 400, `{"message":"Invalid path"}`},
		{"A-61", "", "GET", users + "/a", "", 404, `{"message":"auth: User a does not exist."}`},
		{"A-64", "", "PUT", users + "/a", `{"user":"a","password":"p","roles":["y","x"]}`, 200, `{"user":"a","roles":["y","x"]}` + "\n"},
		{"A-64", "", "PUT", users + "/a", `{"user":"a","password":"p","roles":["x"]}`, 409, `{"message":"auth: User a already exists."}`},
		{"A-63", "", "PUT", users + "/a", `{"user":"a","password":"q"}`, 200, `{"user":"a","roles":["x","y"]}` + "\n"},
		{"A-66", "", "PUT", users + "/a", `{"user":"a","grant":["z"],"revoke":["x"]}`, 200, `{"user":"a","roles":["y","z"]}` + "\n"},
		{"A-66", "", "PUT", users + "/a", `{"user":"a","grant":["n","z"]}`, 409, `{"message":"auth: Granting duplicate role z for user a"}`},
		{"A-66", "", "PUT", users + "/a", `{"user":"a","revoke":["x"]}`, 409, `{"message":"auth: Revoking ungranted role x for user a"}`},
		{"A-66", "", "PUT", users + "/b", `{"user":"b","grant":["x"]}`, 404, `{"message":"auth: User b does not exist."}`},
		{"A-67", "", "PUT", users + "/a", `{"user":"a","roles":["x"],"grant":["x"]}`, 400, `{"message":"User JSON contains both roles and grant/revoke"}`},
		{"A-06", "", "GET", users, "", 200, `{"users":[{"user":"a"}]}` + "\n"},
		{"A-61", "", "GET", users + "/a", "", 404, `{"message":"auth: Role y does not exist."}`},
		{"A-71", "", "DELETE", users + "/b", "", 404, `{"message":"auth: User b does not exist"}`},
		{"A-71", "", "DELETE", users + "/a", "", 200, ""},
		{"R-06", "", "PUT", users, "", 405, "Method Not Allowed\n"},
		{"R-14", "", "GET", "/v2/auth/nothing", "", 404, "404 page not found\n"},
	})
	require.Equal(t, "GET,PUT,DELETE", r.do("", "POST", users+"/a", "").Header().Get("Allow"), "R-20")
	require.Empty(t, r.do("", "GET", "/v2/keys/_2", "").Header().Get("WWW-Authenticate"))
	for _, p := range []string{"/v2/keys/%2e%2e/2/enabled", "/v2/keys/../../2/enabled"} {
		require.NotEqual(t, 200, r.do("", "GET", p, "").Code, p)
	}
}

func TestAuthRoles(t *testing.T) {
	r := newRights(t, false)
	r.walk([]step{
		{"A-86", "", "PUT", roles + "/root", `{"role":"root","grant":{"kv":{"read":["/a"]}}}`, 403, `{"message":"auth: Cannot modify role root: is root role."}`},
		{"A-86", "", "DELETE", roles + "/root", "", 403, `{"message":"auth: Cannot modify role root: is root role."}`},
		{"A-81", "", "GET", roles + "/r", "", 404, `{"message":"auth: Role r does not exist."}`},
		{"A-83", "", "PUT", roles + "/r", `{"role":"r","grant":{"kv":{"read":["/a"]}}}`, 404, `{"message":"auth: Role r does not exist."}`},
		{"A-82", "", "PUT", roles + "/r", `{"role":"r","permissions":{"kv":{"read":["/a/*"]}}}`, 201,
			`{"role":"r","permissions":{"kv":{"read":["/a/*"],"write":null}}}` + "\n"},
		{"A-82", "", "PUT", roles + "/r", `{"role":"r"}`, 409, `{"message":"auth: Role r already exists."}`},
		{"A-83", "", "PUT", roles + "/r", `{"role":"r","grant":{"kv":{"read":["/a/*"]}}}`, 409, `{"message":"auth: Granting duplicate read permission /a/*"}`},
		{"A-83", "", "PUT", roles + "/r", `{"role":"r","grant":{"kv":{"read":["/0"],"write":["/w"]}}}`, 200,
			`{"role":"r","permissions":{"kv":{"read":["/0","/a/*"],"write":["/w"]}}}` + "\n"},
		{"A-83", "", "PUT", roles + "/r", `{"role":"r","grant":{"kv":{"write":["/w"]}}}`, 409, `{"message":"auth: Granting duplicate write permission /w"}`},
		{"A-83", "", "PUT", roles + "/r", `{"role":"r","revoke":{"kv":{"write":["/no"]}}}`, 400, `{"message":"auth: Role not updated. Use grant/revoke to update the role."}`},
		{"A-83", "", "PUT", roles + "/r", `{"role":"r","revoke":{"kv":{"write":["/w"]}}}`, 200,
			`{"role":"r","permissions":{"kv":{"read":["/0","/a/*"],"write":[]}}}` + "\n"},
		{"A-84", "", "PUT", roles + "/r", `{"role":"r","permissions":{"kv":{"read":["/b"]}},"grant":{"kv":{"write":["/w"]}}}`, 400,
			`{"message":"Role JSON contains both permissions and grant/revoke"}`},
		{"A-85", "", "PUT", roles + "/r", `{"role":"x"}`, 400, `{"message":"Role JSON name does not match the name in the URL"}`},
		{"A-88", "", "PUT", roles + "/r", `nothing`, 400, `{"message":"Invalid JSON in request body."}`},
		{"A-88", "", "PUT", roles + "/r/x", `{}`, 400, `{"message":"Invalid path"}`},
		{"A-82", "", "PUT", roles + "/twice", `{"role":"twice","permissions":{"kv":{"read":["/b","/a","/b"],"write":["/c","/c"]}}}`, 201,
			`{"role":"twice","permissions":{"kv":{"read":["/b","/a","/b"],"write":["/c","/c"]}}}` + "\n"},
		{"A-83", "", "PUT", roles + "/twice", `{"role":"twice","revoke":{"kv":{"read":["/a"]}}}`, 200,
			`{"role":"twice","permissions":{"kv":{"read":["/b"],"write":["/c"]}}}` + "\n"},
		{"A-64", "", "PUT", users + "/twice", `{"user":"twice","password":"p","roles":["s","r","s"]}`, 200, `{"user":"twice","roles":["s","r","s"]}` + "\n"},
		{"A-66", "", "PUT", users + "/twice", `{"user":"twice","revoke":["s"]}`, 200, `{"user":"twice","roles":["r"]}` + "\n"},
		{"", "", "DELETE", users + "/twice", "", 200, ""},
		{"", "", "DELETE", roles + "/twice", "", 200, ""},
		{"A-87", "", "DELETE", roles + "/x", "", 404, `{"message":"auth: Role x doesn't exist."}`},
		{"A-87", "", "DELETE", roles + "/r", "", 200, ""},
	})
}

// TestPatterns is the table of section 13.3.
func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, path    string
		plain, recursive bool
	}{
		{"/foo", "/foo", true, false},
		{"/foo", "/foo/", false, false},
		{"/foo", "/foo/a", false, false},
		{"/foo*", "/foo", true, true},
		{"/foo*", "/foobar", true, true},
		{"/foo*", "/foo/a", true, true},
		{"/foo/*", "/foo", false, false},
		{"/foo/*", "/foo/", true, true},
		{"/foo/*", "/foo/a", true, true},
		{"/*", "", false, false},
		{"/*", "/", true, true},
		{"/*", "/anything", true, true},
		{"*", "", true, true},
		{"", "", false, false},
		{"", "/", false, false},
	} {
		r := role{Role: "r", Permissions: permissions{permission{Read: []string{c.pattern}}}}
		require.Equal(t, c.plain, r.permits(c.path, false, false), "%q %q", c.pattern, c.path)
		require.Equal(t, c.recursive, r.permits(c.path, false, true), "%q %q recursive", c.pattern, c.path)
		require.False(t, r.permits(c.path, true, false), "%q %q: A-43", c.pattern, c.path)
	}
	require.True(t, (&role{Role: rootName}).permits("/x", true, true), "A-42")
}

// TestGuestReadsPlainly: who is nobody may list deeply what a plain pattern names, and who is somebody does not
// inherit that.
func TestGuestReadsPlainly(t *testing.T) {
	r := newRights(t, false)
	r.walk([]step{
		{"", "", "PUT", "/v2/keys/foo/x", "value=1", 201, ""},
		{"", "", "PUT", users + "/root", `{"user":"root","password":"pw"}`, 201, ""},
		{"", "", "PUT", users + "/u", `{"user":"u","password":"p"}`, 201, ""},
		{"A-04", "", "PUT", roles + "/guest", `{"role":"guest","permissions":{"kv":{"read":["/foo"],"write":[]}}}`, 201, ""},
		{"", "", "PUT", enable, "", 200, ""},
		{"A-45", "", "GET", "/v2/keys/foo?recursive=true", "", 200, ""},
		{"A-04", "u:p", "GET", "/v2/keys/foo", "", 401, denied},
		{"A-87", "root:pw", "DELETE", roles + "/guest", "", 200, ""},
		{"A-87", "", "GET", "/v2/keys/foo", "", 401, denied},
		{"A-14", "root:pw", "PUT", users + "/root", `{"user":"root","password":"another-one"}`, 200, ""},
		{"A-14", "root:pw", "GET", "/v2/keys/foo", "", 401, denied},
		{"A-14", "root:another-one", "GET", "/v2/keys/foo", "", 200, ""},
	})
	v := r.b.View().Tree
	text, ok := v.Record(recordUsers + "/root")
	require.True(t, ok)
	require.NotContains(t, text, "another-one", "A-01")
}

func TestCertificatesNameUsers(t *testing.T) {
	r := newRights(t, true)
	r.walk([]step{
		{"", "", "PUT", users + "/root", `{"user":"root","password":"pw"}`, 201, ""},
		{"", "", "PUT", roles + "/guest", `{"role":"guest","permissions":{"kv":{"read":["/g"]}}}`, 201, ""},
		{"", "", "PUT", enable, "", 200, ""},
		{"A-12", "cn=root", "PUT", "/v2/keys/x", "value=1", 201, ""},
		{"A-12", "cn=root", "GET", users, "", 200, ""},
		{"A-13", "cn=stranger", "GET", "/v2/keys/x", "", 401, denied},
		{"A-13", "cn=stranger", "GET", users, "", 401, noAdmin},
	})
	other := newRights(t, false)
	other.walk([]step{
		{"", "", "PUT", users + "/root", `{"user":"root","password":"pw"}`, 201, ""},
		{"", "", "PUT", enable, "", 200, ""},
		{"A-12", "cn=root", "GET", users, "", 401, noAdmin},
	})
}

// TestAuthIndexes: each change takes an index, and the first one those of what records are kept in.
func TestAuthIndexes(t *testing.T) {
	r := newRights(t, false)
	at := r.b.View().Tree.Index
	r.walk([]step{
		{"", "", "PUT", users + "/root", `{"user":"root","password":"pw"}`, 201, ""},
		{"", "", "PUT", users + "/root", `{"user":"root","password":"pw2"}`, 200, ""},
		{"", "", "PUT", roles + "/a", `{"role":"a"}`, 201, ""},
		{"", "", "PUT", roles + "/a", `{"role":"a"}`, 409, ""},
		{"", "", "DELETE", roles + "/a", ``, 200, ""},
	})
	require.EqualValues(t, at+4+4, r.b.View().Tree.Index)
	r.b.machine = reopen(t, r.b.machine)
	require.Equal(t, `{"user":"root","roles":[{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}]}`+"\n",
		r.do("", "GET", users+"/root", "").Body.String(), "V-01")
}

func reopen(t *testing.T, m *machine.Machine) *machine.Machine {
	m, err := machine.Open(machine.Config{}, m.Engine())
	require.NoError(t, err)
	return m
}
