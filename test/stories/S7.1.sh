#!/bin/bash
# S7.1: nodes with heartbeats, and a monitor. STORIES_LONG=1 takes the 30 s, 45 s and 5 minutes of the story; else a
# heartbeat comes every 2 s, a node lives 3 s without, and all takes half a minute.
. "$(dirname "$0")/bed.sh"
members 3
every=2 ttl=3 run=10
[ -z "${STORIES_LONG:-}" ] || every=30 ttl=45 run=300

# heartbeats FORM...: one for each node in $nodes, all over one connection.
heartbeats() {
	local n args=()
	for n in $nodes; do
		[ ${#args[@]} = 0 ] || args+=(--next)
		args+=(-s -w '%{http_code}\n' -o /dev/null -m 10 -X PUT "$K2/monitor/nodes/$n")
		for v in "$@"; do args+=(-d "${v//NODE/$n}"); done
	done
	curl "${args[@]}"
}
nodes=$(seq 10 | tr '\n' ' ')
step "step 1: ten nodes"
get "/?quorum=true"
follow monitor "/monitor/nodes?recursive=true" $((index + 1))
same "$(heartbeats value=status-NODE-0 ttl=60 | uniq -c | awk '{ print $1 "x" $2 }')" 10x201 "answers"
told monitor 10 $T_event

listed() { curl -s "$K3/monitor/nodes?quorum=true" | jq -r ".node.nodes[] | \"\(.key | sub(\".*/\"; \"\")) \(.ttl)\"" | sort -n; }
# beat WHAT SECONDS FORM...: heartbeats for so long, while all nodes are listed with time left.
beat() {
	local until=$(($(now) + $2 * 1000)) next round=0 list
	while [ "$(now)" -lt $until ]; do
		next=$(($(now) + every * 1000))
		round=$((round + 1))
		same "$(heartbeats "${@:3}" | uniq -c | awk '{ print $1 "x" $2 }')" "$(wc -w <<<"$nodes")x200" "answers to $1"
		while [ "$(now)" -lt $((next - 500)) ]; do
			list=$(listed)
			same "$(cut -d' ' -f1 <<<"$list" | tr '\n' ' ')" "$nodes" "nodes that are listed"
			awk -v low=$((ttl - every - 1)) -v high=$ttl '$2 < low || $2 > high { exit 1 }' <<<"$list" || fail "ttl: $list"
			sleep 0.1
		done
		until [ "$(now)" -ge $next ]; do sleep 0.05; done
	done
}
step "steps 2 and 3: the monitor sees each status, and all nodes stay"
beat "a heartbeat" $run value=status-NODE-1 ttl=$ttl
seen=$(count monitor)
[ "$seen" -ge $((10 + 10 * (run / every - 1))) ] || fail "the monitor saw $seen"
same "$(events monitor .action | sort -u)" set "what the monitor saw"

step "step 6: refreshes tell the monitor nothing"
beat "a refresh" $run refresh=true prevExist=true ttl=$ttl
same "$(count monitor)" "$seen" "events"

step "steps 4 and 7: a node dies right after a heartbeat, and the monitor is told in time"
sent=$(now)
heartbeats refresh=true prevExist=true ttl=$ttl >/dev/null
acknowledged=$(now)
nodes="1 2 3 5 6 7 8 9 10 "
last=$acknowledged
while [ "$(count monitor)" = "$seen" ]; do
	if [ $(($(now) - last)) -ge $((every * 1000)) ]; then
		last=$(now)
		same "$(heartbeats refresh=true prevExist=true ttl=$ttl | uniq -c | awk '{ print $1 "x" $2 }')" 9x200 "answers"
	fi
	[ "$(now)" -lt $((acknowledged + $(T_expire $ttl) + 500)) ] || fail "node 4 does not expire"
	sleep 0.1
done
at=$(tail -n 1 "$dir/monitor.events" | cut -d' ' -f1)
{ [ "$at" -ge $((sent + ttl * 1000)) ] && [ "$at" -le $((acknowledged + $(T_expire $ttl))) ]; } || fail "node 4 has expired after $((at - sent)) ms"
heartbeats refresh=true prevExist=true ttl=$ttl >/dev/null
told monitor $((seen + 1)) 0
same "$(events monitor '"\(.action) \(.node.key) \(.prevNode.value)"' | tail -n 1)" "expire /monitor/nodes/4 status-4-1"
same "$(listed | cut -d' ' -f1 | tr '\n' ' ')" "$nodes" "nodes that are listed"

step "step 5: it returns as a new one"
put /monitor/nodes/4 value=status-4-2 ttl=$ttl
want 201 .action set .prevNode null
told monitor $((seen + 2)) $T_event
same "$(events monitor '"\(.action) \(.node.key) \(.prevNode)"' | tail -n 1)" "set /monitor/nodes/4 null"
