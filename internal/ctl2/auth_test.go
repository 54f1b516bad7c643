package ctl2

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func replacer(pairs ...string) *strings.Replacer { return strings.NewReplacer(pairs...) }

// A-C01 to A-C15: what each command sends and says.
func TestAuthCommands(t *testing.T) {
	none := answer{status: 404, body: `{"message":"auth: Role r does not exist."}`}
	const role = `{"role":"r","permissions":{"kv":{"read":["/a","/b"],"write":["/c"]}}}`
	for _, c := range []struct {
		line, stdin string
		answers     map[string]answer
		want        result
		asked       []string
	}{
		{line: "auth enable", answers: map[string]answer{"PUT /v2/auth/enable": ok("")}, want: result{out: "Authentication Enabled\n"}, asked: []string{"PUT /v2/auth/enable"}},
		{line: "auth enable", answers: map[string]answer{"PUT /v2/auth/enable": {status: 409, body: `{"message":"auth: No root user available, please create one"}`}},
			want: result{err: "auth: No root user available, please create one\n", code: 1}, asked: []string{"PUT /v2/auth/enable"}},
		{line: "auth disable", answers: map[string]answer{"DELETE /v2/auth/enable": ok("")}, want: result{out: "Authentication Disabled\n"}, asked: []string{"DELETE /v2/auth/enable"}},
		{line: "user add u:p:q", answers: map[string]answer{"PUT /v2/auth/users/u": {status: 201, body: `{}`}}, want: result{out: "User u created\n"},
			asked: []string{`PUT /v2/auth/users/u {"user":"u","password":"p:q","roles":null}`}},
		{line: "user add u", stdin: "pw\n", answers: map[string]answer{"PUT /v2/auth/users/u": ok(`{}`)}, want: result{out: "New password: \nUser u created\n"},
			asked: []string{`PUT /v2/auth/users/u {"user":"u","password":"pw","roles":null}`}},
		{line: "user add u", answers: map[string]answer{"PUT /v2/auth/users/u": {status: 400, body: `{"message":"auth: Cannot create user u with an empty password"}`}},
			want: result{"New password: \n", "auth: Cannot create user u with an empty password\n", 1}, asked: []string{`PUT /v2/auth/users/u {"user":"u","roles":null}`}},
		{line: "user add a/b:p", want: result{err: "client: \"a/b\" is not a name\n", code: 1}},
		{line: "user get u", answers: map[string]answer{"GET /v2/auth/users/u": ok(`{"user":"u","roles":[{"role":"r1"},{"role":"r2"}]}`)}, want: result{out: "User: u\nRoles: r1 r2\n"}, asked: []string{"GET /v2/auth/users/u"}},
		{line: "user get u", answers: map[string]answer{"GET /v2/auth/users/u": ok(`{"user":"u"}`)}, want: result{out: "User: u\nRoles: \n"}, asked: []string{"GET /v2/auth/users/u"}},
		{line: "user list", answers: map[string]answer{"GET /v2/auth/users": ok(`{"users":[{"user":"a","roles":[{"role":"r"}]},{"user":"b"}]}`)}, want: result{out: "a\nb\n"}, asked: []string{"GET /v2/auth/users"}},
		{line: "user remove u", answers: map[string]answer{"DELETE /v2/auth/users/u": ok("")}, want: result{out: "User u removed\n"}, asked: []string{"DELETE /v2/auth/users/u"}},
		{line: "user grant u --roles a,b --roles c", answers: map[string]answer{"PUT /v2/auth/users/u": ok(`{}`)}, want: result{out: "User u updated\n"},
			asked: []string{`PUT /v2/auth/users/u {"user":"u","roles":null,"grant":["a","b","c"]}`}},
		{line: "user revoke --roles a u", answers: map[string]answer{"PUT /v2/auth/users/u": {status: 409, body: `{"message":"auth: Revoking ungranted role a for user u"}`}},
			want: result{err: "auth: Revoking ungranted role a for user u\n", code: 1}, asked: []string{`PUT /v2/auth/users/u {"user":"u","roles":null,"revoke":["a"]}`}},
		{line: "user passwd u", stdin: "pw\n", answers: map[string]answer{"GET /v2/auth/users/u": ok(`{"user":"u"}`), "PUT /v2/auth/users/u": ok(`{}`)}, want: result{out: "New password: \nPassword updated\n"},
			asked: []string{"GET /v2/auth/users/u", `PUT /v2/auth/users/u {"user":"u","password":"pw","roles":null}`}},
		{line: "user passwd u", stdin: "pw\n", answers: map[string]answer{"GET /v2/auth/users/u": {status: 404, body: `{"message":"auth: User u does not exist."}`}},
			want: result{err: "auth: User u does not exist.\n", code: 1}, asked: []string{"GET /v2/auth/users/u"}},
		{line: "role add r", answers: map[string]answer{"GET /v2/auth/roles/r": none, "PUT /v2/auth/roles/r": {status: 201, body: role}}, want: result{out: "Role r created\n"},
			asked: []string{"GET /v2/auth/roles/r", `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}}}`}},
		{line: "role add r", answers: map[string]answer{"GET /v2/auth/roles/r": ok(role)}, want: result{err: "Role r already exists\n", code: 1}, asked: []string{"GET /v2/auth/roles/r"}},
		{line: "role get r", answers: map[string]answer{"GET /v2/auth/roles/r": ok(role)}, want: result{out: "Role: r\nKV Read:\n\t/a\n\t/b\nKV Write:\n\t/c\n"}, asked: []string{"GET /v2/auth/roles/r"}},
		{line: "role list", answers: map[string]answer{"GET /v2/auth/roles": ok(`{"roles":[` + role + `,{"role":"root"}]}`)}, want: result{out: "r\nroot\n"}, asked: []string{"GET /v2/auth/roles"}},
		{line: "role remove r", answers: map[string]answer{"DELETE /v2/auth/roles/r": ok("")}, want: result{out: "Role r removed\n"}, asked: []string{"DELETE /v2/auth/roles/r"}},
		{line: "role grant r --path /a --read", answers: map[string]answer{"GET /v2/auth/roles/r": ok(role), "PUT /v2/auth/roles/r": ok(role)}, want: result{out: "Role r updated\n"},
			asked: []string{"GET /v2/auth/roles/r", `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}},"grant":{"kv":{"read":["/a"],"write":null}}}`}},
		{line: "role grant r --path /a/ --write", answers: map[string]answer{"GET /v2/auth/roles/r": ok(role), "PUT /v2/auth/roles/r": ok(role)}, want: result{out: "Role r updated\n"},
			asked: []string{"GET /v2/auth/roles/r", `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}},"grant":{"kv":{"read":null,"write":["/a/"]}}}`}},
		{line: "role revoke r --path /a/* --rw", answers: map[string]answer{"GET /v2/auth/roles/r": ok(role), "PUT /v2/auth/roles/r": ok(role)}, want: result{out: "Role r updated\n"},
			asked: []string{"GET /v2/auth/roles/r", `PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":null,"write":null}},"revoke":{"kv":{"read":["/a/*"],"write":["/a/*"]}}}`}},
		{line: "role grant r --path /a --readwrite", answers: map[string]answer{"GET /v2/auth/roles/r": none}, want: result{err: "auth: Role r does not exist.\n", code: 1}, asked: []string{"GET /v2/auth/roles/r"}},
	} {
		s := serve(t)
		for what, a := range c.answers {
			s.on(what, a)
		}
		require.Equal(t, c.want, run(t, s, c.stdin, words(c.line)...), c.line)
		require.Equal(t, c.asked, s.requests(), c.line)
	}
}

// Two questions are answered by two lines.
func TestTwoPasswords(t *testing.T) {
	s := serve(t)
	s.on("GET /v2/auth/users/u", ok(`{"user":"u"}`))
	s.on("PUT /v2/auth/users/u", ok(`{}`))
	require.Equal(t, result{out: "Password: \nNew password: \nPassword updated\n"}, run(t, s, "rootpw\nnewpw\n", "--no-sync", "-u", "root", "user", "passwd", "u"))
	require.Equal(t, []string{"GET /v2/auth/users/u as root:rootpw", `PUT /v2/auth/users/u {"user":"u","password":"newpw","roles":null} as root:rootpw`}, s.requests())
}

// B-C01, B-C04.
func TestBackup(t *testing.T) {
	line := regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} `)
	for _, c := range []struct {
		line string
		want Backup
		err  string
	}{
		{"backup --data-dir a --backup-dir b", Backup{DataDir: "a", BackupDir: "b"}, ""},
		{"backup --data-dir a --backup-dir b --wal-dir c --backup-wal-dir d --with-v3", Backup{"a", "c", "b", "d"}, ""},
		{"backup --data-dir a", Backup{}, "--data-dir and --backup-dir have to be given\n"},
		{"backup --data-dir a --backup-dir bad", Backup{DataDir: "a", BackupDir: "bad"}, "no room\n"},
	} {
		p, out, errs := program(t, nil, "", words(c.line)...)
		var got Backup
		p.Backup = func(b Backup) error {
			if got = b; b.BackupDir == "bad" {
				return errors.New("no room")
			}
			return nil
		}
		code := p.Run()
		require.Equal(t, c.want, got)
		require.Empty(t, out.String())
		require.Equal(t, c.err, line.ReplaceAllString(errs.String(), ""))
		require.Equal(t, c.err != "", code == 1)
	}
	require.Equal(t, 1, run(t, nil, "", "backup", "--data-dir", "a", "--backup-dir", "b").code)
}
