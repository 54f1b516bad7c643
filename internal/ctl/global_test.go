package ctl

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// The formats of every command: s(imple), f(ields), j(son), t(able), p(rotobuf);
// "plain" commands take any word.
func TestFormatMatrix(t *testing.T) {
	snap := filepath.Join(t.TempDir(), "snap")
	letters := map[string]string{"s": "simple", "f": "fields", "j": "json", "t": "table", "p": "protobuf"}
	for args, have := range map[string]string{
		"get k": "sfjp", "put k v": "sfjp", "del k": "sfjp", "txn": "sfjp",
		"lease grant 60": "sfj", "lease revoke 694d7550f0e4bb0c": "sfj", "lease timetolive 1": "sfj",
		"lease list": "sfj", "lease keep-alive 1": "sfj",
		"member list": "sfjtp", "member add m --peer-urls http://h:1": "sjp",
		"member remove 8e9e05c52164694d": "sjp", "member update 8e9e05c52164694d --peer-urls http://h:1": "sjp",
		"member promote 8e9e05c52164694d": "sjp",
		"endpoint health":                 "sfjt", "endpoint status": "sfjt", "endpoint hashkv": "sfjt",
		"alarm list": "sfjp", "alarm disarm": "sfjp", "move-leader 1": "sjp",
		"downgrade validate 3.6": "sjp", "downgrade cancel": "sjp", "auth status": "sjp",
		"user add a:b": "sfjp", "user delete alice": "sfjp", "user grant-role alice r": "sfjp",
		"user revoke-role alice r1": "sfjp", "user passwd alice --interactive=false": "sfjp",
		"user get alice": "sjp", "user list": "sjp",
		"role add r2": "sfjp", "role delete r1": "sfjp", "role get r1": "sfjp", "role list": "sfjp",
		"role grant-permission r1 read k": "sfjp", "role revoke-permission r1 k": "sfjp",
		"limit set --prefix p --max-keys 1": "sfjp", "limit remove --prefix a/": "sfjp", "limit list": "sfjtp",
		"compaction 1": "plain", "defrag": "plain", "auth disable": "plain", "snapshot save " + snap: "plain",
	} {
		stdin := ""
		if strings.Contains(args, "passwd") {
			stdin = "pw"
		}
		for letter, name := range letters {
			s := fake.Start(t)
			s.Blob = make([]byte, 32)
			leased(s)
			s.SetUser("alice", "p", "r1")
			require.Equal(t, 0, run(t, s, "", "limit", "set", "--prefix", "a/", "--max-keys", "1").code)
			require.Equal(t, 0, run(t, s, "", "role", "add", "r1").code)
			before := len(s.Calls("Maintenance/Status")) + len(s.Calls("KV/Range"))
			got := run(t, s, stdin, append(strings.Fields(args), "-w", name)...)
			if have == "plain" || strings.Contains(have, letter) {
				require.Equal(t, 0, got.code, "%s -w %s: %s", args, name, got.err)
				continue
			}
			require.Equal(t, result{err: "Error: " + name + " not supported as output format\n", code: 4}, got, "%s -w %s", args, name)
			require.Equal(t, before, len(s.Calls("Maintenance/Status"))+len(s.Calls("KV/Range")), "refused before the call")
		}
	}
}

func TestEnvironment(t *testing.T) {
	s := fake.Start(t)
	s.Set("foo=bar")
	json := `{"header":` + at(header, "2") + `,"kvs":[` + kvJSON + `],"count":1}` + "\n"
	for _, tc := range []struct {
		name      string
		env, args string
		want      result
	}{
		{"a variable sets its flag", "ETCDCTL_WRITE_OUT=json", "get foo", result{out: json}},
		{"the flag wins", "ETCDCTL_WRITE_OUT=json", "get foo -w simple", result{out: "foo\nbar\n"}},
		{"an empty variable is none", "ETCDCTL_WRITE_OUT=", "get foo", result{out: "foo\nbar\n"}},
		{"ETCDCTL_API=3 is silent", "ETCDCTL_API=3", "get foo", result{out: "foo\nbar\n"}},
		{"a bad value is told", "ETCDCTL_COMMAND_TIMEOUT=abc", "get foo", result{code: 128,
			err: "Error: invalid value \"abc\" of environment variable ETCDCTL_COMMAND_TIMEOUT: time: invalid duration \"abc\"\n"}},
		{"arguments come first", "ETCDCTL_COMMAND_TIMEOUT=abc", "get", result{code: 128,
			err: "Error: get command needs one argument as key and an optional argument as range_end\n"}},
		{"version does not look", "ETCDCTL_COMMAND_TIMEOUT=abc ETCDCTL_FROB=1", "version", result{out: "etcdctl version: 3.7.3\nAPI version: 3.7\n"}},
		{"a local flag has no variable", "ETCDCTL_KEYS_ONLY=true", "get foo", result{out: "foo\nbar\n", err: "unrecognized"}},
		{"the switch for the old way", "ETCDCTL_STRICT_ENV=true ETCDCTL_WRITE_OUT=json", "get foo -w simple", result{code: 1, err: "shadowed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := runEnv(t, s, strings.Fields(tc.env), "", strings.Fields(tc.args)...)
			switch tc.want.err {
			case "unrecognized":
				require.Contains(t, got.err, `"level":"warn"`)
				require.Contains(t, got.err, `"msg":"unrecognized environment variable","environment-variable":"ETCDCTL_KEYS_ONLY=true"}`)
				got.err = tc.want.err
			case "shadowed":
				require.Contains(t, got.err, `"level":"fatal"`)
				require.Contains(t, got.err, `"msg":"conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))","environment-variable":"ETCDCTL_WRITE_OUT"}`)
				got.err = tc.want.err
			}
			require.Equal(t, tc.want, got)
		})
	}
	require.Equal(t, result{out: "foo\nbar\n"}, runEnv(t, nil, []string{"ETCDCTL_ENDPOINTS= " + s.Addr + " "}, "", "get", "foo"))
}

func TestEveryGlobalFlagHasItsVariable(t *testing.T) {
	for flag, value := range map[string]string{
		"endpoints": "[a:1,b:2]", "debug": "true", "write-out": "json", "hex": "true", "dial-timeout": "1s",
		"command-timeout": "3s", "keepalive-time": "4s", "keepalive-timeout": "5s", "max-request-bytes": "6",
		"max-recv-bytes": "7", "insecure-transport": "false", "insecure-discovery": "false",
		"insecure-skip-tls-verify": "true", "cert": "c", "key": "k", "cacert": "ca", "auth-jwt-token": "t",
		"user": "u", "password": "p", "discovery-srv": "d", "discovery-srv-name": "n", "table-style": "ascii",
	} {
		name := "ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		a := &app{Program: &Program{Environ: []string{name + "=" + strings.Trim(value, "[]")}, Stderr: newSyncBuffer()}}
		a.root = a.rootCommand()
		cmd, _, err := a.root.Find([]string{"get"})
		require.NoError(t, err)
		require.NoError(t, a.applyEnv(cmd))
		require.Equal(t, value, a.root.PersistentFlags().Lookup(flag).Value.String(), name)
	}
}

func TestDefaults(t *testing.T) {
	a := &app{Program: &Program{}}
	a.root = a.rootCommand()
	for flag, want := range map[string]string{
		"endpoints": "[127.0.0.1:2379]", "debug": "false", "write-out": "simple", "hex": "false", "dial-timeout": "2s",
		"command-timeout": "5s", "keepalive-time": "2s", "keepalive-timeout": "6s", "max-request-bytes": "0",
		"max-recv-bytes": "0", "insecure-transport": "true", "insecure-discovery": "true",
		"insecure-skip-tls-verify": "false", "cert": "", "key": "", "cacert": "", "auth-jwt-token": "", "user": "",
		"password": "", "discovery-srv": "", "discovery-srv-name": "",
	} {
		require.Equal(t, want, a.root.PersistentFlags().Lookup(flag).DefValue, flag)
	}
}

func TestCommandsEndInTime(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := lis.Addr().String()
	lis.Close()
	for _, args := range []string{
		"get k", "txn", "lease list", "lease timetolive 1", "user list", "role get r", "member list", "compaction 3",
		"lease grant 1", "alarm list", "move-leader 1",
	} {
		began := time.Now()
		got := run(t, nil, "", append([]string{"--endpoints", addr, "--command-timeout", "60ms"}, strings.Fields(args)...)...)
		require.NotZero(t, got.code, args)
		require.Contains(t, got.err, "context deadline exceeded", args)
		require.Less(t, time.Since(began), limit, args)
	}
	require.Contains(t, run(t, nil, "", "--endpoints", addr, "--command-timeout", "1s", "get", "k").err,
		"Error: context deadline exceeded: ", "and the reason follows")
	got := run(t, nil, "", "--endpoints", addr, "--command-timeout", "60ms", "endpoint", "health")
	require.Equal(t, addr+" is unhealthy: failed to commit proposal: context deadline exceeded\nError: unhealthy cluster\n", got.err)
}

func TestCredentials(t *testing.T) {
	s := fake.Start(t)
	s.EnableAuth()
	s.SetUser("u", "p:w")
	s.SetUser("u:p", "w")
	for _, tc := range []struct {
		args, stdin string
		want        result
	}{
		{"--user u:p:w get k", "", result{}},
		{"--user u:p --password w get k", "", result{}},
		{"--user u get k", " p:w \n", result{err: "Password: \n"}},
		{"--user u:wrong get k", "", result{err: "Error: etcdserver: authentication failed, invalid user ID or password\n", code: 2}},
		{"--user u:wrong snapshot save /tmp/never", "", result{err: "Error: etcdserver: authentication failed, invalid user ID or password\n", code: 5}},
		{"--password w get k", "", result{}},
		{"--user u: get k", "", result{}},
	} {
		require.Equal(t, tc.want, run(t, s, tc.stdin, strings.Fields(tc.args)...), tc.args)
	}
	calls := s.Calls("KV/Range")
	require.NotEmpty(t, calls[0].MD.Get("token"))
	require.Empty(t, calls[len(calls)-1].MD.Get("token"), "an empty password attempts nothing")

	n := len(s.Calls("Auth/Authenticate"))
	require.Equal(t, 0, run(t, s, "", "--auth-jwt-token", "mine", "--user", "u", "get", "k").code)
	calls = s.Calls("KV/Range")
	require.Equal(t, []string{"mine"}, calls[len(calls)-1].MD.Get("token"))
	require.Len(t, s.Calls("Auth/Authenticate"), n)

	got := run(t, s, "", "--user", "u:wrong", "endpoint", "health", "-w", "json")
	require.Equal(t, result{`[{"endpoint":"` + s.Addr + `","health":false,"took":"","error":"etcdserver: authentication failed, invalid user ID or password"}]` + "\n",
		"Error: unhealthy cluster\n", 1}, got)
	require.Equal(t, result{err: "Password: \n", out: s.Addr + ", 1084519789, 1\n"},
		run(t, s, "p:w\n", "--user", "u", "endpoint", "hashkv"), "the password is asked for once")
}

func TestDebugTellsTheSettingsButNoSecrets(t *testing.T) {
	errs := newSyncBuffer()
	a := &app{Program: &Program{Stderr: errs}}
	a.root = a.rootCommand()
	require.NoError(t, a.root.PersistentFlags().Set("password", "s3cret"))
	cmd, _, err := a.root.Find([]string{"get"})
	require.NoError(t, err)
	a.tellSettings(cmd)
	require.Contains(t, errs.String(), "ETCDCTL_PASSWORD=***\n")
	require.Contains(t, errs.String(), "ETCDCTL_COMMAND_TIMEOUT=5s\nETCDCTL_DEBUG=false\n")
}

func TestTLSFlags(t *testing.T) {
	for _, tc := range []struct {
		args, err string
	}{
		{"--cert c", "KeyFile and CertFile must both be present[key: , cert: c]"},
		{"--key k", "KeyFile and CertFile must both be present[key: k, cert: ]"},
		{"--cacert=", "empty string is passed to --cacert option"},
		{"--cert=", "empty string is passed to --cert option"},
		{"--key=", "empty string is passed to --key option"},
		{"--cacert /nonexistent", "open /nonexistent: no such file or directory"},
		{"--cacert /dev/null", "no certificate found in /dev/null"},
		{"--cert /nonexistent --key /nonexistent", "open /nonexistent: no such file or directory"},
	} {
		got := run(t, nil, "", append(strings.Fields(tc.args), "get", "k")...)
		require.Equal(t, result{err: "Error: " + tc.err + "\n", code: 128}, got, tc.args)
	}
	for _, tc := range []struct {
		insecure, skip, want bool
	}{{true, false, false}, {false, false, true}, {true, true, true}} {
		c, err := tlsFiles{}.config(tc.insecure, tc.skip)
		require.NoError(t, err)
		require.Equal(t, tc.want, c != nil)
		if c != nil {
			require.Equal(t, tc.skip, c.InsecureSkipVerify)
		}
	}
	require.Equal(t, result{err: "Error: etcdclient: plaintext (http) and secure (https, unixs) endpoints cannot be mixed\n", code: 2},
		run(t, nil, "", "--endpoints", "http://a:1,https://b:1", "get", "k"))
}

func TestDiscovery(t *testing.T) {
	defer func(f func(context.Context, string, string, string) (string, []*net.SRV, error)) { lookupSRV = f }(lookupSRV)
	missing := errors.New("no such host")
	records := map[string][]*net.SRV{}
	lookupSRV = func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		if r, ok := records["_"+service+"._"+proto+"."+name]; ok {
			return "", r, nil
		}
		return "", nil, missing
	}
	discover := func(g globals) ([]string, string, error) {
		errs := newSyncBuffer()
		a := &app{Program: &Program{Stderr: errs}, flags: g}
		eps, err := a.endpoints()
		return eps, errs.String(), err
	}
	base := globals{discoverySRV: "x.test", insecureDiscovery: true, endpoints: []string{" given:1 "}}
	_, _, err := discover(base)
	require.EqualError(t, err, "dns lookup errors: no such host and no such host")

	// D-41: both names are asked, and the answers put together.
	records["_etcd-client._tcp.x.test"] = []*net.SRV{{Target: "m1.x.test.", Port: 2379}}
	eps, _, err := discover(base)
	require.NoError(t, err)
	require.Equal(t, []string{"http://m1.x.test.:2379"}, eps)

	strict := base
	strict.insecureDiscovery = false
	eps, told, err := discover(strict)
	require.NoError(t, err)
	require.Equal(t, []string{"given:1"}, eps, "nothing left: as given")
	require.Equal(t, "ignoring discovered insecure endpoint \"http://m1.x.test.:2379\"\n", told)

	records["_etcd-client-ssl._tcp.x.test"] = []*net.SRV{{Target: "m2.x.test.", Port: 2379}}
	eps, _, err = discover(base)
	require.NoError(t, err)
	require.Equal(t, []string{"https://m2.x.test.:2379"}, eps)

	named := base
	named.discoverySRVName = "n"
	records["_etcd-client-ssl-n._tcp.x.test"] = []*net.SRV{{Target: "m3.", Port: 1}}
	eps, _, err = discover(named)
	require.NoError(t, err)
	require.Equal(t, []string{"https://m3.:1"}, eps)
}
