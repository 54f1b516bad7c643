package v2client

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What each call sends, as the v2 API wants it.
func TestRequests(t *testing.T) {
	s := serve(t, answer{status: 200, body: `{"id":"a","node":{}}`})
	c := connect(t, Config{}, s.URL)
	ctx := within(t)
	first := func(_ any, err error) error { return err }
	for _, tc := range []struct {
		call func() error
		want string
	}{
		{func() error { return first(c.Get(ctx, "foo", GetOptions{})) }, "GET /v2/keys/foo?quorum=false&recursive=false&sorted=false"},
		{func() error { return first(c.Get(ctx, "/", GetOptions{Quorum: true, Recursive: true, Sorted: true})) }, "GET /v2/keys/?quorum=true&recursive=true&sorted=true"},
		{func() error { return first(c.Get(ctx, "", GetOptions{})) }, "GET /v2/keys?quorum=false&recursive=false&sorted=false"},
		{func() error { return first(c.Get(ctx, "/a//b/../c d%/", GetOptions{})) }, "GET /v2/keys/a/c%20d%25/?quorum=false&recursive=false&sorted=false"},
		{func() error { return first(c.Get(ctx, "../../v2/auth", GetOptions{})) }, "GET /v2/keys/v2/auth?quorum=false&recursive=false&sorted=false"},
		{func() error { return first(c.Set(ctx, "k", "a&b=c", SetOptions{})) }, "PUT /v2/keys/k value=a%26b%3Dc"},
		{func() error {
			return first(c.Set(ctx, "k", "v", SetOptions{PrevValue: "p", PrevIndex: 7, PrevExist: Exists, TTLSeconds: 5, NoValueOnSuccess: true}))
		}, "PUT /v2/keys/k?noValueOnSuccess=true&prevExist=true&prevIndex=7&prevValue=p ttl=5&value=v"},
		{func() error { return first(c.Set(ctx, "k", "v", SetOptions{Refresh: true, TTLSeconds: 5})) }, "PUT /v2/keys/k refresh=true&ttl=5"},
		{func() error {
			return first(c.Set(ctx, "k", "v", SetOptions{Dir: true, PrevExist: Absent, TTLSeconds: 5}))
		}, "PUT /v2/keys/k?dir=true&prevExist=false ttl=5"},
		{func() error { return first(c.CreateInOrder(ctx, "k", "v", 5)) }, "POST /v2/keys/k ttl=5&value=v"},
		{func() error {
			return first(c.Delete(ctx, "k", DeleteOptions{PrevValue: "p", PrevIndex: 7, Dir: true, Recursive: true}))
		}, "DELETE /v2/keys/k?dir=true&prevIndex=7&prevValue=p&recursive=true"},
		{func() error { return first(c.Watch("k", WatchOptions{}).Next(ctx)) }, "GET /v2/keys/k?recursive=false&wait=true&waitIndex=0"},
		{func() error { return first(c.Watch("k", WatchOptions{AfterIndex: 7, Recursive: true}).Next(ctx)) }, "GET /v2/keys/k?recursive=true&wait=true&waitIndex=8"},
		{func() error { return first(c.Members(ctx)) }, "GET /v2/members"},
		{func() error { return first(c.Leader(ctx)) }, "GET /v2/members/leader"},
		{func() error { return first(c.LeaderStats(ctx)) }, "GET /v2/stats/leader"},
		{func() error { return first(c.Version(ctx)) }, "GET /version"},
		{func() error { return first(c.Health(ctx, s.URL)) }, "GET /health"},
		{func() error { return first(c.AuthEnabled(ctx)) }, "GET /v2/auth/enable"},
		{func() error { return c.EnableAuth(ctx) }, "PUT /v2/auth/enable"},
		{func() error { return c.DisableAuth(ctx) }, "DELETE /v2/auth/enable"},
		{func() error { return first(c.Users(ctx)) }, "GET /v2/auth/users"},
		{func() error { return first(c.User(ctx, "u")) }, "GET /v2/auth/users/u"},
		{func() error { return c.PutUser(ctx, "u", "p") }, `PUT /v2/auth/users/u {"user":"u","password":"p","roles":null}`},
		{func() error { return c.GrantUser(ctx, "u", []string{"r"}) }, `PUT /v2/auth/users/u {"user":"u","roles":null,"grant":["r"]}`},
		{func() error { return c.RevokeUser(ctx, "u", []string{"r"}) }, `PUT /v2/auth/users/u {"user":"u","roles":null,"revoke":["r"]}`},
		{func() error { return c.RemoveUser(ctx, "u") }, "DELETE /v2/auth/users/u"},
		{func() error { return first(c.Roles(ctx)) }, "GET /v2/auth/roles"},
		{func() error { return first(c.Role(ctx, "r")) }, "GET /v2/auth/roles/r"},
		{func() error { return c.AddRole(ctx, "r") }, `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}}}`},
		{func() error { return c.GrantRole(ctx, "r", Access{Read: []string{"/a"}}) }, `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}},"grant":{"kv":{"read":["/a"],"write":null}}}`},
		{func() error { return c.RevokeRole(ctx, "r", Access{Write: []string{"/a"}}) }, `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}},"revoke":{"kv":{"read":null,"write":["/a"]}}}`},
		{func() error { return c.RemoveRole(ctx, "r") }, "DELETE /v2/auth/roles/r"},
	} {
		before := len(s.requests())
		require.NoError(t, tc.call(), tc.want)
		require.Equal(t, []string{tc.want}, s.requests()[before:])
	}

	m := serve(t, answer{status: 201, body: `{"id":"a"}`}, answer{status: 204})
	c = connect(t, Config{}, m.URL)
	added, err := c.AddMember(ctx, "http://b:1", "http://a:1")
	require.NoError(t, err)
	require.Equal(t, "a", added.ID)
	require.NoError(t, c.UpdateMember(ctx, "a", []string{"http://c:1"}))
	require.NoError(t, c.RemoveMember(ctx, "a"))
	require.Equal(t, []string{`POST /v2/members {"peerURLs":["http://a:1","http://b:1"]}`, `PUT /v2/members/a {"peerURLs":["http://c:1"]}`, "DELETE /v2/members/a"}, m.requests())

	for _, name := range []string{"", ".", "..", "a/b"} { // they would be other things
		require.ErrorContains(t, c.RemoveMember(ctx, name), "is not a name")
		require.ErrorContains(t, c.UpdateMember(ctx, name, []string{"http://c:1"}), "is not a name")
		require.ErrorContains(t, c.PutUser(ctx, name, "p"), "is not a name")
		require.ErrorContains(t, c.RemoveUser(ctx, name), "is not a name")
		require.ErrorContains(t, c.AddRole(ctx, name), "is not a name")
		require.ErrorContains(t, c.RemoveRole(ctx, name), "is not a name")
	}
	_, err = c.AddMember(ctx, "b")
	require.EqualError(t, err, "URL scheme must be http, https, unix, or unixs: b")
	require.Len(t, m.requests(), 3, "bad URLs are refused here")
}

// What each part of the API answers when it refuses.
func TestRefusals(t *testing.T) {
	ctx := within(t)
	_, err := connect(t, Config{}, serve(t, answer{status: 404, body: `{"errorCode":100,"message":"Key not found","cause":"/nope","index":7}`}).URL).Get(ctx, "nope", GetOptions{})
	require.EqualError(t, err, "100: Key not found (/nope) [7]")
	c := connect(t, Config{}, serve(t, answer{status: 409, body: `{"message":"auth: already enabled"}`}).URL)
	require.EqualError(t, c.EnableAuth(ctx), "auth: already enabled")
	_, err = c.AddMember(ctx, "http://a:1")
	require.EqualError(t, err, "auth: already enabled")
	require.EqualError(t, connect(t, Config{}, serve(t, answer{status: 418, body: `{}`}).URL).EnableAuth(ctx), "unexpected status code 418")
	require.ErrorIs(t, connect(t, Config{}, serve(t, answer{status: 404, body: "404 page not found"}).URL).EnableAuth(ctx), ErrInvalidJSON)
	_, err = connect(t, Config{}, serve(t, answer{status: 200, body: "x"}).URL).Members(ctx)
	require.ErrorIs(t, err, ErrInvalidJSON)
	require.NoError(t, connect(t, Config{}, serve(t, answer{status: 410, body: `{"message":"Member permanently removed: a"}`}).URL).RemoveMember(ctx, "a"))
}

// G-65: the JSON that tools print is not the server's.
func TestResults(t *testing.T) {
	s := serve(t, answer{status: 200, header: "X-Etcd-Index: 9", body: `{"action":"get","node":{"key":"/d","dir":true,"expiration":"2031-05-04T10:20:30.5Z","ttl":28,"nodes":[{"key":"/d/k","value":"<v>","modifiedIndex":5,"createdIndex":4}],"modifiedIndex":4,"createdIndex":3},"prevNode":{"key":"/d","value":"","modifiedIndex":2,"createdIndex":1}}`})
	res, err := connect(t, Config{}, s.URL).Get(within(t), "d", GetOptions{})
	require.NoError(t, err)
	require.Equal(t, uint64(9), res.Index)
	b, err := json.Marshal(res)
	require.NoError(t, err)
	require.Equal(t, `{"action":"get","node":{"key":"/d","dir":true,"value":"","nodes":[{"key":"/d/k","value":"\u003cv\u003e","nodes":null,"createdIndex":4,"modifiedIndex":5}],"createdIndex":3,"modifiedIndex":4,"expiration":"2031-05-04T10:20:30.5Z","ttl":28},"prevNode":{"key":"/d","value":"","nodes":null,"createdIndex":1,"modifiedIndex":2}}`, string(b))

	hidden, err := connect(t, Config{}, serve(t, answer{status: 201, body: `{"action":"set"}`}).URL).Set(within(t), "k", "v", SetOptions{NoValueOnSuccess: true})
	require.NoError(t, err)
	require.Equal(t, &Node{}, hidden.Node)
}

// W-02, W-06: a watch that ends without an event is repeated, and goes on behind each event.
func TestWatcher(t *testing.T) {
	event := func(n string) answer {
		return answer{status: 200, body: `{"action":"set","node":{"key":"/k","value":"v","modifiedIndex":` + n + `,"createdIndex":1}}`}
	}
	s := serve(t, answer{status: 200}, event("5"), answer{status: 200}, event("8"), answer{status: 400, body: `{"errorCode":401,"message":"The event in requested index is outdated and cleared","cause":"the requested history has been cleared [9/8]","index":10}`})
	w := connect(t, Config{HeaderTimeout: time.Nanosecond}, s.URL).Watch("k", WatchOptions{AfterIndex: 3})
	for _, want := range []uint64{5, 8} {
		res, err := w.Next(within(t))
		require.NoError(t, err)
		require.Equal(t, want, res.Node.ModifiedIndex)
	}
	_, err := w.Next(within(t))
	require.EqualError(t, err, "401: The event in requested index is outdated and cleared (the requested history has been cleared [9/8]) [10]")
	var indexes []string
	for _, r := range s.requests() {
		indexes = append(indexes, r[len("GET /v2/keys/k?recursive=false&wait=true&waitIndex="):])
	}
	require.Equal(t, []string{"4", "4", "6", "6", "9"}, indexes)
}

// A watch ends with its context, while it waits and while it pauses.
func TestWatcherEndsWithItsContext(t *testing.T) {
	for _, a := range []answer{{status: 200, late: limit}, {status: 200}} {
		ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
		_, err := connect(t, Config{}, serve(t, a).URL).Watch("k", WatchOptions{}).Next(ctx)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

// roles come as names and as objects.
func TestUsers(t *testing.T) {
	c := connect(t, Config{}, serve(t, answer{status: 200, body: `{"user":"u","roles":[{"role":"a","permissions":{"kv":{"read":null,"write":null}}},"b"]}`}).URL)
	u, err := c.User(within(t), "u")
	require.NoError(t, err)
	require.Equal(t, &User{"u", []string{"a", "b"}}, u)
	_, err = connect(t, Config{}, serve(t, answer{status: 200, body: `{"user":"u","roles":[1]}`}).URL).User(within(t), "u")
	require.ErrorIs(t, err, ErrInvalidJSON)
	users, err := connect(t, Config{}, serve(t, answer{status: 200, body: `{"users":null}`}).URL).Users(within(t))
	require.NoError(t, err)
	require.Empty(t, users)
}

// C-C01: the word of a health page is a text or a bool; the status does not matter.
func TestHealth(t *testing.T) {
	for body, want := range map[string]bool{
		`{"health":"true"}`: true, `{"health": true}`: true, `{"health":"false","reason":"x"}` + "\n": false, `{"health":false}`: false, `{}`: false,
	} {
		s := serve(t, answer{status: 503, body: body})
		got, err := connect(t, Config{}, "http://nobody:1").Health(within(t), s.URL)
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
	closed := closedPort(t)
	_, err := connect(t, Config{}, "http://nobody:1").Health(within(t), closed)
	require.EqualError(t, err, `Get "`+closed+`/health": dial tcp `+closed[len("http://"):]+`: connect: connection refused`)
	_, err = connect(t, Config{}, "http://nobody:1").Health(within(t), serve(t, answer{status: 200, body: "x"}).URL)
	require.Error(t, err)
}
