#!/bin/bash
# S7.2: two monitors, of which one restarts, and the cluster's leader is killed.
. "$(dirname "$0")/bed.sh"
members 3
get "/?quorum=true"
start_index=$((index + 1))
K=$K1 follow one "/monitor/nodes?recursive=true" $start_index
K=$K2 follow two "/monitor/nodes?recursive=true" $start_index
say() { K=$K3 put "/monitor/nodes/$1" value="$2" ttl=60; }
seen() { events "$1" .node.value | tr '\n' ' '; }

step "step 1: both see the same"
for v in 1 2 3; do say $v $v; done
told one 3 $T_event
told two 3 $T_event

step "step 2: the first is away for a while, and misses nothing"
at=$(events one .node.modifiedIndex | tail -n 1)
unfollow one
for v in 4 5 6 7; do say $v $v; done
told two 7 $T_event
K=$K3 follow one "/monitor/nodes?recursive=true" $((at + 1))
told one 4 $T_event
same "$(seen one)" "4 5 6 7 " "what the first sees"

step "step 2: it is away for too long, is told so, lists and goes on"
at=$(events one .node.modifiedIndex | tail -n 1)
unfollow one
urls=()
for v in {1..1100}; do
	[ "$v" = 1 ] || urls+=(--next)
	urls+=(-s -o /dev/null -X PUT "$K1/other" -d "value=$v")
done
curl "${urls[@]}"
say 8 8
K=$K1 follow one "/monitor/nodes?recursive=true" $((at + 1))
told one 1 $T_event
same "$(events one .errorCode)" 401 "what the first is told"
get "/monitor/nodes?quorum=true&sorted=true"
want 200 '[.node.nodes[].value] | join(" ")' "1 2 3 4 5 6 7 8"
K=$K1 follow one "/monitor/nodes?recursive=true" $((index + 1))
told two 8 5000
say 9 9
told one 1 $T_event
told two 9 $T_event

step "step 3: the leader is killed; expiries come, each once"
lead=$(await_leader)
other=m1
[ "$lead" != m1 ] || other=m2
unfollow two
K=${client[$other]}/v2/keys
get "/?quorum=true"
follow two "/monitor/nodes?recursive=true" $((index + 1))
sent=$(now)
for n in a b c; do
	put /monitor/nodes/$n value=$n ttl=3
	want 201
done
last=$(now)
put /monitor/nodes/long value=long ttl=60
kill9 "$lead"
within $((3000 + 2500 + T_fail)) has_events two 7 || fail "what expired: $(events two)"
at=$(tail -n 1 "$dir/two.events" | cut -d' ' -f1)
[ "$at" -ge $((sent + 3000)) ] || fail "something has expired $((at - sent)) ms after it was set"
[ "$at" -le $((last + 3000 + 2500 + T_fail)) ] || fail "something has expired $((at - last)) ms after it was set"
sleep 1
told two 7 0
same "$(events two '"\(.action) \(.node.key)"' | tail -n 3 | sort | tr '\n' ' ')" "expire /monitor/nodes/a expire /monitor/nodes/b expire /monitor/nodes/c "
