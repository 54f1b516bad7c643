package ctl2

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const appHelp = `NAME:
   etcdctl - A simple command line client for etcd.

USAGE:
   etcdctl [global options] command [command options] [arguments...]

VERSION:
   1.2.3

COMMANDS:
     backup          backup an etcd directory
     cluster-health  check the health of the etcd cluster
     mk              make a new key with a given value
     mkdir           make a new directory
     rm              remove a key or a directory
     rmdir           removes the key if it is an empty directory or a key-value pair
     get             retrieve the value of a key
     ls              retrieve a directory
     set             set the value of a key
     setdir          create a new directory or update an existing directory TTL
     update          update an existing key with a given value
     updatedir       update an existing directory
     watch           watch a key for changes
     exec-watch      watch a key for changes and exec an executable
     member          member add, remove and list subcommands
     user            user add, grant and revoke subcommands
     role            role add, grant and revoke subcommands
     auth            overall auth controls
     help, h         Shows a list of commands or help for one command

GLOBAL OPTIONS:
   --debug                          output cURL commands which can be used to reproduce the request
   --no-sync                        don't synchronize cluster information before sending request
   --output simple, -o simple       output response in the given format (simple, ` + "`extended` or `json`" + `) (default: "simple")
   --discovery-srv value, -D value  domain name to query for SRV records describing cluster endpoints
   --insecure-discovery             accept insecure SRV records describing cluster endpoints
   --peers value, -C value          DEPRECATED - "--endpoints" should be used instead
   --endpoint value                 DEPRECATED - "--endpoints" should be used instead
   --endpoints value                a comma-delimited list of machine addresses in the cluster (default: "http://127.0.0.1:2379,http://127.0.0.1:4001")
   --cert-file value                identify HTTPS client using this SSL certificate file
   --key-file value                 identify HTTPS client using this SSL key file
   --ca-file value                  verify certificates of HTTPS-enabled servers using this CA bundle
   --username value, -u value       provide username[:password] and prompt if password is not supplied.
   --timeout value                  connection timeout per request (default: 2s)
   --total-timeout value            timeout for the command execution (except watch) (default: 5s)
   --help, -h                       show help
   --version, -v                    print the version
`

// G-04, G-16, section 12.
func TestHelp(t *testing.T) {
	member := `NAME:
   etcdctl member - member add, remove and list subcommands

USAGE:
   etcdctl member command [command options] [arguments...]

COMMANDS:
     list    enumerate existing cluster members
     add     add a new member to the etcd cluster
     remove  remove an existing member from the etcd cluster
     update  update an existing member in the etcd cluster

OPTIONS:
   --help, -h  show help
`
	set := `NAME:
   etcdctl set - set the value of a key

USAGE:
   etcdctl set [command options] <key> <value>

DESCRIPTION:
   A value that begins with '-' is read as a flag. Two dashes end the flags:

   set -- <key> <value>

OPTIONS:
   --ttl value              key time-to-live in seconds (default: 0)
   --swap-with-value value  previous value
   --swap-with-index value  previous index (default: 0)
`
	add := "NAME:\n   etcdctl member add - add a new member to the etcd cluster\n\nUSAGE:\n   etcdctl member add <name> <peerURL>\n"
	for line, want := range map[string]string{
		"": appHelp, "help": appHelp, "h": appHelp, "--help": appHelp, "-h": appHelp, "-h ls": appHelp,
		"--version": "etcdctl version: 1.2.3\nAPI version: 2\n", "-v ls": "etcdctl version: 1.2.3\nAPI version: 2\n",
		"member": member, "member --help": member, "member -h": member, "member help": member, "help member": member,
		"help set": set, "h set": set, "set --help": set, "set foo bar -h": set,
		"help member add": add, "member help add": add, "member add -h": add,
		"help help":          "NAME:\n   etcdctl help - Shows a list of commands or help for one command\n\nUSAGE:\n   etcdctl help [command]\n",
		"member list --help": "NAME:\n   etcdctl member list - enumerate existing cluster members\n\nUSAGE:\n   etcdctl member list\n",
		"cluster-health -h":  "NAME:\n   etcdctl cluster-health - check the health of the etcd cluster\n\nUSAGE:\n   etcdctl cluster-health [command options]\n\nOPTIONS:\n   --forever, -f  forever check the health every 10 second until CTRL+C\n",
		"ls -h":              "NAME:\n   etcdctl ls - retrieve a directory\n\nUSAGE:\n   etcdctl ls [command options] [key]\n\nOPTIONS:\n   --sort           returns result in sorted order\n   --recursive, -r  returns all key names recursively for the given path\n   -p               append slash (/) to directories\n   --quorum, -q     require quorum for get request\n",
		"role grant -h":      "NAME:\n   etcdctl role grant - grant path matches to an etcd role\n\nUSAGE:\n   etcdctl role grant [command options] <role>\n\nOPTIONS:\n   --path value       Path granted for the role to access\n   --read             Grant read-only access\n   --write            Grant write-only access\n   --readwrite, --rw  Grant read-write access\n",
		"role revoke -h":     "NAME:\n   etcdctl role revoke - revoke path matches for an etcd role\n\nUSAGE:\n   etcdctl role revoke [command options] <role>\n\nOPTIONS:\n   --path value       Path revoked for the role to access\n   --read             Revoke read access\n   --write            Revoke write access\n   --readwrite, --rw  Revoke read-write access\n",
		"user revoke --help": "NAME:\n   etcdctl user revoke - revoke roles for an etcd user\n\nUSAGE:\n   etcdctl user revoke [command options] <user>\n\nOPTIONS:\n   --roles value  List of roles to grant or revoke\n",
		"exec-watch --help":  "NAME:\n   etcdctl exec-watch - watch a key for changes and exec an executable\n\nUSAGE:\n   etcdctl exec-watch [command options] <key> <command> [args...]\n\nOPTIONS:\n   --after-index value  watch after the given index (default: 0)\n   --recursive, -r      watch all values for key and child keys\n",
		"backup --help":      "NAME:\n   etcdctl backup - backup an etcd directory\n\nUSAGE:\n   etcdctl backup [command options]\n\nOPTIONS:\n   --data-dir value        Path to the etcd data dir\n   --wal-dir value         Path to the etcd wal dir\n   --backup-dir value      Path to the backup dir\n   --backup-wal-dir value  Path to the backup wal dir\n",
		"auth enable --help": "NAME:\n   etcdctl auth enable - enable auth access controls\n\nUSAGE:\n   etcdctl auth enable\n",
		"updatedir --help":   "NAME:\n   etcdctl updatedir - update an existing directory\n\nUSAGE:\n   etcdctl updatedir [command options] <key> <value>\n\nOPTIONS:\n   --ttl value  key time-to-live in seconds (default: 0)\n",
	} {
		require.Equal(t, result{out: want}, run(t, nil, "", words(line)...), line)
	}
	require.Equal(t, result{out: appHelp}, run(t, nil, "", ""), "an empty word is no command")
}

// Every command has help that says what it is.
func TestEveryCommandHasHelp(t *testing.T) {
	a := &app{Program: &Program{}}
	var walk func(c *command, line []string)
	seen := 0
	walk = func(c *command, line []string) {
		for _, s := range c.subs {
			seen++
			r := run(t, nil, "", append(append(line, s.name), "--help")...)
			require.Equal(t, 0, r.code)
			require.Contains(t, r.out, "   "+s.path+" - "+s.short+"\n")
			walk(s, append(line, s.name))
		}
	}
	walk(a.rootCommand(), nil)
	require.Equal(t, 18+4+7+6+2, seen)
}
