#!/bin/bash
# S1.2: the registry survives that members fail. Heartbeats and the consumer go through the v2 proxy.
. "$(dirname "$0")/bed.sh"
members 3
proxy
K=$KP

step "step 1: three instances with heartbeats through the proxy"
for i in 1 2 3; do
	put "/services/web/$i" value="$i" ttl=10
	want 201
done
follow consumer "/services/web?recursive=true" $((index + 1))
# Each heartbeat is a line "milliseconds status".
beating() {
	patience=$((T_fail / 1000))
	while :; do
		for i in 1 2 3; do
			put "/services/web/$i" refresh=true ttl=10 prevExist=true
			echo "$(now) $status" >>"$dir/beats"
		done
		sleep 0.5
	done
}
beating &
process[beating]=$!
sleep 2
[ "$(grep -c ' 200$' "$dir/beats")" -ge 3 ] || fail "heartbeats fail: $(cat "$dir/beats")"

step "step 2: the leader is killed, and heartbeats go on"
lead=$(await_leader)
kill9 "$lead"
killed=$(now)
beats_since() { awk -v t="$1" '$1 > t && $2 == 200' "$dir/beats" | wc -l; }
six_since() { [ "$(beats_since "$1")" -ge 6 ]; }
within $T_fail six_since "$killed" || fail "no heartbeat succeeds within $T_fail ms: $(tail -n 5 "$dir/beats")"

step "step 3: the consumer goes on where it was and misses nothing"
for n in 1 2 3 4 5; do
	put /services/web/note value=$n
	[[ $status == 20[01] ]] || fail "status $status: $body"
done
told consumer 5 $T_fail
same "$(events consumer '.node.value' | tr '\n' ' ')" "1 2 3 4 5 "
sleep 11
get "/services/web?quorum=true&sorted=true"
want 200 '[.node.nodes[].value] | join(" ")' "1 2 3 5"
told consumer 5 0
end KILL beating

step "step 4: the killed member has the same when it is back"
start "$lead"
list() { curl -s "${client[$1]}/v2/keys/services?recursive=true&sorted=true" | jq -c 'del(.. | .ttl?)'; }
other=$([ "$lead" = m1 ] && echo m2 || echo m1)
caught_up() { [ "$(list "$lead")" = "$(list "$other")" ]; }
within 5000 caught_up || fail "$lead lists $(list "$lead"), $other $(list "$other")"
health() { ETCDCTL_API=2 "$binary" ctl --endpoints "${client[$other]}" cluster-health; }
within 5000 eval 'health | grep -qx "cluster is healthy"' || fail "$(health)"
