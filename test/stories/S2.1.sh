#!/bin/bash
# S2.1: central configuration with 20 subscribers, spread over the three members.
. "$(dirname "$0")/bed.sh"
members 3

step "step 1: the publisher writes two settings"
put /conf/app/db_url value=db1
want 201
put /conf/app/log_level value=info
want 201

step "step 2: 20 subscribers read, then watch"
servers=("$K1" "$K2" "$K3")
for s in {1..20}; do
	K=${servers[s % 3]} get "/conf/app?recursive=true&quorum=true"
	want 200 '[.node.nodes[] | "\(.key)=\(.value)"] | join(" ")' "/conf/app/db_url=db1 /conf/app/log_level=info"
	K=${servers[s % 3]} follow "$s" "/conf/app?recursive=true" $((index + 1))
done
watchers() {
	local sum=0 m
	for m in m1 m2 m3; do sum=$((sum + $(curl -s "${client[$m]}/v2/stats/store" | jq .watchers))); done
	echo $sum
}
twenty() { [ "$(watchers)" = 20 ]; }
within 5000 twenty || fail "the members count $(watchers) watchers"

all_told() { for s in {1..20}; do has_events "$s" "$1" || return 1; done; }
# everybody N MS: all subscribers have N events and not one more.
everybody() {
	within "$2" all_told "$1" || fail "not all have $1 events after $2 ms: $(wc -l "$dir"/*.events)"
	for s in {1..20}; do same "$(count "$s")" "$1" "events of subscriber $s"; done
}

step "step 3: a change is told to all"
put /conf/app/log_level value=debug
want 200
everybody 1 $T_event
for s in {1..20}; do same "$(events "$s" '"\(.action) \(.node.value) \(.prevNode.value)"')" "set debug info"; done

step "step 4: two changes, one right after the other"
put /conf/app/db_url value=db2
del /conf/app/log_level
want 200
everybody 3 5000
for s in {1..20}; do
	same "$(events "$s" | tail -n 2 | tr '\n' ' ')" "set /conf/app/db_url db2 delete /conf/app/log_level - "
done

step "step 5: 100 updates in a burst"
urls=()
for n in {1..100}; do
	[ "$n" = 1 ] || urls+=(--next)
	urls+=(-s -o /dev/null -X PUT "$K1/conf/app/n" -d "value=$n")
done
curl "${urls[@]}" || fail "the burst"
everybody 103 60000
for s in {1..20}; do
	same "$(events "$s" .node.value | tail -n 100 | tr '\n' ' ')" "$(printf '%s ' {1..100})" "the burst of subscriber $s"
	same "$(events "$s" .node.modifiedIndex | sort -nu | wc -l)" 103 "indexes"
done
