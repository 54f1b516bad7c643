package ctl2

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// G-10 to G-15: where options and arguments may stand.
func TestGrammar(t *testing.T) {
	s := serve(t)
	for _, method := range []string{"PUT", "POST"} {
		for _, k := range []string{"/foo", "/bar", "/-key", "/-"} {
			s.on(method+" /v2/keys"+k, ok(event("set", node(k, "v", ""))))
		}
	}
	for line, want := range map[string]string{
		"set foo bar":                                    "PUT /v2/keys/foo value=bar",
		"set foo bar --ttl 5":                            "PUT /v2/keys/foo ttl=5&value=bar",
		"set --ttl 5 foo bar":                            "PUT /v2/keys/foo ttl=5&value=bar",
		"set -ttl=5 foo bar":                             "PUT /v2/keys/foo ttl=5&value=bar",
		"set foo --ttl 5 bar":                            "PUT /v2/keys/foo ttl=5&value=bar",
		"set foo --ttl 0x10 bar":                         "PUT /v2/keys/foo ttl=16&value=bar",
		"set -- -key -value":                             "PUT /v2/keys/-key value=-value",
		"set foo -- -5":                                  "PUT /v2/keys/foo value=-5",
		"set --ttl 5 foo -- -5":                          "PUT /v2/keys/foo ttl=5&value=-5",
		"set - bar":                                      "PUT /v2/keys/- value=bar",
		"set foo bar more":                               "PUT /v2/keys/foo value=bar",
		"set foo bar --swap-with-value x --ttl 0":        "PUT /v2/keys/foo?prevValue=x value=bar",
		"set --swap-with-index 7 foo bar --ttl 5":        "PUT /v2/keys/foo?prevIndex=7 value=bar", // options end at foo
		"mk --in-order=true foo bar":                     "POST /v2/keys/foo value=bar",
		"mk --in-order=false foo bar":                    "PUT /v2/keys/foo?prevExist=false value=bar",
		"--no-sync set foo bar":                          "PUT /v2/keys/foo value=bar",
		"--no-sync=false -o=simple set foo bar":          "PUT /v2/keys/foo value=bar",
		"-- set foo bar":                                 "PUT /v2/keys/foo value=bar",
		"--timeout 500ms --total-timeout 1m set foo bar": "PUT /v2/keys/foo value=bar",
	} {
		r := run(t, s, "", words(line)...)
		require.Equal(t, result{out: "v\n"}, r, line)
		require.Equal(t, []string{want}, s.requests(), line)
	}
	// G-14
	s.on("GET /v2/keys/foo", ok(event("set", node("/foo", "v", ""))))
	require.Equal(t, result{out: "v\n"}, run(t, s, "", words("watch --after-index=1 foo --no-sync")...))
}

// G-17, G-18: what cannot be read. Nothing is sent.
func TestBadWords(t *testing.T) {
	s := serve(t)
	for line, want := range map[string]result{
		"nonsense":               {err: "No help topic for 'nonsense'\n", code: 3},
		"help nonsense":          {err: "No help topic for 'nonsense'\n", code: 3},
		"member nonsense":        {err: "No help topic for 'nonsense'\n", code: 3},
		"help member nonsense":   {err: "No help topic for 'nonsense'\n", code: 3},
		"-":                      {err: "No help topic for '-'\n", code: 3},
		"--bogus ls":             {out: "app", err: "flag provided but not defined: -bogus\n", code: 1},
		"--timeout x ls":         {out: "app", err: "invalid value \"x\" for flag -timeout: parse error\n", code: 1},
		"--no-sync=x ls":         {out: "app", err: "invalid boolean value \"x\" for -no-sync: parse error\n", code: 1},
		"-o":                     {out: "app", err: "flag needs an argument: -o\n", code: 1},
		"-o json --output json":  {out: "app", err: "Cannot use two forms of the same flag: o output\n", code: 1},
		"ls --bogus":             {out: "etcdctl ls", err: "flag provided but not defined: -bogus\n", code: 1},
		"get --debug foo":        {out: "etcdctl get", err: "flag provided but not defined: -debug\n", code: 1},
		"set foo -5":             {out: "etcdctl set", err: "flag provided but not defined: -5\n", code: 1},
		"set foo bar --ttl":      {out: "etcdctl set", err: "flag needs an argument: -ttl\n", code: 1},
		"set foo bar --ttl -5":   {out: "etcdctl set", err: "invalid value \"-5\" for flag -ttl: parse error\n", code: 1},
		"set foo bar --ttl 1.5":  {out: "etcdctl set", err: "invalid value \"1.5\" for flag -ttl: parse error\n", code: 1},
		"set foo --ttl -- bar":   {out: "etcdctl set", err: "flag needs an argument: -ttl\n", code: 1},
		"watch -f --forever foo": {out: "etcdctl watch", err: "Cannot use two forms of the same flag: f forever\n", code: 1},
		"member --bogus":         {out: "etcdctl member", err: "flag provided but not defined: -bogus\n", code: 1},
		"member list --bogus":    {out: "etcdctl member list", err: "flag provided but not defined: -bogus\n", code: 1},
		"--timeout -1s ls":       {err: "--timeout and --total-timeout must not be negative\n", code: 1},
	} {
		r := run(t, s, "", words(line)...)
		if want.out != "" {
			require.True(t, strings.HasPrefix(r.out, "Incorrect Usage.\n\nNAME:\n   "), r.out)
			if want.out == "app" {
				require.Contains(t, r.out, "GLOBAL OPTIONS:", line)
			} else {
				require.Contains(t, r.out, "   "+want.out+" - ", line)
			}
			r.out = want.out
		}
		require.Equal(t, want, r, line)
		require.Empty(t, s.requests(), line)
	}
}

// Section 6, section 7: arguments that have to be there.
func TestMissingArguments(t *testing.T) {
	s := serve(t)
	key, value := "Error:  key required\n", "Error:  value required\n"
	for line, want := range map[string]string{
		"get": key, "set": key, "mk": key, "update": key, "mkdir": key, "setdir": key, "updatedir": key, "rm": key, "rmdir": key, "watch": key,
		"set foo": value, "mk foo": value, "update foo": value, "mk --in-order foo": value,
		"exec-watch":                            "Error:  key and command to exec required\n",
		"exec-watch foo":                        "Error:  key and command to exec required\n",
		"exec-watch foo --":                     "Error:  key and command to exec required\n",
		"member list x":                         "No arguments accepted\n",
		"member add":                            "Provide a name and a single member peerURL\n",
		"member add a b c":                      "Provide a name and a single member peerURL\n",
		"member remove":                         "Provide a single member ID\n",
		"member remove a b":                     "Provide a single member ID\n",
		"member update a":                       "Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)\n",
		"user add":                              "Please provide a username\n",
		"user add :pw":                          "Please provide a username\n",
		"user get a b":                          "Please provide a username\n",
		"user remove":                           "Please provide a username\n",
		"user passwd":                           "Please provide a username\n",
		"user list x":                           "No arguments accepted\n",
		"user grant u":                          "No roles specified; please use `--roles`\n",
		"user revoke u":                         "No roles specified; please use `--roles`\n",
		"user grant --roles ,":                  "No roles specified; please use `--roles`\n",
		"user grant --roles r":                  "Please provide a username\n",
		"role add":                              "Please provide a role name\n",
		"role get":                              "Please provide a role name\n",
		"role remove a b":                       "Please provide a role name\n",
		"role list x":                           "No arguments accepted\n",
		"role grant r":                          "No path specified; please use `--path`\n",
		"role revoke r":                         "No path specified; please use `--path`\n",
		"role grant r --path a":                 "Not canonical path; please use `--path=/a`\n",
		"role grant r --path //a/./b/../c/":     "Not canonical path; please use `--path=/a/c/`\n",
		"role grant r --path /a":                "Please specify exactly one of --read, --write or --readwrite\n",
		"role grant r --path /a --read --write": "Please specify exactly one of --read, --write or --readwrite\n",
		"role revoke r --path /a --read --rw":   "Please specify exactly one of --read, --write or --readwrite\n",
		"role grant --path /a --read":           "Please provide a role name\n",
		"auth enable x":                         "No arguments accepted\n",
		"auth disable x":                        "No arguments accepted\n",
	} {
		require.Equal(t, result{err: want, code: 1}, run(t, s, "", words(line)...), line)
		require.Empty(t, s.requests(), line)
	}
}
