package official

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// auditLine is what an audit log tells of a call.
type auditLine struct {
	API, Class, Method, User, Login, From, Code, Error string
	Gateway                                            bool
	Keys                                               []struct {
		Op, Branch, Key string
		Key64           string `json:"key_base64"`
		End             string `json:"range_end"`
	}
	OfUser   string `json:"of_user"`
	OfRole   string `json:"of_role"`
	Leases   []string
	Members  []string
	Revision int64
}

func readAudit(t *testing.T, path string) (out []auditLine) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for l := range bytes.Lines(b) {
		var a auditLine
		require.NoError(t, json.Unmarshal(l, &a), "%s", l)
		out = append(out, a)
	}
	return out
}

// find waits for a line that f is content with.
func findAudit(t *testing.T, path, what string, f func(*auditLine) bool) (found auditLine) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, a := range readAudit(t, path) {
			if f(&a) {
				found = a
				return true
			}
		}
		return false
	}, patience, 5*time.Millisecond, "there is no record of %s", what)
	return found
}

// forms are those in which a secret could appear.
func forms(secret string) []string {
	return []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("root:" + secret)),
		url.QueryEscape(secret), fmt.Sprintf("%x", secret)}
}

func requireNone(t *testing.T, where, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for _, form := range forms(s) {
			if i := strings.Index(text, form); i >= 0 {
				t.Errorf("%s holds %q: …%s…", where, s, text[max(0, i-100):min(len(text), i+len(form)+20)])
			}
		}
	}
}

// files are all files of a directory, one after the other.
func filesBelow(t *testing.T, dir string) string {
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	}))
	return all.String()
}

// Secrets are used in every way that the APIs have for them, rightly and wrongly. Where they must not be they are in no form.
func TestNoSecretGetsOut(t *testing.T) {
	t.Parallel()
	const (
		value     = "value<Q7 sentinel>"
		password  = "password<Q7/sentinel>"
		changed   = "changed-password<Q7/sentinel>"
		wrong     = "wrong-password<Q7/sentinel>"
		v2Pass    = "v2-password<Q7/sentinel>"
		fakeToken = "token-Q7-sentinel.17"
	)
	path := filepath.Join(t.TempDir(), "audit.log")
	p := start(t, "--audit-log", path, "--audit-log-level=all", "--log-level=debug", "--enable-pprof")
	c, ctx := p.client(), within(t, 2*patience)
	var told strings.Builder // in errors
	say := func(err error) {
		if err != nil {
			fmt.Fprintln(&told, err)
		}
	}
	must := func(err error) { t.Helper(); require.NoError(t, err) }
	httpDo := func(method, path, user, pass, contentType, body string) int {
		r, err := http.NewRequestWithContext(ctx, method, p.url()+path, strings.NewReader(body))
		must(err)
		if user != "" {
			r.SetBasicAuth(user, pass)
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		resp, err := http.DefaultClient.Do(r)
		must(err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(err)
		if resp.StatusCode >= 400 {
			fmt.Fprintf(&told, "%s\n", b)
		}
		return resp.StatusCode
	}
	form := "application/x-www-form-urlencoded"
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

	// Values, in v3, as JSON and in v2.
	_, err := c.Put(ctx, "audited-key", value)
	must(err)
	_, err = c.Txn(ctx).If(clientv3.Compare(clientv3.Value("audited-key"), "=", value)).
		Then(clientv3.OpPut("then-key", value), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("nested-key", value)}, nil)).
		Else(clientv3.OpDelete("else-key")).Commit()
	must(err)
	_, err = c.Put(ctx, "", value)
	say(err)
	_, err = c.Put(ctx, "large-key", strings.Repeat(value, 100_000))
	say(err)
	_, err = c.Get(ctx, "audited-key")
	must(err)
	_, err = c.Put(ctx, "binary\xff", value)
	must(err)
	session, err := concurrency.NewSession(c)
	must(err)
	election := concurrency.NewElection(session, "election-key")
	must(election.Campaign(ctx, value))
	must(election.Proclaim(ctx, value))
	p.post("/v3/election/campaign", `{"name":"`+b64("json-election")+`","value":"`+b64(value)+`"}`)
	code, _ := p.post("/v3/kv/put", `{"key":"`+b64("json-key")+`","value":"`+b64(value)+`"}`)
	require.Equal(t, 200, code)
	_, text := p.post("/v3/kv/put", `{"key":"","value":"`+b64(value)+`"}`)
	told.WriteString(text)
	require.Equal(t, 201, httpDo("PUT", "/v2/keys/v2-key", "", "", form, url.Values{"value": {value}}.Encode()))
	b412 := told.Len()
	require.Equal(t, 412, httpDo("PUT", "/v2/keys/v2-key?prevValue=x", "", "", form, url.Values{"value": {value}}.Encode()))
	compared := told.String()[b412:]
	require.Contains(t, compared, "value\\u003cQ7 sentinel\\u003e", "v2 tells the client of what is compared")
	rest := told.String()[:b412]
	told.Reset()
	told.WriteString(rest)
	require.Equal(t, 400, httpDo("PUT", "/v2/keys/v2-key?ttl="+url.QueryEscape(value), "", "", form, url.Values{"value": {value}}.Encode()))
	require.Equal(t, 400, httpDo("PUT", "/v2/keys/v2-key?dir=%zz", "", "", form, url.Values{"value": {value}}.Encode()+"&%zz="+url.QueryEscape(value)))

	// Passwords of v3, and tokens.
	_, err = c.UserAdd(ctx, "root", password)
	must(err)
	_, err = c.UserAdd(ctx, "root", wrong)
	say(err)
	_, err = c.UserGrantRole(ctx, "root", "root")
	must(err)
	_, err = c.AuthEnable(ctx)
	must(err)
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer conn.Close()
	api := pb.NewAuthClient(conn)
	login, err := api.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: password})
	must(err)
	_, err = api.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: wrong})
	say(err)
	_, err = api.Authenticate(ctx, &pb.AuthenticateRequest{Name: "nobody", Password: wrong})
	say(err)
	as := func(token string) context.Context { return metadata.AppendToOutgoingContext(ctx, "token", token) }
	kv := pb.NewKVClient(conn)
	_, err = kv.Put(as(login.Token), &pb.PutRequest{Key: []byte("root-key"), Value: []byte(value)})
	must(err)
	_, err = kv.Put(as(fakeToken), &pb.PutRequest{Key: []byte("fake-key"), Value: []byte(value)})
	say(err)
	_, err = kv.Range(ctx, &pb.RangeRequest{Key: []byte("nobody-key")})
	say(err)
	_, err = kv.Range(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+fakeToken, "cairn-client-address", "6.6.6.6:6", "x-forwarded-for", "6.6.6.6"), &pb.RangeRequest{Key: []byte("forged-key")})
	say(err)
	code, text = p.post("/v3/auth/authenticate", `{"name":"root","password":"`+password+`"}`)
	require.Equal(t, 200, code)
	var second struct{ Token string }
	must(json.Unmarshal([]byte(text), &second))
	for _, body := range []string{`{"name":"root","password":"` + wrong + `"}`, `{"name":"root","password":"` + password + `","password":{}}`, `{"name":"root","password":"` + password} {
		_, text = p.post("/v3/auth/authenticate", body)
		told.WriteString(text)
	}
	_, err = api.UserChangePassword(as(login.Token), &pb.AuthUserChangePasswordRequest{Name: "root", Password: changed})
	must(err)
	_, err = api.UserList(as(login.Token), &pb.AuthUserListRequest{}) // the token has gone with the password
	say(err)

	// Passwords of v2.
	user := func(pass string) string { return `{"user":"root","password":"` + pass + `"}` }
	require.Equal(t, 201, httpDo("PUT", "/v2/auth/users/root", "", "", "", user(v2Pass)))
	httpDo("PUT", "/v2/auth/users/root", "", "", "", `{"user":"root","password":"`+v2Pass)
	httpDo("PUT", "/v2/auth/users/other", "", "", "", user(v2Pass))
	require.Equal(t, 200, httpDo("PUT", "/v2/auth/enable", "", "", "", ""))
	require.Equal(t, 401, httpDo("PUT", "/v2/keys/v2-key", "root", wrong, form, "value=x"))
	require.Equal(t, 401, httpDo("GET", "/v2/auth/users", "root", wrong, "", ""))
	require.Equal(t, 200, httpDo("PUT", "/v2/keys/v2-key", "root", v2Pass, form, "value=x"))

	// Whoever looks at the server from outside.
	var pages strings.Builder
	for _, page := range []string{"/metrics", "/debug/vars", "/debug/requests?fam=all", "/debug/events", "/debug/pprof/goroutine?debug=2", "/health", "/cairn/report"} {
		_, text := p.get(page)
		pages.WriteString(text)
	}
	require.Contains(t, pages.String(), "cairn_audit_records_total")
	p.stop()

	b, err := os.ReadFile(path)
	must(err)
	lines, log := string(b), p.out.String()
	secrets := []string{value, password, changed, wrong, v2Pass, fakeToken, login.Token, second.Token, strings.Split(login.Token, ".")[0]}
	for where, text := range map[string]string{"the audit log": lines, "the log": log, "a page": pages.String(), "an error": told.String()} {
		require.NotEmpty(t, text, where)
		requireNone(t, where, text, secrets...)
		require.NotContains(t, text, "$2a$", where+" holds a hash")
	}
	data := filesBelow(t, p.dir)
	require.Contains(t, data, value, "the search finds what is there")
	require.Contains(t, data, "$2a$")
	requireNone(t, "the data directory", data, password, changed, wrong, v2Pass, fakeToken, login.Token, second.Token)

	// What must be there instead.
	all := readAudit(t, path)
	local := func(a *auditLine) bool { return strings.HasPrefix(a.From, "127.0.0.1:") }
	for what, f := range map[string]func(*auditLine) bool{
		"a put": func(a *auditLine) bool {
			return a.Method == "/etcdserverpb.KV/Put" && a.Keys[0].Key == "audited-key" && a.Code == "OK" && a.Revision == 2
		},
		"a key that is no text": func(a *auditLine) bool { return len(a.Keys) == 1 && a.Keys[0].Key64 == b64("binary\xff") },
		"a txn": func(a *auditLine) bool {
			return len(a.Keys) == 4 && a.Keys[0].Key == "then-key" && a.Keys[0].Branch == "success" && a.Keys[1].Key == "nested-key" && a.Keys[1].Branch == "success" &&
				a.Keys[2].Op == "delete" && a.Keys[2].Branch == "failure" && a.Keys[3].Op == "compare"
		},
		"a put as JSON": func(a *auditLine) bool {
			return a.Gateway && len(a.Keys) == 1 && a.Keys[0].Key == "json-key" && local(a)
		},
		"a put by root": func(a *auditLine) bool { return a.User == "root" && len(a.Keys) == 1 && a.Keys[0].Key == "root-key" },
		"a false token": func(a *auditLine) bool {
			return a.User == "" && a.Code == "Unauthenticated" && len(a.Keys) == 1 && a.Keys[0].Key == "fake-key"
		},
		"a forged address": func(a *auditLine) bool {
			return len(a.Keys) == 1 && a.Keys[0].Key == "forged-key" && !a.Gateway && local(a)
		},
		"a wrong password": func(a *auditLine) bool {
			return a.Login == "nobody" && a.User == "" && a.Method == "/etcdserverpb.Auth/Authenticate" && a.Code == "InvalidArgument" && local(a)
		},
		"a changed password": func(a *auditLine) bool {
			return strings.HasSuffix(a.Method, "/UserChangePassword") && a.User == "root" && a.OfUser == "root"
		},
		"a wrong password of v2": func(a *auditLine) bool {
			return a.API == "v2" && a.Login == "root" && a.Code == "401" && a.User == "" && local(a)
		},
		"a v2 user": func(a *auditLine) bool {
			return a.Method == "PUT /v2/auth/users" && a.OfUser == "root" && a.Class == "admin" && a.Code == "201"
		},
		"a v2 key by root": func(a *auditLine) bool {
			return a.Method == "PUT /v2/keys" && a.User == "root" && a.Keys[0].Key == "/v2-key" && a.Code == "200"
		},
		"a failed comparison": func(a *auditLine) bool { return a.Code == "412" && a.Error == "Compare failed" },
		"the start":           func(a *auditLine) bool { return a.API == "server" && a.Method == "start" },
		"the stop":            func(a *auditLine) bool { return a.API == "server" && a.Method == "stop" },
	} {
		there := false
		for i := range all {
			there = there || f(&all[i])
		}
		require.True(t, there, "there is no record of %s in\n%s", what, lines)
	}
}

// fillIn sets every field of a message: those that hold secrets to one, and others to what is none.
func fillIn(m protoreflect.Message, secret string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		text := "audited-" + string(f.Name())
		if n := strings.ToLower(string(f.Name())); strings.Contains(n, "password") || strings.Contains(n, "value") || strings.Contains(n, "token") {
			text = secret
		}
		set := func() (v protoreflect.Value, ok bool) {
			switch f.Kind() {
			case protoreflect.StringKind:
				return protoreflect.ValueOfString(text), true
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte(text)), true
			}
			return v, false
		}
		switch {
		case f.IsMap():
		case f.Message() != nil && depth == 0:
		case f.Message() != nil && f.IsList():
			fillIn(m.Mutable(f).List().AppendMutable().Message(), secret, depth-1)
		case f.Message() != nil:
			fillIn(m.Mutable(f).Message(), secret, depth-1)
		case f.IsList():
			if v, ok := set(); ok {
				m.Mutable(f).List().Append(v)
			}
		default:
			if v, ok := set(); ok {
				m.Set(f, v)
			}
		}
	}
}

// Every method of the API is recorded, with nothing of what its messages hold as secrets.
func TestEveryMethodIsRecorded(t *testing.T) {
	t.Parallel()
	const secret = "secret<Q9/sentinel>"
	path := filepath.Join(t.TempDir(), "audit.log")
	p := start(t, "--audit-log", path, "--audit-log-level=all", "--log-level=debug")
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	require.NoError(t, err)
	defer conn.Close()
	want := map[string]bool{}
	for _, m := range methods() {
		if m.name == "/what.Is/This" {
			continue
		}
		name := m.name
		if name == "/etcdserverpb.Watch/Watch" {
			name += " create"
		}
		want[name] = true
		body := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "audited-name"+m.name)
		for num := range protowire.Number(2) { // of values
			body = protowire.AppendString(protowire.AppendTag(body, num+2, protowire.BytesType), secret)
		}
		switch {
		case strings.HasPrefix(m.name, "/v3electionpb.Election/Proclaim"), strings.HasPrefix(m.name, "/v3electionpb.Election/Resign"):
			leader := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "audited-name/1")
			body = protowire.AppendBytes(protowire.AppendTag(body, 1, protowire.BytesType), leader)
		case m.input != nil && m.name == "/etcdserverpb.Watch/Watch":
			body, err = proto.Marshal(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("audited-key")}}})
			require.NoError(t, err)
		case m.input != nil:
			typ, err := protoregistry.GlobalTypes.FindMessageByName(m.input.FullName())
			require.NoError(t, err)
			msg := typ.New()
			fillIn(msg, secret, 4)
			body, err = proto.Marshal(msg.Interface())
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		var answer []byte
		if !m.stream {
			_ = conn.Invoke(metadata.AppendToOutgoingContext(ctx, "token", secret), m.name, &body, &answer)
		} else if st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, m.name); err == nil {
			_ = st.SendMsg(&body)
			findAudit(t, path, name, func(a *auditLine) bool {
				if a.Method != name { // some are recorded when they end
					_ = st.CloseSend()
				}
				return a.Method == name
			})
		}
		cancel()
	}
	for name := range want {
		findAudit(t, path, name, func(a *auditLine) bool { return a.Method == name })
	}
	p.stop()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), "audited-name")
	requireNone(t, "the audit log", string(b), secret)
	requireNone(t, "the log", p.out.String(), secret)
}
