#!/bin/bash
# S3.1: the cluster balances the reading of a code table among its members.
. "$(dirname "$0")/bed.sh"
members 3
names=(m1 m2 m3)

step "step 1: 500 codes"
urls=()
for c in {1..500}; do
	[ "$c" = 1 ] || urls+=(--next)
	urls+=(-s -o /dev/null -X PUT "$K1/codes/$c" -d "value=meaning-$c")
done
curl "${urls[@]}" || fail "the codes"
for m in "${names[@]}"; do
	K=${client[$m]}/v2/keys get "/codes?quorum=true"
	want 200 '.node.nodes | length' 500
done

step "step 2: 30 readers, each at one member; each member serves about a third"
# A reader writes "milliseconds wrong answers" for each round of 20 codes, and goes to the next member when one fails.
reader() {
	local at=$(($1 % 3)) from url=() c out
	while :; do
		from=$((RANDOM % 480 + 1))
		url=()
		for c in $(seq $from $((from + 19))); do url+=("${client[${names[at]}]}/v2/keys/codes/$c"); done
		if out=$(curl -sf -m 5 "${url[@]}"); then
			wrong=$(paste -d' ' <(jq -r .node.value <<<"$out") <(seq -f 'meaning-%g' $from $((from + 19))) | awk '$1 != $2' | wc -l)
			echo "$(now) $wrong" >>"$dir/reader-$1"
		else
			at=$(((at + 1) % 3))
		fi
		sleep 0.2
	done
}
served() { curl -s "${client[$1]}/v2/stats/store" | jq .getsSuccess; }
declare -A before=()
for m in "${names[@]}"; do before[$m]=$(served "$m"); done
for r in {1..30}; do
	reader "$r" &
	process[reader-$r]=$!
done
sleep 8
sum=0
declare -A gets=()
for m in "${names[@]}"; do
	gets[$m]=$(($(served "$m") - before[$m]))
	sum=$((sum + gets[$m]))
done
for m in "${names[@]}"; do
	{ [ $((gets[$m] * 100 / sum)) -ge 20 ] && [ $((gets[$m] * 100 / sum)) -le 47 ]; } || fail "$m has served ${gets[$m]} of $sum"
done

step "step 3: a member is killed, and its readers go on at others"
kill9 m2
killed=$(now)
all_read() { for r in {1..30}; do [ "$(tail -n 1 "$dir/reader-$r" | cut -d' ' -f1)" -gt $((killed + 500)) ] || return 1; done; }
within $((T_fail + 500)) all_read || fail "a reader does not go on"
sleep 2
for r in {1..30}; do end KILL "reader-$r"; done
same "$(cat "$dir"/reader-* | awk '$2 != 0' | wc -l)" 0 "rounds with a wrong answer"
start m2
within 10000 led "${names[@]}" || fail "m2 does not come back"

step "steps 4 and 5: an update is there at once where it was made and for quorum reads, and soon elsewhere"
for n in 1 2 3; do
	put /codes/7 value=new-$n
	get /codes/7
	want 200 .node.value new-$n
	for k in "$K2" "$K3"; do
		K=$k get "/codes/7?quorum=true"
		want 200 .node.value new-$n
	done
	put /codes/8 value=new-$n
	for k in "$K2" "$K3"; do
		shows() { [ "$(curl -s "$k/codes/8" | jq -r .node.value)" = "new-$n" ]; }
		within $T_event shows || fail "$k does not show the update"
	done
done

step "step 6: one member alone answers plain reads, and no others"
kill9 m2 m3
get /codes/7
want 200 .node.value new-3
get "/codes/7?quorum=true"
want 500 .errorCode 300
