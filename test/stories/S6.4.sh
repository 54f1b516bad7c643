#!/bin/bash
# S6.4: a queue whose condition is the word of a controller.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

for i in {1..60}; do
	post /queue/items value="$i"
	want 201
done
# A consumer works while the condition says go, and looks at it after each item.
consumer() {
	local key at
	K=${servers[$1 % 3]}
	while :; do
		get "/queue/condition?quorum=true"
		if [ "$(field .node.value)" != go ]; then
			curl -s -m 120 "$K/queue/condition?wait=true&waitIndex=$((index + 1))" >/dev/null
			now >>"$dir/woken-$1"
			continue
		fi
		get "/queue/items?sorted=true&quorum=true"
		read -r key at < <(field '.node.nodes[0] | "\(.key) \(.modifiedIndex)"')
		if [ "$key" = null ]; then
			sleep 0.2
			continue
		fi
		del "$key?prevIndex=$at"
		[ "$status" != 200 ] || echo "$(now) $(field .prevNode.value)" >>"$dir/took-$1"
		sleep 0.1
	done
}
for c in 1 2 3; do
	consumer $c &
	process[c$c]=$!
done
left() { curl -s "$K1/queue/items?quorum=true" | jq '.node.nodes | length'; }
took() { cat "$dir"/took-* 2>/dev/null | wc -l; }

step "nobody begins before the signal"
sleep 1
same "$(left)" 60 "items"

drains() { [ "$(left)" -lt "$1" ]; }
# pauses COMMAND...: after it each consumer ends the item it has, and no more is taken.
pauses() {
	"$@"
	[[ $status == 20[01] ]] || fail "$*: $body"
	sleep 1
	local rest
	rest=$(left)
	[ "$rest" -gt 0 ] || fail "they were done before they were told to stop"
	sleep 1
	same "$(left)" "$rest" "items while it is not go"
}
# go LEFT: each consumer is told within T_event, and then it begins, which takes some requests.
go() {
	local c told
	rm -f "$dir"/woken-*
	put /queue/condition value=go
	told=$(now)
	within $T_fail drains "$1" || fail "nobody begins"
	for c in 1 2 3; do
		within $T_fail test -s "$dir/woken-$c" || fail "consumer $c is not told"
		[ $(($(head -n 1 "$dir/woken-$c") - told)) -le $T_event ] || fail "consumer $c is told after $(($(head -n 1 "$dir/woken-$c") - told)) ms"
	done
}
step "go, and they begin"
go 60
step "hold, and they stop"
pauses put /queue/condition value=hold
rest=$(left)
step "go again, and they go on; deleted, and they stop"
go "$rest"
pauses del /queue/condition
step "go until the end: all were taken, once, in order"
put /queue/condition value=go
empty() { [ "$(left)" = 0 ]; }
within 30000 empty || fail "$(left) items are left"
all_noted() { [ "$(took)" = 60 ]; }
within 2000 all_noted || fail "$(took) items were taken"
same "$(cat "$dir"/took-* | cut -d' ' -f2 | sort -n | tr '\n' ' ')" "$(seq 60 | tr '\n' ' ')" "what was taken"
for c in 1 2 3; do
	[ ! -e "$dir/took-$c" ] || cut -d' ' -f2 "$dir/took-$c" | sort -nc || fail "consumer $c took items out of order"
done
