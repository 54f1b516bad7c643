#!/bin/bash
# S6.1: a queue, first in first out, with three producers and five consumers.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

# produce ID N QUEUE: posts N items through one member and notes the keys. An item whose fate is not known is looked for
# before it is posted again.
produce() {
	local n=1 key at=$1
	patience=5
	K=${servers[at % 3]}
	while [ $n -le "$2" ]; do
		post "$3" value="$1-$n"
		if [ "$status" = 201 ]; then
			key=$(field .node.key)
		else
			at=$((at + 1))
			K=${servers[at % 3]}
			get "$3?sorted=true&quorum=true"
			[ "$status" = 200 ] || continue
			key=$(field ".node.nodes[] | select(.value == \"$1-$n\") | .key")
			[ -n "$key" ] || continue
		fi
		echo "$key $1-$n" >>"$dir/produced-$1"
		n=$((n + 1))
	done
}
# consume ID QUEUE: takes the first item until there is none, and notes what it got.
consume() {
	K=${servers[$1 % 3]}
	while :; do
		get "$2?sorted=true&quorum=true"
		read -r key at < <(field '.node.nodes[0] | "\(.key) \(.modifiedIndex)"')
		[ "$key" != null ] || return
		del "$key?prevIndex=$at"
		case "$status $(field .errorCode)" in
		"200 null") echo "$key $(field .prevNode.value)" >>"$dir/consumed-$1" ;;
		"404 100" | "412 101") ;;
		*) fail "$key: $status $body" ;;
		esac
	done
}
# run COMMAND ID...: the command with each id and $rest, all at once.
run() {
	local id
	for id in "${@:2}"; do
		$1 "$id" "${rest[@]}" &
		process[$1-$id]=$!
	done
	for id in "${@:2}"; do wait "${process[$1-$id]}"; done
}
complete() { # N QUEUE: N items, in the order of keys as each producer has sent them, and none twice
	local id
	same "$(cat "$dir"/produced-* | cut -d' ' -f1 | sort -u | wc -l)" "$1" "keys"
	for id in 1 2 3; do
		sort -c "$dir/produced-$id" || fail "the keys of producer $id are out of order"
		same "$(cut -d- -f2 "$dir/produced-$id" | tr '\n' ' ')" "$(seq "$(wc -l <"$dir/produced-$id")" | tr '\n' ' ')" "items of producer $id"
	done
	same "$(curl -s "$K$2?sorted=true&quorum=true" | jq -r '.node.nodes[] | "\(.key) \(.value)"')" "$(cat "$dir"/produced-* | sort)" "the queue"
}

step "step 1: three producers post 99 items"
rest=(33 /queue/items)
run produce 1 2 3
complete 99 /queue/items

step "step 2: one consumer takes 20, in order"
want_order=$(cat "$dir"/produced-* | sort | head -n 20)
got=""
for _ in {1..20}; do
	get "/queue/items?sorted=true&quorum=true"
	read -r key at < <(field '.node.nodes[0] | "\(.key) \(.modifiedIndex)"')
	del "$key?prevIndex=$at"
	want 200
	got+="$key $(field .prevNode.value)"$'\n'
done
same "${got%$'\n'}" "$want_order" "what it took"

step "step 3: five consumers take each of the others once"
want_all=$(cat "$dir"/produced-* | sort | tail -n +21)
rest=(/queue/items)
run consume 1 2 3 4 5
same "$(sort "$dir"/consumed-*)" "$want_all" "what they took"
for c in 1 2 3 4 5; do
	[ ! -e "$dir/consumed-$c" ] || sort -c "$dir/consumed-$c" || fail "consumer $c took items out of order"
done

step "step 4: whoever waits at the empty queue is told of the next item"
get "/queue/items?quorum=true"
want 200 .node.nodes null
K=$K2 watch empty "/queue/items?recursive=true" $((index + 1))
sleep 0.5
silent empty
post /queue/items value=last
event empty $T_event
want 200 .action create .node.value last

step "step 5: the leader is killed while producers post"
rm "$dir"/produced-* "$dir"/consumed-*
lead=$(await_leader)
(
	sleep 0.4
	kill -KILL "${process[$lead]}"
) &
rest=(25 /queue/more)
run produce 1 2 3
! kill -0 "${process[$lead]}" 2>/dev/null || fail "the producers were done before the leader was killed"
{ wait "${process[$lead]}"; } 2>/dev/null
start "$lead"
within 10000 led m1 m2 m3 || fail "$lead does not come back"
complete 75 /queue/more
rest=(/queue/more)
run consume 1 2 3 4 5
same "$(sort "$dir"/consumed-*)" "$(sort "$dir"/produced-*)" "what they took"
