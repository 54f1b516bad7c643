package ctl

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

func headerOnly(rev string) string { return `{"header":` + at(header, rev) + "}\n" }

func TestAuth(t *testing.T) {
	root := func(s *fake.Server) { s.SetUser("root", "p") }
	try(t, []example{
		{setup: root, args: "auth enable", want: result{out: "Authentication Enabled\n"}},
		{args: "auth enable", want: result{err: "Error: etcdserver: root user does not exist\n", code: 1}},
		{args: "auth disable -w json", want: result{out: "Authentication Disabled\n"}},
		{args: "auth status", want: result{out: "Authentication Status: false\nAuthRevision: 5\n"}},
		{setup: func(s *fake.Server) { s.EnableAuth() }, args: "auth status -w json", want: result{out: `{"header":` + at(header, "1") + `,"enabled":true,"authRevision":5}` + "\n"}},
		{args: "auth enable x", want: result{err: "Error: auth enable command does not accept any arguments\n", code: 128}},
		{args: "auth disable x", want: result{err: "Error: auth disable command does not accept any arguments\n", code: 128}},
		{args: "auth status x", want: result{err: "Error: auth status command does not accept any arguments\n", code: 128}},
	})
	s := fake.Start(t)
	root(s)
	require.Equal(t, 0, run(t, s, "", "auth", "enable").code)
	require.Equal(t, "root", s.Calls("Auth/RoleAdd")[0].Req.(*pb.AuthRoleAddRequest).Name)
	require.Equal(t, "root", s.Calls("Auth/UserGrantRole")[0].Req.(*pb.AuthUserGrantRoleRequest).Role)
}

func TestUser(t *testing.T) {
	alice := func(s *fake.Server) { s.SetUser("alice", "p", "r1", "r2") }
	bare := func(s *fake.Server) { s.SetUser("alice", "p") }
	detailed := func(s *fake.Server) {
		alice(s)
		s.RoleAdd(context.Background(), &pb.AuthRoleAddRequest{Name: "r1"})
		s.RoleGrantPermission(context.Background(), &pb.AuthRoleGrantPermissionRequest{Name: "r1", Perm: &authpb.Permission{Key: []byte("/a")}})
		s.RoleAdd(context.Background(), &pb.AuthRoleAddRequest{Name: "r2"})
	}
	ask := "Password of alice: \nType password of alice again for confirmation: \n"
	try(t, []example{
		{args: "user add alice:pw", want: result{out: "User alice created\n"}},
		{args: "user add alice:pw -w json", want: result{out: headerOnly("1")}},
		{args: "user add alice:pw -w fields", want: result{out: at(fieldHeader, "1")}},
		{args: "user add alice", stdin: "pw\npw\n", want: result{out: "User alice created\n", err: ask}},
		{args: "user add alice", stdin: "pw\nother\n", want: result{err: ask + "Error: given passwords are different\n", code: 128}},
		{args: "user add alice", stdin: "\n", want: result{err: "Password of alice: \nError: empty password\n", code: 128}},
		{args: "user add alice", want: result{err: "Password of alice: \nError: failed to ask password: EOF\n", code: 128}},
		{args: "user add alice --interactive=false", stdin: " pw x", want: result{out: "User alice created\n"}},
		{args: "user add :pw", want: result{err: "Error: empty user name is not allowed\n", code: 128}},
		{args: "user add", want: result{err: "Error: user add command requires user name as its argument\n", code: 128}},
		{setup: alice, args: "user add alice:x", want: result{err: "Error: etcdserver: user name already exists\n", code: 1}},
		{args: "user delete alice", want: result{out: "User alice deleted\n"}},
		{args: "user delete", want: result{err: "Error: user delete command requires user name as its argument\n", code: 128}},
		{setup: alice, args: "user get alice", want: result{out: "User: alice\nRoles: r1 r2\n"}},
		{setup: bare, args: "user get alice", want: result{out: "User: alice\nRoles:\n"}},
		{setup: alice, args: "user get alice -w json", want: result{out: `{"header":` + at(header, "1") + `,"roles":["r1","r2"]}` + "\n"}},
		{setup: alice, args: "user get alice -w fields", want: result{err: "Error: fields not supported as output format\n", code: 4}},
		{setup: detailed, args: "user get alice --detail", want: result{out: "User: alice\n\nRole r1\nKV Read:\n\t/a\nKV Write:\n\nRole r2\nKV Read:\nKV Write:\n"}},
		{args: "user get bob", want: result{err: "Error: etcdserver: user name not found\n", code: 1}},
		{args: "user get", want: result{err: "Error: user get command requires user name as its argument\n", code: 128}},
		{setup: alice, args: "user list", want: result{out: "alice\n"}},
		{setup: alice, args: "user list -w json", want: result{out: `{"header":` + at(header, "1") + `,"users":["alice"]}` + "\n"}},
		{args: "user list x", want: result{err: "Error: user list command requires no arguments\n", code: 128}},
		{setup: alice, args: "user passwd alice", stdin: "n\nn\n", want: result{out: "Password updated\n", err: ask}},
		{setup: alice, args: "user passwd alice --interactive=false -w json", stdin: "n", want: result{out: headerOnly("1")}},
		{args: "user passwd", want: result{err: "Error: user passwd command requires user name as its argument\n", code: 128}},
		{setup: alice, args: "user grant-role alice r3", want: result{out: "Role r3 is granted to user alice\n"}},
		{args: "user grant-role alice", want: result{err: "Error: user grant command requires user name and role name as its argument\n", code: 128}},
		{setup: alice, args: "user revoke-role alice r1", want: result{out: "Role r1 is revoked from user alice\n"}},
		{args: "user revoke-role alice r1", want: result{err: "Error: etcdserver: role is not granted to the user\n", code: 1}},
		{args: "user revoke-role alice", want: result{err: "Error: user revoke-role requires user name and role name as its argument\n", code: 128}},
	})
}

func TestUserAddOnTheWire(t *testing.T) {
	for _, tc := range []struct {
		args           []string
		name, password string
		noPassword     bool
	}{
		{[]string{"a:b:c"}, "a", "b:c", false},
		{[]string{"a:"}, "a", "", false},
		{[]string{"a:b", "--no-password"}, "a:b", "", true},
		{[]string{"a:b", "--new-user-password", "c"}, "a:b", "c", false},
	} {
		s := fake.Start(t)
		require.Equal(t, 0, run(t, s, "", append([]string{"user", "add"}, tc.args...)...).code)
		r := s.Calls("Auth/UserAdd")[0].Req.(*pb.AuthUserAddRequest)
		require.Equal(t, tc.name, r.Name)
		require.Equal(t, tc.password, r.Password)
		require.Equal(t, tc.noPassword, r.Options.NoPassword)
	}
}

func TestRole(t *testing.T) {
	ctx := context.Background()
	perms := func(s *fake.Server) {
		s.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "r1"})
		for _, p := range []*authpb.Permission{
			{Key: []byte("/a")},
			{PermType: authpb.Permission_READWRITE, Key: []byte("/p/"), RangeEnd: []byte("/p0")},
			{PermType: authpb.Permission_WRITE, Key: []byte("/z"), RangeEnd: []byte{0}},
			{PermType: authpb.Permission_WRITE, Key: []byte("a"), RangeEnd: []byte("c")},
		} {
			s.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r1", Perm: p})
		}
	}
	root := func(s *fake.Server) { s.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "root"}) }
	try(t, []example{
		{args: "role add r1", want: result{out: "Role r1 created\n"}},
		{args: "role add r1 -w json", want: result{out: headerOnly("1")}},
		{args: "role add", want: result{err: "Error: role add command requires role name as its argument\n", code: 128}},
		{setup: perms, args: "role delete r1", want: result{out: "Role r1 deleted\n"}},
		{args: "role delete r1", want: result{err: "Error: etcdserver: role name not found\n", code: 1}},
		{args: "role delete", want: result{err: "Error: role delete command requires role name as its argument\n", code: 128}},
		{setup: perms, args: "role list", want: result{out: "r1\n"}},
		{setup: perms, args: "role list -w json", want: result{out: `{"header":` + at(header, "1") + `,"roles":["r1"]}` + "\n"}},
		{setup: func(s *fake.Server) { perms(s); root(s) }, args: "role list -w fields", want: result{out: at(fieldHeader, "1") + "\"Roles\" : \"r1\" \"root\"\n"}},
		{args: "role list x", want: result{err: "Error: role list command requires no arguments\n", code: 128}},
		{setup: perms, args: "role get r1", want: result{out: "Role r1\nKV Read:\n\t/a\n\t[/p/, /p0) (prefix /p/)\nKV Write:\n\t[/p/, /p0) (prefix /p/)\n\t[/z, <open ended>\n\t[a, c)\n"}},
		{setup: root, args: "role get root", want: result{out: "Role root\nKV Read:\n\t[, <open ended>\nKV Write:\n\t[, <open ended>\n"}},
		{setup: perms, args: "role get r1 -w json", want: result{out: `{"header":` + at(header, "1") +
			`,"perm":[{"key":"L2E="},{"permType":2,"key":"L3Av","range_end":"L3Aw"},{"permType":1,"key":"L3o=","range_end":"AA=="},{"permType":1,"key":"YQ==","range_end":"Yw=="}]}` + "\n"}},
		{setup: perms, args: "role get r1 -w fields", want: result{out: at(fieldHeader, "1") +
			"\"PermType\" :  READ\n\"Key\" : \"/a\"\n\"RangeEnd\" : \"\"\n\"PermType\" :  READWRITE\n\"Key\" : \"/p/\"\n\"RangeEnd\" : \"/p0\"\n" +
			"\"PermType\" :  WRITE\n\"Key\" : \"/z\"\n\"RangeEnd\" : \"\\x00\"\n\"PermType\" :  WRITE\n\"Key\" : \"a\"\n\"RangeEnd\" : \"c\"\n"}},
		{args: "role get", want: result{err: "Error: role get command requires role name as its argument\n", code: 128}},
		{args: "role grant-permission r1 read k", want: result{out: "Role r1 updated\n"}},
		{args: "role grant-permission r1 frob k", want: result{err: "Error: invalid permission type: frob\n", code: 128}},
		{args: "role grant-permission r1 read", want: result{err: "Error: role grant command requires role name, permission type, and key [endkey] as its argument\n", code: 128}},
		{args: "role revoke-permission r1 k", want: result{out: "Permission of key k is revoked from role r1\n"}},
		{args: "role revoke-permission r1 k e", want: result{out: "Permission of range [k, e) is revoked from role r1\n"}},
		{args: "role revoke-permission r1 k --prefix", want: result{out: "Permission of range [k, l) is revoked from role r1\n"}},
		{args: "role revoke-permission r1 k --from-key", want: result{out: "Permission of range [k, <open ended> is revoked from role r1\n"}},
		{args: "role revoke-permission r1 '' --prefix", want: result{out: "Permission of range [, <open ended> is revoked from role r1\n"}},
		{args: "role revoke-permission r1", want: result{err: "Error: role revoke-permission command requires role name and key [endkey] as its argument\n", code: 128}},
	})
}

func TestRoleRanges(t *testing.T) {
	for _, tc := range []struct {
		words    []string
		key, end string
		err      string
	}{
		{[]string{"k"}, "k", "", ""},
		{[]string{"k", "e"}, "k", "e", ""},
		{[]string{"k", "--prefix"}, "k", "l", ""},
		{[]string{"k", "--from-key"}, "k", "\x00", ""},
		{[]string{"k", "e", "--prefix"}, "", "", "unexpected endkey argument with --prefix flag"},
		{[]string{"k", "e", "--from-key"}, "", "", "unexpected endkey argument with --from-key flag"},
		{[]string{"k", "--prefix", "--from-key"}, "", "", "--from-key and --prefix flags are mutually exclusive"},
		{[]string{"", "--prefix"}, "\x00", "\x00", ""},
		{[]string{"", "e", "--from-key"}, "\x00", "\x00", ""},
		{[]string{""}, "\x00", "", ""},
	} {
		s := fake.Start(t)
		got := run(t, s, "", append([]string{"role", "grant-permission", "r", "READwrite"}, tc.words...)...)
		if tc.err != "" {
			require.Equal(t, result{err: "Error: " + tc.err + "\n", code: 128}, got)
			continue
		}
		p := s.Calls("Auth/RoleGrantPermission")[0].Req.(*pb.AuthRoleGrantPermissionRequest).Perm
		require.Equal(t, tc.key, string(p.Key), "%q", tc.words)
		require.Equal(t, tc.end, string(p.RangeEnd), "%q", tc.words)
		require.Equal(t, authpb.Permission_READWRITE, p.PermType)
	}
}
