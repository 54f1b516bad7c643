#!/bin/bash
# S4.2: system scheduling with a console and a push system.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")
workers="1 2 3 4 5"

get "/?quorum=true"
for w in $workers; do K=${servers[w % 3]} follow "cmd$w" "/push/cmd?recursive=true" $((index + 1)); done
for w in $workers; do K=${servers[w % 3]} follow "state$w" /push/state $((index + 1)); done
follow console "/push/result?recursive=true" $((index + 1))
all() { for w in $workers; do has_events "$1$w" "$2" || return 1; done; }
everybody() { within $T_event all "$1" "$2" || fail "not every worker has $2 events of $1: $(wc -l "$dir/$1"*.events)"; }

n=0
for campaign in 7 8 9; do
	n=$((n + 1))
	step "steps 1 and 2: command $n reaches every worker"
	post /push/cmd value="{\"op\":\"send\",\"campaign\":$campaign}"
	want 201 .action create
	key=$(field .node.key)
	[[ $key =~ ^/push/cmd/([0-9]{20})$ ]] || fail "the key is $key"
	digits=${BASH_REMATCH[1]}
	everybody cmd $((n * 2 - 1))
	for w in $workers; do same "$(events "cmd$w" | tail -n 1)" "create $key {\"op\":\"send\",\"campaign\":$campaign}"; done

	step "step 3: one of them wins it"
	for w in $workers; do
		(
			K=${servers[w % 3]} put "/push/claim/$digits?prevExist=false" value="worker-$w"
			echo "$status $(field .errorCode) $w" >"$dir/claim-$w"
		) &
		process[claim-$w]=$!
	done
	for w in $workers; do wait "${process[claim-$w]}"; done
	same "$(cat "$dir"/claim-* | cut -d' ' -f1,2 | sort | uniq -c | awk '{ print $1 "x" $2 "/" $3 }' | tr '\n' ' ')" "1x201/null 4x412/105 "
	winner=$(awk '$1 == 201 { print $3 }' "$dir"/claim-*)

	step "step 4: it tells the result"
	K=${servers[winner % 3]} put "/push/result/$digits" value="sent by worker-$winner"
	want 201
	K=${servers[winner % 3]} del "/push/cmd/$digits"
	want 200
	told console $n $T_event
	same "$(events console | tail -n 1)" "set /push/result/$digits sent by worker-$winner"
	everybody cmd $((n * 2))
done

step "step 5: the console stops the workers, and lets them go on"
n=0
for s in pause run; do
	n=$((n + 1))
	put /push/state value=$s
	everybody state $n
	for w in $workers; do same "$(events "state$w" .node.value | tail -n 1)" $s; done
done
