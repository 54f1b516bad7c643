#!/bin/bash
# S5.1: an exclusive lock with compare-and-swap and 50 clients.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

# race PATH CLIENTS FORM...: all try to create the key at once; $won is who did, and there is one. With $value that client
# holds the lock from then on: it renews it every 2 s, until its process is killed.
race() {
	local path=$1 clients=$2 c n
	n=$(wc -w <<<"$clients")
	shift 2
	rm -rf "$dir/race"
	: >"$dir/renewals"
	mkdir "$dir/race"
	for c in $clients; do
		(
			K=${servers[c % 3]}
			put "$path?prevExist=false" "$@" ttl=5 ${value:+"value=$value$c"}
			echo "$status $(field .errorCode) $(field .index) $c" >"$dir/race-$c"
			mv "$dir/race-$c" "$dir/race/$c"
			[ -n "$value" ] && [ "$status" = 201 ] || exit
			while sleep 2; do
				put "$path?prevValue=$value$c" refresh=true ttl=5
				echo "$status $(field .action) $(field .node.ttl)" >>"$dir/renewals"
			done
		) &
		process[race-$c]=$!
	done
	all_have() { [ "$(find "$dir/race" -type f | wc -l)" = "$n" ]; }
	within 30000 all_have || fail "not all have an answer"
	same "$(cat "$dir"/race/* | awk '{ n[$1 "/" $2]++ } END { for (k in n) print n[k] "x" k }' | sort -n | tr '\n' ' ')" \
		"1x201/null $((n - 1))x412/105 " "answers"
	won=$(cat "$dir"/race/* | awk '$1 == 201 { print $4 }')
}
refused_at() { awk '{ print $3 }' "$dir/race/$1"; }
others() { # all of the clients but one
	local c
	for c in $1; do [ "$c" = "$2" ] || printf '%s ' "$c"; done
}
# Over TLS they are fewer: each of curl's processes shakes hands anew, and all of them at once want more of this machine's
# processors than a lock of 5 s leaves them.
clients=50
[ -z "${BED_TLS:-}" ] || clients=20
everyone=$(seq $clients | tr '\n' ' ')

step "step 1: 50 clients at once, and one gets it; as a directory too"
value="" race /lock/dir "$everyone" dir=true
value=client- race /lock/res "$everyone"
holder=$won

step "step 2: the losers watch from the index of their refusal"
losers=$(others "$everyone" "$holder")
for c in $losers; do K=${servers[c % 3]} watch "$c" /lock/res $(($(refused_at "$c") + 1)); done

step "step 3: the holder renews, and the losers stay silent"
three() { [ "$(wc -l <"$dir/renewals")" -ge 3 ]; }
within 20000 three || fail "renewals: $(cat "$dir/renewals")"
same "$(sort -u "$dir/renewals")" "200 compareAndSwap 5" "answers to renewals"
# shellcheck disable=SC2086
silent $losers

step "step 4: the holder unlocks, all wake and race, and one gets it"
end KILL "race-$holder"
del "/lock/res?prevValue=client-$holder"
want 200 .action compareAndDelete
for c in $losers; do
	event "$c" $T_event
	want 200 .action compareAndDelete .prevNode.value "client-$holder"
done
value=client- race /lock/res "$losers"
[ "$won" != "$holder" ] || fail "the first holder was no candidate"
holder=$won

step "step 5: the new holder is killed, and another gets it"
get "/lock/res?quorum=true"
want 200 .node.value "client-$holder"
rest=$(others "$losers" "$holder")
waiters=$(cut -d' ' -f1-10 <<<"$rest")
for c in $waiters; do K=${servers[c % 3]} watch "$c" /lock/res $((index + 1)); done
end KILL "race-$holder"
for c in $waiters; do
	event "$c" "$(T_expire 5)"
	want 200 .action expire .prevNode.value "client-$holder"
done
value=client- race /lock/res "$rest"

step "step 6: the old holder has lost it, to another or to nobody"
put "/lock/res?prevValue=client-$holder" refresh=true ttl=5
want 412 .errorCode 101 .cause "[client-$holder != client-$won]"
end KILL "race-$won"
expired() {
	put "/lock/res?prevValue=client-$holder" refresh=true ttl=5
	[ "$status" = 404 ]
}
within "$(T_expire 5)" expired || fail "status $status: $body"
want 404 .errorCode 100
