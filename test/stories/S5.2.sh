#!/bin/bash
# S5.2: a sequenced lock, where each waits for the one before it alone.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")
declare -A key=()
line() { curl -s "$K1/mutex/res?sorted=true&quorum=true" | jq -r '[.node.nodes[]?.value] | join(" ")'; }

step "step 1: five requests in order"
for i in 1 2 3 4 5; do
	K=${servers[i % 3]} post /mutex/res value="C$i" ttl=10
	want 201 .action create
	key[C$i]=$(field .node.key)
	[[ ${key[C$i]} =~ ^/mutex/res/[0-9]{20}$ ]] || fail "the key is ${key[C$i]}"
	[ "$i" = 1 ] || [[ ${key[C$i]} > ${key[C$((i - 1))]} ]] || fail "the keys are ${key[*]}"
done
# Who lives renews its key.
renew() {
	while sleep 3; do
		put "${key[$1]}?prevValue=$1" refresh=true ttl=10
		[ "$status" = 200 ] || exit
	done
}
for i in 1 2 3 4 5; do
	K=${servers[i % 3]} renew "C$i" &
	process[C$i]=$!
done

step "step 2: all see the same line, and the first has the lock"
for k in "${servers[@]}"; do
	K=$k get "/mutex/res?sorted=true&quorum=true"
	want 200 '[.node.nodes[].value] | join(" ")' "C1 C2 C3 C4 C5"
done
grants="C1"

step "steps 3 and 4: each watches the one before it, and renewals wake nobody"
for i in 2 3 4 5; do K=${servers[i % 3]} watch "C$i" "${key[C$((i - 1))]}" $((index + 1)); done
sleep 4
silent C2 C3 C4 C5

step "steps 5 and 6: the first releases, and wakes only the second"
end KILL C1
del "${key[C1]}?prevValue=C1"
want 200 .action compareAndDelete
event C2 $T_event
want 200 .action compareAndDelete .node.key "${key[C1]}"
sleep 5
silent C3 C4 C5
same "$(line)" "C2 C3 C4 C5" "the line"
grants+=" C2"

step "step 7: a waiter dies, and only who stood behind it wakes and moves up"
end KILL C4
event C5 "$(T_expire 10)"
want 200 .action expire .node.key "${key[C4]}"
silent C3
K=${servers[2]} get "/mutex/res?sorted=true&quorum=true"
want 200 '[.node.nodes[].value] | join(" ")' "C2 C3 C5"
K=${servers[2]} watch C5 "${key[C3]}" $((index + 1))

step "step 8: the holder dies, and the next has the lock"
end KILL C2
event C3 "$(T_expire 10)"
want 200 .action expire .node.key "${key[C2]}"
silent C5
same "$(line)" "C3 C5" "the line"
grants+=" C3"

step "step 9: it releases, and the last has the lock"
end KILL C3
del "${key[C3]}?prevValue=C3"
want 200
event C5 $T_event
same "$(line)" "C5" "the line"
same "$grants C5" "C1 C2 C3 C5" "grants"

step "step 10: the one before vanishes between the list and the watch"
post /mutex/res value=C6 ttl=10
get "/mutex/res?sorted=true&quorum=true"
del "${key[C5]}?prevValue=C5"
watch C6 "${key[C5]}" $((index - 0))
event C6 $T_event
want 200 .action compareAndDelete

step "100 in line: each release wakes one"
urls=()
for i in {1..100}; do
	[ "$i" = 1 ] || urls+=(--next)
	urls+=(-s -o /dev/null -X POST "$K1/mutex/many" -d "value=$i")
done
curl "${urls[@]}" || fail "the requests"
get "/mutex/many?sorted=true&quorum=true"
mapfile -t many < <(field '.node.nodes[].key')
same "${#many[@]}" 100 "in line"
for i in {1..99}; do K=${servers[i % 3]} watch "many$i" "${many[i - 1]}" $((index + 1)); done
all_watch() { [ "$(for m in m1 m2 m3; do curl -s "${client[$m]}/v2/stats/store" | jq .watchers; done | awk '{ s += $1 } END { print s }')" = 99 ]; }
within 10000 all_watch || fail "99 do not watch"
woken() { find "$dir" -name 'many*.event' | wc -l; }
for i in {1..10}; do
	del "${many[i - 1]}"
	want 200
	event "many$i" $T_event
done
sleep 1
same "$(woken)" 10 "watchers that were woken"
