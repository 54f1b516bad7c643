#!/bin/bash
# S4.1: a heartbeat check. The checker and the checked know a directory, and not each other.
. "$(dirname "$0")/bed.sh"
members 3

get "/?quorum=true"
K=$K2 follow checker "/hb?recursive=true" $((index + 1))
step "step 1: a directory with a time to live, and renewals"
put "/hb/svc?dir=true&ttl=6"
want 201 .node.dir true .node.ttl 6
put /hb/svc/detail value=x
want 201
K=$K3 watch inside /hb/svc/detail $((index + 1))
told checker 2 $T_event

step "step 2: the checker sees a renewal, unless it is a refresh"
for n in 1 2; do
	sleep 2
	put "/hb/svc?dir=true&prevExist=true&ttl=6"
	want 200 .action update .node.ttl 6 .node.dir true
	told checker $((2 + n)) $T_event
	same "$(events checker '"\(.action) \(.node.key)"' | tail -n 1)" "update /hb/svc"
done
for n in 1 2; do
	sleep 2
	last=$(now)
	put "/hb/svc?dir=true&prevExist=true" ttl=6 refresh=true
	want 200 .action update .node.ttl 6
done
told checker 4 0
silent inside

step "steps 3 and 4: it stops, and whoever watches from above or from inside is told"
told checker 5 "$(T_expire 6)"
at=$(tail -n 1 "$dir/checker.events" | cut -d' ' -f1)
[ $((at - last)) -ge 6000 ] || fail "it has expired after $((at - last)) ms"
same "$(events checker '"\(.action) \(.node.key)"' | tail -n 1)" "expire /hb/svc"
event inside $T_event
want 200 .action expire .node.key /hb/svc
