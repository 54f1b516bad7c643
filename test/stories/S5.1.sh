#!/bin/bash
# S5.1: an exclusive lock with compare-and-swap and 50 clients.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

# race PATH CLIENTS FORM...: all try to create the key at once; $won is who did, and there is one.
race() {
	local path=$1 clients=$2 c codes
	shift 2
	for c in $clients; do
		(
			K=${servers[c % 3]} put "$path?prevExist=false" "$@" ttl=5 ${value:+"value=$value$c"}
			echo "$status $(field .errorCode) $(field .index) $c" >"$dir/race-$c"
		) &
		process[race-$c]=$!
	done
	for c in $clients; do wait "${process[race-$c]}"; done
	codes=$(for c in $clients; do cut -d' ' -f1,2 "$dir/race-$c"; done | sort | uniq -c | awk '{ print $1 "x" $2 "/" $3 }' | tr '\n' ' ')
	same "$codes" "1x201/null $(($(wc -w <<<"$clients") - 1))x412/105 " "answers"
	won=$(for c in $clients; do awk '$1 == 201 { print $4 }' "$dir/race-$c"; done)
}
everyone=$(seq 50 | tr '\n' ' ')

step "step 1: 50 clients at once, and one gets it; as a directory too"
value="" race /lock/dir "$everyone" dir=true
value=client- race /lock/res "$everyone"
holder=$won

step "step 2: the losers watch from the index of their refusal"
losers=""
for c in $everyone; do
	[ "$c" != "$holder" ] || continue
	losers+="$c "
	K=${servers[c % 3]} watch "$c" /lock/res $(($(cut -d' ' -f3 "$dir/race-$c") + 1))
done

step "step 3: the holder renews, and the losers stay silent"
for _ in 1 2 3; do
	sleep 2
	put "/lock/res?prevValue=client-$holder" refresh=true ttl=5
	want 200 .action compareAndSwap .node.ttl 5
done
# shellcheck disable=SC2086
silent $losers

step "step 4: the holder unlocks, all wake and race, and one gets it"
del "/lock/res?prevValue=client-$holder"
want 200 .action compareAndDelete
for c in $losers; do
	event "$c" $T_event
	want 200 .action compareAndDelete .prevNode.value "client-$holder"
done
value=client- race /lock/res "$losers"
first=$holder holder=$won
[ "$holder" != "$first" ] || fail "the first holder was no candidate"

step "step 5: the new holder dies, and another gets it"
get "/lock/res?quorum=true"
want 200 .node.value "client-$holder"
rest=""
for c in $losers; do [ "$c" = "$holder" ] || rest+="$c "; done
waiters=$(cut -d' ' -f1-10 <<<"$rest")
for c in $waiters; do K=${servers[c % 3]} watch "$c" /lock/res $((index + 1)); done
for c in $waiters; do
	event "$c" "$(T_expire 5)"
	want 200 .action expire .prevNode.value "client-$holder"
done
value=client- race /lock/res "$rest"

step "step 6: the old holder has lost it, to another or to nobody"
put "/lock/res?prevValue=client-$holder" refresh=true ttl=5
want 412 .errorCode 101 .cause "[client-$holder != client-$won]"
expired() {
	put "/lock/res?prevValue=client-$holder" refresh=true ttl=5
	[ "$status" = 404 ]
}
within "$(T_expire 5)" expired || fail "status $status: $body"
want 404 .errorCode 100
