#!/bin/bash
# S1.1: register, discover, expire. The consumer sits behind the v2 proxy.
. "$(dirname "$0")/bed.sh"
members 3
proxy

value() { echo "{\"addr\":\"10.0.0.$1:8080\",\"weight\":1}"; }
register() { put "/services/web/10.0.0.$1:8080" "value=$(value "$1")" ttl=5; }
heartbeat() { put "/services/web/10.0.0.$1:8080" refresh=true ttl=5 prevExist=true; }
# The consumer's view: its first listing, and what the events since then make of it.
view() {
	local action key
	declare -A have=()
	for key in $listed; do have[$key]=1; done
	while read -r action key _; do
		case $action in
		delete | expire) unset "have[$key]" ;;
		*) have[$key]=1 ;;
		esac
	done < <(events consumer)
	[ ${#have[@]} = 0 ] || printf '%s\n' "${!have[@]}" | sort | tr '\n' ' '
}
listing() { curl -s "$KP/services/web?recursive=true&sorted=true&quorum=true" | jq -r '.node.nodes[]?.key' | tr '\n' ' '; }
agree() { [ "$(view)" = "$(listing)" ]; }
same_view() { within $T_event agree || fail "the consumer sees \"$(view)\", there is \"$(listing)\""; }

step "steps 1 and 2: register through two members"
K=$K1 register 1
want 201 .action set .node.ttl 5 .node.value "$(value 1)"
K=$K2 register 2
want 201 .action set .node.ttl 5

step "steps 3 and 4: the consumer lists and watches through the proxy"
K=$KP get "/services/web?recursive=true&sorted=true&quorum=true"
want 200 '[.node.nodes[].key] | join(" ")' "/services/web/10.0.0.1:8080 /services/web/10.0.0.2:8080"
listed=$(field '.node.nodes[].key')
K=$KP follow consumer "/services/web?recursive=true" $((index + 1))
sleep 0.3
told consumer 0 0

step "step 5: a third registers, and the consumer is told"
K=$K3 register 3
want 201
told consumer 1 $T_event
same "$(events consumer)" "set /services/web/10.0.0.3:8080 $(value 3)"
same_view

step "step 6: heartbeats for 12 s tell nobody"
until=$(($(now) + 12000))
while [ "$(now)" -lt $until ]; do
	beat=$(now)
	for i in 1 2 3; do
		K=$([ $i = 1 ] && echo "$K1" || echo "$K2") heartbeat $i
		want 200 .action update .node.value "$(value $i)" .node.ttl 5
	done
	same_view
	same "$(wc -w <<<"$(listing)")" 3 "instances"
	rest=$((beat + 2000 - $(now)))
	[ $rest -le 0 ] || sleep "$((rest / 1000)).$(printf %03d $((rest % 1000)))"
done
told consumer 1 0

step "step 7: the second stops, and only it expires"
last=$(now)
heartbeat 2
while ! has_events consumer 2; do
	heartbeat 1
	heartbeat 3
	[ "$(now)" -lt $((last + $(T_expire 5))) ] || fail "10.0.0.2 has not expired in time"
	sleep 0.5
done
at=$(tail -n 1 "$dir/consumer.events" | cut -d' ' -f1)
[ "$at" -ge $((last + 5000)) ] || fail "10.0.0.2 has expired after $((at - last)) ms"
same "$(events consumer '"\(.action) \(.node.key) \(.prevNode.value)"' | tail -n 1)" "expire /services/web/10.0.0.2:8080 $(value 2)"

step "step 8: two are left"
K=$KP get "/services/web?quorum=true"
want 200 '.node.nodes | length' 2
same_view

step "step 9: a heartbeat of what has expired is refused, and it registers again"
heartbeat 2
want 404 .errorCode 100
register 2
want 201 .action set
told consumer 3 $T_event
same "$(events consumer | tail -n 1)" "set /services/web/10.0.0.2:8080 $(value 2)"
same_view

step "step 10: the third signs off"
heartbeat 1
del /services/web/10.0.0.3:8080
want 200 .action delete
told consumer 4 $T_event
same "$(events consumer | tail -n 1)" "delete /services/web/10.0.0.3:8080 -"
same_view
