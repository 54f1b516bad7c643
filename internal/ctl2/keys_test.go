package ctl2

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Section 7: what each command sends.
func TestKeyRequests(t *testing.T) {
	s := serve(t)
	for _, m := range []string{"GET", "PUT", "POST", "DELETE"} {
		s.on(m+" /v2/keys/foo", ok(event("set", node("/foo", "v", ""))))
		s.on(m+" /v2/keys/foo/", ok(event("set", node("/foo", "v", ""))))
		s.on(m+" /v2/keys/", ok(event("get", `{"dir":true}`)))
	}
	for line, want := range map[string]string{
		"get foo":                  "GET /v2/keys/foo?quorum=false&recursive=false&sorted=false",
		"get --sort --quorum /foo": "GET /v2/keys/foo?quorum=true&recursive=false&sorted=true",
		"get -q foo/":              "GET /v2/keys/foo/?quorum=true&recursive=false&sorted=false",
		"get /a//../foo":           "GET /v2/keys/foo?quorum=false&recursive=false&sorted=false",
		"get ../../foo":            "GET /v2/keys/foo?quorum=false&recursive=false&sorted=false",
		"ls":                       "GET /v2/keys/?quorum=false&recursive=false&sorted=false",
		"ls -r -q -p --sort foo":   "GET /v2/keys/foo?quorum=true&recursive=true&sorted=true",
		"set foo a&b":              "PUT /v2/keys/foo value=a%26b",
		"set foo v --ttl 5 --swap-with-value p --swap-with-index 7": "PUT /v2/keys/foo?prevIndex=7&prevValue=p ttl=5&value=v",
		"mk foo v --ttl 5":                        "PUT /v2/keys/foo?prevExist=false ttl=5&value=v",
		"mk --in-order --ttl 5 foo v":             "POST /v2/keys/foo ttl=5&value=v",
		"update foo v --ttl 5":                    "PUT /v2/keys/foo?prevExist=true ttl=5&value=v",
		"mkdir foo":                               "PUT /v2/keys/foo?dir=true&prevExist=false",
		"mkdir foo --ttl 5":                       "PUT /v2/keys/foo?dir=true&prevExist=false ttl=5",
		"setdir foo --ttl 5":                      "PUT /v2/keys/foo?dir=true ttl=5",
		"updatedir foo ignored":                   "PUT /v2/keys/foo?dir=true&prevExist=true",
		"rm foo":                                  "DELETE /v2/keys/foo",
		"rm --dir foo":                            "DELETE /v2/keys/foo?dir=true",
		"rm -r --with-value p --with-index 7 foo": "DELETE /v2/keys/foo?prevIndex=7&prevValue=p&recursive=true",
		"rmdir foo":                               "DELETE /v2/keys/foo?dir=true",
	} {
		r := run(t, s, "", words(line)...)
		require.Equal(t, 0, r.code, "%s: %s", line, r.err)
		require.Equal(t, []string{want}, s.requests(), line)
	}
}

// A value that is not there is all of standard input.
func TestValueFromInput(t *testing.T) {
	s := serve(t)
	s.on("PUT /v2/keys/foo", ok(event("set", node("/foo", "v", ""))))
	run(t, s, "two\nlines\n", "set", "foo")
	require.Equal(t, []string{"PUT /v2/keys/foo value=two%0Alines%0A"}, s.requests())
	r := run(t, s, strings.Repeat("x", mostValue+1), "set", "foo")
	require.Equal(t, result{err: "Error:  the value has more than 67108864 bytes\n", code: 1}, r)
	require.Empty(t, s.requests())
}

// G-60 to G-68.
func TestFormats(t *testing.T) {
	s := serve(t)
	prev := `,"prevNode":` + node("/k", "old", "")
	set := strings.TrimSuffix(event("set", node("/k", "new", `,"expiration":"2031-05-04T10:20:30.5Z","ttl":30`)), "}") + prev + "}"
	del := strings.TrimSuffix(event("delete", `{"key":"/k","modifiedIndex":5,"createdIndex":4}`), "}") + prev + "}"
	cad := strings.ReplaceAll(del, `"delete"`, `"compareAndDelete"`)
	s.on("PUT /v2/keys/k", ok(set))
	s.on("GET /v2/keys/d", ok(event("get", `{"key":"/d","dir":true,"nodes":[`+dirNode+`,`+node("/d/k", "v", "")+`],"modifiedIndex":5,"createdIndex":4}`)))
	s.on("GET /v2/keys/", ok(event("get", `{"dir":true}`)))
	s.on("GET /v2/keys/k", ok(event("get", node("/k", "v", ""))))
	s.on("PUT /v2/keys/d", ok(event("set", dirNode)))
	dir := "Key: /d\nCreated-Index: 4\nModified-Index: 5\nTTL: 0\nIndex: 9\n\n\n"
	for _, c := range []struct {
		line, answer string // what a deletion is answered with
		want         result
	}{
		{"set k new", "", result{out: "new\n"}},
		{"-o extended set k new", "", result{out: "Key: /k\nCreated-Index: 4\nModified-Index: 5\nPrevNode.Value: old\nTTL: 30\nIndex: 9\n\nnew\n"}},
		{"-o json set k new", "", result{out: `{"action":"set","node":{"key":"/k","value":"new","nodes":null,"createdIndex":4,"modifiedIndex":5,"expiration":"2031-05-04T10:20:30.5Z","ttl":30},"prevNode":{"key":"/k","value":"old","nodes":null,"createdIndex":4,"modifiedIndex":5}}` + "\n"}},
		{"-o yaml set k new", "", result{err: "Unsupported output format: yaml\n"}},
		{"--output= set k new", "", result{err: "Unsupported output format: \n"}},
		{"rm k", del, result{out: "PrevNode.Value: old\n"}},
		{"rm k --with-value old", cad, result{out: "\n"}},
		{"-o extended rm k", del, result{out: "Key: /k\nCreated-Index: 4\nModified-Index: 5\nPrevNode.Value: old\nTTL: 0\nIndex: 9\n"}},
		{"-o extended rm k", cad, result{out: "Key: /k\nCreated-Index: 4\nModified-Index: 5\nPrevNode.Value: old\nTTL: 0\nIndex: 9\n\n\n"}},
		{"rm k", event("delete", `{"key":"/k"}`), result{out: "PrevNode.Value: \n"}},
		{"rm --dir k", event("delete", dirNode), result{}},
		{"rmdir k", event("delete", dirNode), result{}},
		{"-o extended rmdir k", event("delete", dirNode), result{out: strings.TrimSuffix(dir, "\n\n")}},
		{"setdir d", "", result{}},
		{"-o extended setdir d", "", result{out: dir}},
		{"-o yaml setdir d", "", result{err: "Unsupported output format: yaml\n"}},
		{"updatedir k", "", result{}}, // K-C05: silent also when it empties a key
		{"get d", "", result{err: "/d: is a directory\n", code: 1}},
		{"-o json get d", "", result{err: "/d: is a directory\n", code: 1}},
		{"get /", "", result{err: ": is a directory\n", code: 1}},
		{"ls d", "", result{out: "/d\n/d/k\n"}},
		{"ls -p d", "", result{out: "/d/\n/d/k\n"}},
		{"ls", "", result{}},
		{"ls k", "", result{out: "/k\n"}},
		{"-o extended ls d", "", result{out: dir}},
		{"-o json ls", "", result{out: `{"action":"get","node":{"key":"","dir":true,"value":"","nodes":null,"createdIndex":0,"modifiedIndex":0},"prevNode":null}` + "\n"}},
		{"get nope", "", result{err: "Error:  100: Key not found (/nope) [7]\n", code: 4}},
		{"-o json get nope", "", result{err: "Error:  100: Key not found (/nope) [7]\n", code: 4}},
	} {
		s.on("DELETE /v2/keys/k", ok(c.answer))
		require.Equal(t, c.want, run(t, s, "", words(c.line)...), c.line)
	}
	s.on("GET /v2/keys/deep", ok(event("get", `{"key":"/deep","dir":true,"nodes":[{"key":"/deep/a","dir":true,"nodes":[`+node("/deep/a/b", "v", "")+`]},`+node("/deep/c", "v", "")+`]}`)))
	require.Equal(t, result{out: "/deep/a/\n/deep/a/b\n/deep/c\n"}, run(t, s, "", words("ls -p -r deep")...), "K-C04: parents come first")
}
