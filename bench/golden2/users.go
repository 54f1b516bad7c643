package golden2

import (
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	usersPath  = "/v2/auth/users"
	rolesPath  = "/v2/auth/roles"
	enablePath = "/v2/auth/enable"
)

// users is a phase in which permissions are on, for some of its requests. Each password costs etcd a tenth of a second, so
// it is short.
func (r *run) users(requests int) error {
	g := r.gen
	// A name or an address that is often wrong has to wait at cairn. So each phase has a new address.
	r.phases++
	r.cairn.from = fmt.Sprintf("127.1.%d.%d", r.phases/250, 1+r.phases%250)
	r.cairn.hangUp()
	if _, err := r.ask(userRequest("PUT", usersPath+"/root", `{"user":"root","password":"pw"}`, "")); err != nil {
		return err
	}
	for range requests {
		if _, err := r.ask(g.user()); err != nil {
			return err
		}
	}
	return r.noUsers()
}

// noUsers removes all that the phase has left.
func (r *run) noUsers() error {
	const root = "root:pw"
	if _, err := r.ask(userRequest("DELETE", enablePath, "", root)); err != nil {
		return err
	}
	for _, p := range []string{usersPath + "/root", usersPath + "/u", usersPath + "/w", usersPath + "/é", rolesPath + "/r", rolesPath + "/s", rolesPath + "/guest"} {
		if _, err := r.ask(userRequest("DELETE", p, "", root)); err != nil {
			return err
		}
	}
	a, err := r.ask(userRequest("GET", usersPath, "", ""))
	if err == nil && a.status != 200 {
		err = fmt.Errorf("permissions are still on: %s%s", a, r.history(&request{}))
	}
	return err
}

func userRequest(method, target, body, credentials string) *request {
	q := &request{method: method, target: target, body: body}
	switch {
	case credentials == "":
	case strings.Contains(credentials, " "):
		q.head = append(q.head, "Authorization: "+credentials)
	default:
		q.head = append(q.head, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	}
	return q
}

func (g *generator) credentials() string {
	if g.chance(2) { // wrong ones
		return g.one("root:wrong", "nobody:x", "Basic x", "Bearer x", "u:", "Basic "+base64.StdEncoding.EncodeToString([]byte("noseparator")))
	}
	return g.one("root:pw", "root:pw", "root:pw", "root:pw", "root:pw", "u:pw", "w:pw", "", "")
}

// user makes a request of the phase: for users and roles, or for keys.
func (g *generator) user() *request {
	as := g.credentials()
	switch n := g.rnd.IntN(100); {
	case n < 30:
		q := g.keys()
		if g.chance(50) {
			q.target, q.path = "/v2/keys"+g.one("/foo", "/foo/", "/foo/a", "/foobar", "", "/", "/a"), "/foo"
			q.unsorted = true
		}
		q.head = append(q.head, userRequest("", "", "", as).head...)
		return q
	case n < 38:
		return userRequest(g.one("GET", "PUT", "PUT", "PUT", "DELETE"), enablePath, "", as)
	case n < 65:
		name := g.one("u", "u", "u", "w", "w", "root", "é", "nobody")
		shown := name
		if g.chance(4) {
			shown = g.one("x", "", "u")
		}
		target := usersPath + "/" + escape(name)
		if g.chance(3) {
			target = g.one(usersPath, usersPath+"/", usersPath+"/a/b", target+"/")
		}
		return userRequest(g.one("PUT", "PUT", "PUT", "PUT", "GET", "DELETE"), target, g.userBody(shown), as)
	case n < 90:
		name := g.one("r", "r", "r", "s", "s", "guest", "root", "none")
		shown := name
		if g.chance(4) {
			shown = g.one("x", "", "r")
		}
		target := rolesPath + "/" + name
		if g.chance(3) {
			target = g.one(rolesPath, rolesPath+"/", rolesPath+"/a/b", target+"/")
		}
		return userRequest(g.one("PUT", "PUT", "PUT", "PUT", "GET", "DELETE"), target, g.roleBody(shown), as)
	case n < 96:
		return userRequest("GET", g.one(usersPath, rolesPath, usersPath+"/", rolesPath+"/"), "", as)
	}
	q := g.members()
	q.head = append(q.head, userRequest("", "", "", as).head...)
	return q
}

func (g *generator) list(of ...string) string {
	var out []string
	for range g.rnd.IntN(3) {
		out = append(out, `"`+g.one(of...)+`"`)
	}
	return "[" + strings.Join(out, ",") + "]"
}

func (g *generator) userBody(name string) string {
	if g.chance(4) {
		return g.one("", "nothing", "[]", "{}", `{"user":1}`, `{"user":"`+name+`"}trailing`, `null`)
	}
	b := `{"user":"` + name + `"`
	if g.chance(50) {
		b += `,"password":"` + g.one("pw", "pw", "pw", "") + `"`
	}
	for _, f := range []struct {
		name    string
		percent float64
	}{{"roles", 15}, {"grant", 35}, {"revoke", 20}} {
		if g.chance(f.percent) {
			b += `,"` + f.name + `":` + g.list("r", "s", "root", "none", "guest")
		}
	}
	return b + "}"
}

func (g *generator) permissions() string {
	if g.chance(5) {
		return g.one("null", "{}", `{"kv":{}}`, `{"kv":null}`)
	}
	b := `{"kv":{`
	sep := ""
	for _, kind := range []string{"read", "write"} {
		if g.chance(75) {
			b += sep + `"` + kind + `":` + g.list("/foo", "/foo/*", "/*", "*", "/foo*", "/a/*", "/b", "/foo/", "")
			sep = ","
		}
	}
	return b + "}}"
}

func (g *generator) roleBody(name string) string {
	if g.chance(4) {
		return g.one("", "nothing", "[]", "{}", `{"role":1}`, `{"role":"`+name+`"}trailing`)
	}
	b := `{"role":"` + name + `"`
	for _, f := range []struct {
		name    string
		percent float64
	}{{"permissions", 35}, {"grant", 40}, {"revoke", 25}} {
		if g.chance(f.percent) {
			b += `,"` + f.name + `":` + g.permissions()
		}
	}
	return b + "}"
}
