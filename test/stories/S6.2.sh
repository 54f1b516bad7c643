#!/bin/bash
# S6.2: a queue whose condition is its size: a big task starts when its five small ones are ready.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

step "step 1: the condition begins at 0"
put "/queue/condition?prevExist=false" value=0
want 201

# The starter waits for the goal, runs the small tasks in order, deletes them, and then runs the big one.
starter() {
	local at=$1 key name
	K=$K3
	while :; do
		req GET "$K/queue/condition?wait=true&waitIndex=$at" -m 120
		[ "$status" = 200 ] || fail "the starter: $status $body"
		at=$(($(field .node.modifiedIndex) + 1))
		echo "saw $(field .node.value)" >>"$dir/saw"
		[ "$(field .node.value)" = 5 ] && break
	done
	get "/queue?sorted=true&quorum=true"
	field '.node.nodes[-1].key' >>"$dir/behind"
	while read -r key name; do
		[ "$key" = /queue/condition ] && continue
		echo "$key $name" >>"$dir/ran"
		del "$key"
		[ "$status" = 200 ] || fail "the starter: $status $body"
	done < <(field '.node.nodes[] | "\(.key) \(.value)"')
	echo "big" >>"$dir/ran"
}
step "step 2: the starter waits"
starter $((index + 1)) &
process[starter]=$!

ready() { # task
	local v
	post /queue value="$1"
	[ "$status" = 201 ] || fail "$1: $body"
	echo "$(field .node.key) $1" >"$dir/small-$1"
	while :; do
		get "/queue/condition?quorum=true"
		v=$(field .node.value)
		put "/queue/condition?prevValue=$v" value=$((v + 1))
		case $status in
		200) return ;;
		412) ;;
		*) fail "$1: $status $body" ;;
		esac
	done
}
step "step 6: four are ready, and nothing has run"
for t in 1 2 3 4; do
	K=${servers[t % 3]} ready "task$t" &
	process[task$t]=$!
done
for t in 1 2 3 4; do wait "${process[task$t]}"; done
get "/queue/condition?quorum=true"
want 200 .node.value 4
sleep 0.5
[ ! -e "$dir/ran" ] || fail "it ran before the fifth: $(cat "$dir/ran")"

step "steps 3 to 5: with the fifth it runs all, in order"
ready task5
get "/queue/condition?quorum=true"
want 200 .node.value 5
ended() { ! kill -0 "${process[starter]}" 2>/dev/null; }
within 5000 ended || fail "the starter waits yet: $(cat "$dir/saw")"
same "$(cat "$dir/behind")" /queue/condition "the last in the listing"
same "$(cat "$dir/ran")" "$(cat "$dir"/small-* | sort)"$'\n'big "what ran"
same "$(tr '\n' ' ' <"$dir/saw")" "saw 1 saw 2 saw 3 saw 4 saw 5 " "what the starter saw"

step "step 7: it is reset"
put "/queue/condition?prevValue=5" value=0
want 200
get "/queue?quorum=true"
want 200 '[.node.nodes[].key] | join(" ")' /queue/condition

step "step 4: five at the same instant make exactly 5"
for t in 1 2 3 4 5; do
	K=${servers[t % 3]} ready "again$t" &
	process[again$t]=$!
done
for t in 1 2 3 4 5; do wait "${process[again$t]}"; done
get "/queue/condition?quorum=true"
want 200 .node.value 5
