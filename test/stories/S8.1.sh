#!/bin/bash
# S8.1: five nodes of a search system elect the one that builds the index, with compare-and-swap.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

# elect NODES: all try to become the leader at once; $leader is who did, $term its token.
elect() {
	local n codes
	for n in $1; do
		(
			K=${servers[${n#n} % 3]} put "/search/leader?prevExist=false" value="$n" ttl=6
			echo "$status $(field .errorCode) $(field '.node.createdIndex // .index') $n" >"$dir/vote-$n"
		) &
		process[vote-$n]=$!
	done
	for n in $1; do wait "${process[vote-$n]}"; done
	codes=$(for n in $1; do cut -d' ' -f1,2 "$dir/vote-$n"; done | sort | uniq -c | awk '{ print $1 "x" $2 "/" $3 }' | tr '\n' ' ')
	same "$codes" "1x201/null $(($(wc -w <<<"$1") - 1))x412/105 " "votes"
	read -r term leader < <(for n in $1; do awk '$1 == 201 { print $3, $4 }' "$dir/vote-$n"; done)
	losers=""
	for n in $1; do
		[ "$n" = "$leader" ] && continue
		losers+="$n "
		K=${servers[${n#n} % 3]} watch "$n" /search/leader $(($(cut -d' ' -f3 "$dir/vote-$n") + 1))
	done
}
renew() { put "/search/leader?prevValue=$1" refresh=true ttl=6; }
build() { # version
	for part in 1 2 3; do
		put "/search/index/$1/part$part" value="$1-$part by $leader"
		[[ $status == 20[01] ]] || fail "part $part: $body"
	done
	echo "$1 $leader" >>"$dir/built"
}
# A node copies each version that is published.
get "/?quorum=true"
for n in 1 2 3 4 5; do K=${servers[n % 3]} follow "index-n$n" /search/index/current $((index + 1)); done
copied() { for n in 1 2 3 4 5; do [ "$(events "index-n$n" .node.value | tail -n 1)" = "$1" ] || return 1; done; }
published() { within $T_event copied "$1" || fail "not all nodes have version $1"; }

step "steps 1 and 2: one of five is elected, the others wait"
elect "n1 n2 n3 n4 n5"
first=$leader first_term=$term

step "step 3: it builds version 1 and publishes it"
build 1
put "/search/index/current?prevExist=false" value=1
want 201
published 1

step "step 4: it renews, and nobody wakes"
for _ in 1 2 3; do
	sleep 2
	renew "$first"
	want 200 .action compareAndSwap
done
# shellcheck disable=SC2086
silent $losers

step "step 5: it dies while it builds version 2; the others are told, and one of them is elected"
put /search/index/2/part1 value="half, by $first"
want 201
# shellcheck disable=SC2086
for n in $losers; do
	event "$n" "$(T_expire 6)"
	want 200 .action expire .node.key /search/leader .prevNode.value "$first"
done
elect "${losers% }"
[ "$term" -gt "$first_term" ] || fail "the term went from $first_term to $term"
[ "$leader" != "$first" ] || fail "the dead was elected"

step "step 6: it throws away what is half done, builds version 2 and publishes it"
get "/search/index/current?quorum=true"
want 200 .node.value 1
get "/search/index/2?quorum=true"
want 200 '.node.nodes | length' 1
del "/search/index/2?recursive=true"
want 200
build 2
put "/search/index/current?prevValue=1" value=2
want 200 .action compareAndSwap
published 2

step "step 7: the first was only frozen; it is told that its time is over"
renew "$first"
want 412 .errorCode 101 .cause "[$first != $leader]"
put "/search/index/current?prevValue=1" value="2 by $first"
want 412 .errorCode 101 .cause "[1 != 2]"

step "step 8: an orderly hand-over"
renew "$leader"
second=$leader second_term=$term
del "/search/leader?prevValue=$leader"
want 200 .action compareAndDelete
for n in $losers; do
	event "$n" $T_event
	want 200 .action compareAndDelete
done
elect "${losers% }"
[ "$term" -gt "$second_term" ] || fail "the term went from $second_term to $term"
[ "$leader" != "$second" ] || fail "who has left was elected"
build 3
put "/search/index/current?prevValue=2" value=3
want 200
published 3

step "step 9: one builder for each version, and all have the same"
same "$(cut -d' ' -f1 "$dir/built" | tr '\n' ' ')" "1 2 3 " "versions that were built"
for n in 1 2 3 4 5; do same "$(events "index-n$n" .node.value | tr '\n' ' ')" "1 2 3 " "versions that n$n has seen"; done
