#!/bin/bash
# S3.2: a table of nodes for another system, and partitions with one owner each.
. "$(dirname "$0")/bed.sh"
members 3

# A worker is a process that keeps its entry alive. A job reaches it while it lives.
work() {
	put "/lb/pool/$1" value="$1" ttl=5
	[ "$status" = 201 ] || fail "$1 does not register: $body"
	while sleep 1; do put "/lb/pool/$1" refresh=true ttl=5 prevExist=true; done
}
hire() {
	K=$2 work "$1" &
	process[$1]=$!
}
get "/?quorum=true"
follow dispatcher "/lb/pool?recursive=true" $((index + 1))
table() {
	events dispatcher | awk '{ if ($1 == "delete" || $1 == "expire") delete t[$2]; else t[$2] = 1 } END { for (k in t) print k }' | sort | sed 's,.*/,,'
}
shows() { [ "$(table | tr '\n' ' ')" = "$1" ]; }
# dispatch N: gives N jobs to those in the table in turn; whoever is dead has its job given to the next.
declare -A done_by=()
turn=0
dispatch() {
	local n=$1 workers w
	done_by=()
	mapfile -t workers < <(table)
	while [ "$n" -gt 0 ]; do
		w=${workers[turn % ${#workers[@]}]}
		turn=$((turn + 1))
		if [ -n "${process[$w]:-}" ]; then
			done_by[$w]=$((${done_by[$w]:-0} + 1))
			n=$((n - 1))
		fi
	done
}

step "steps 1 and 2: 300 jobs for three workers"
hire w1 "$K1"
hire w2 "$K2"
hire w3 "$K3"
within 5000 shows "w1 w2 w3 " || fail "the table has $(table)"
dispatch 300
same "${done_by[w1]} ${done_by[w2]} ${done_by[w3]}" "100 100 100" "jobs"

step "step 3: one dies"
end KILL w2
dispatch 100
same "${done_by[w2]:-0}" 0 "jobs of the dead"
within "$(T_expire 5)" shows "w1 w3 " || fail "the table has $(table)"
dispatch 100
same "${done_by[w1]} ${done_by[w3]}" "50 50" "jobs"

step "step 4: one comes"
hire w4 "$K2"
within 5000 shows "w1 w3 w4 " || fail "the table has $(table)"
dispatch 300
same "${done_by[w1]} ${done_by[w3]} ${done_by[w4]}" "100 100 100" "jobs"
same "$(events dispatcher | grep -c .)" 5 "events"

step "step 5: six partitions, three consumers that take three at most"
consume() {
	local p mine
	while :; do
		mine=0
		for p in {1..6}; do
			put "/lb/parts/$p" prevValue="$1" refresh=true ttl=4
			[ "$status" = 200 ] && mine=$((mine + 1))
		done
		for p in {1..6}; do
			[ $mine -lt 3 ] || break
			put "/lb/parts/$p" prevExist=false value="$1" ttl=4
			[ "$status" = 201 ] && mine=$((mine + 1))
		done
		sleep 0.5
	done
}
get "/?quorum=true"
follow owners "/lb/parts?recursive=true" $((index + 1))
for c in c1 c2 c3; do
	K=$K1
	[ $c = c2 ] && K=$K2
	[ $c = c3 ] && K=$K3
	consume $c &
	process[$c]=$!
done
K=$K1
parts() { curl -s "$K/lb/parts?sorted=true&quorum=true" | jq -r '[.node.nodes[]?.value] | join(" ")'; }
owned() { [ "$(parts | wc -w)" = 6 ]; }
within 5000 owned || fail "the owners are $(parts)"
sleep 5
same "$(count owners)" 6 "changes of ownership while all live"
victim=$(parts | cut -d' ' -f1)
end KILL "$victim"
taken() { [ "$(parts | wc -w)" = 6 ] && [[ " $(parts) " != *" $victim "* ]]; }
# Whoever is next looks every half second.
within "$(($(T_expire 4) + 1000))" taken || fail "the owners are $(parts), and $victim is dead"
# A partition has no second owner before the first has gone.
for p in {1..6}; do
	events owners | awk -v k="/lb/parts/$p" '$2 == k { if ($1 == last) exit 1; last = $1 }' || fail "partition $p: $(events owners)"
done
