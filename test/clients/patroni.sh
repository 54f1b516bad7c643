#!/bin/bash
# Two PostgreSQL servers elect a leader through the v2 API of three members, by way of Debian's Patroni: the first election,
# a switchover, the death of the leading member of the cluster, and the death of the leading PostgreSQL.
missing() {
	for tool in patroni patronictl psql; do command -v "$tool" >/dev/null || return 0; done
	! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || ! /usr/bin/python3 -c 'import etcd, psycopg2' 2>/dev/null
}
if missing && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends patroni postgresql python3-etcd >/dev/null 2>&1
fi
if missing; then
	echo "SKIP patroni: Patroni or PostgreSQL is not installed, and apt-get cannot install it here"
	exit 77
fi
# PostgreSQL does not run as root.
as=()
if [ "$(id -u)" = 0 ]; then
	if ! id postgres >/dev/null 2>&1 || ! command -v setpriv >/dev/null; then
		echo "SKIP patroni: this is root, and there is no user postgres or no setpriv"
		exit 77
	fi
	as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi

. "$(dirname "$0")/../stories/bed.sh"
bin=$(dirname "$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | tail -n 1)")
ttl=10

postmaster() { head -n 1 "$dir/$1/data/postmaster.pid" 2>/dev/null; }
end_databases() {
	trap - EXIT
	exec 2>/dev/null
	local n
	for n in n1 n2; do
		[ -z "${process[$n]:-}" ] || kill -KILL "${process[$n]}"
		kill -QUIT "$(postmaster $n)" # ends without a shutdown, and its children with it
	done
	for n in n1 n2; do within 5000 gone "$(postmaster $n)"; done
	finish
}
gone() { [ -z "$1" ] || ! kill -0 "$1" 2>/dev/null; }
trap end_databases EXIT

declare -A sql=()
settle() { # name
	free_port && local api=$port
	free_port && sql[$1]=$port
	mkdir "$dir/$1"
	cat >"$dir/$1/patroni.yml" <<END
scope: story
name: $1
restapi: {listen: "127.0.0.1:$api", connect_address: "127.0.0.1:$api"}
etcd: {hosts: ["${client[m1]#http://}", "${client[m2]#http://}", "${client[m3]#http://}"]}
bootstrap:
  dcs:
    ttl: $ttl
    loop_wait: 1
    retry_timeout: 4
    postgresql:
      use_pg_rewind: true
      parameters: {fsync: "off", shared_buffers: 16MB, max_connections: 20, wal_log_hints: "on"}
  initdb: [{encoding: UTF8}, {locale: C}, data-checksums]
postgresql:
  listen: "127.0.0.1:${sql[$1]}"
  connect_address: "127.0.0.1:${sql[$1]}"
  data_dir: $dir/$1/data
  bin_dir: $bin
  pgpass: $dir/$1/pgpass
  authentication:
    superuser: {username: super, password: secret}
    replication: {username: replica, password: secret}
    rewind: {username: rewind, password: secret}
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
  parameters: {unix_socket_directories: "$dir/$1"}
END
	[ ${#as[@]} = 0 ] || chown -R postgres: "$dir/$1"
}
run() { # name
	(cd "$dir/$1" && exec "${as[@]}" patroni "$dir/$1/patroni.yml") >>"$dir/$1.log" 2>&1 &
	process[$1]=$!
}
query() { timeout 5 psql -qtAX -h 127.0.0.1 -p "${sql[$1]}" -U super -d postgres -c "$2" 2>>"$dir/psql.log"; }

# state NAME ROLE: what the v2 API says of a PostgreSQL server, which Patroni writes there.
state() {
	curl -s -m 2 "$K3/service/story/members/$1" | jq -e --arg r "$2" '.node.value | fromjson | .role == $r and .state == "running"' >/dev/null 2>&1
}
leads() {
	[ "$(curl -s -m 2 "$K3/service/story/leader" | jq -r .node.value)" = "$1" ] && state "$1" master && [ "$(query "$1" 'select pg_is_in_recovery()')" = f ]
}
follows() { state "$1" replica && [ "$(query "$2" "select count(*) from pg_stat_replication where application_name = '$1' and state = 'streaming'")" = 1 ]; }
writes() { query "$1" "insert into t values ('$2')"; }
reads() { [ "$(query "$1" "select string_agg(v, ' ' order by v) from t")" = "$2" ]; }
await() { # ms, what, command...
	within "$1" "${@:3}" || fail "$2 is not so after $1 ms: $(tail -n 12 "$dir"/n?.log)"
}

step "three members, and the first PostgreSQL initializes the cluster"
members 3
[ ${#as[@]} = 0 ] || chmod 755 "$dir"
settle n1
settle n2
run n1
await 60000 "n1 leads" leads n1
query n1 "create table t (v text)" || fail "a table cannot be made: $(tail -n 3 "$dir/psql.log")"
req GET "$K2/service/story/leader?quorum=true"
want 200 .node.value n1
ttl_left=$(field .node.ttl)
{ [ "$ttl_left" -ge 1 ] && [ "$ttl_left" -le "$ttl" ]; } || fail "the leader's key has a ttl of $ttl_left"

step "the second is copied from it and follows"
run n2
await 60000 "n2 follows n1" follows n2 n1
await 5000 "a write" writes n1 a
await 5000 "n2 has it" reads n2 a

step "a switchover"
"${as[@]}" patronictl -c "$dir/n1/patroni.yml" switchover --master n1 --candidate n2 --force >"$dir/switchover.log" 2>&1 ||
	fail "switchover: $(cat "$dir/switchover.log")"
await 30000 "n2 leads" leads n2
await 30000 "n1 follows n2" follows n1 n2
await 5000 "a write" writes n2 b
await 5000 "n1 has it" reads n1 "a b"

step "the leading member is killed, and PostgreSQL's leader stays"
timeline() { query n2 "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"; }
before=$(timeline)
lead=$(await_leader)
kill9 "$lead"
until=$(($(now) + ttl * 1000 + 3000))
while [ "$(now)" -lt $until ]; do
	writes n2 b >/dev/null || fail "n2 does not take a write"
	sleep 0.5
done
query n2 "delete from t where v = 'b'; insert into t values ('b')"
start "$lead"
await 10000 "n2 leads" leads n2
same "$(timeline)" "$before" "timeline"

step "the leading PostgreSQL and its Patroni are killed, and the other takes over"
{ kill -KILL "$(postmaster n2)" && end KILL n2; } 2>/dev/null
await $((ttl * 1000 + 15000)) "n1 leads" leads n1
await 5000 "a write" writes n1 c
reads n1 "a b c" || fail "a write is lost: $(query n1 "select * from t")"

step "it comes back and follows"
run n2
await 60000 "n2 follows n1" follows n2 n1
await 10000 "n2 has all" reads n2 "a b c"
step "done"
