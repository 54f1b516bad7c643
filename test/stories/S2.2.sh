#!/bin/bash
# S2.2: a subscriber that slept too long is told so, and starts anew.
. "$(dirname "$0")/bed.sh"
members 3

step "steps 1 and 2: 1500 writes pass by a subscriber"
put /conf/app/log_level value=info
n=$index
urls=()
for i in {1..1500}; do
	[ "$i" = 1 ] || urls+=(--next)
	urls+=(-s -o /dev/null -X PUT "$K1/other/$((i % 10))" -d "value=$i")
done
curl "${urls[@]}" || fail "the writes"
put /conf/app/log_level value=debug
want 200
current=$index
[ "$current" -ge $((n + 1501)) ] || fail "the index went from $n to $current"

step "step 3: watching where it was is refused"
get "/conf/app?recursive=true&wait=true&waitIndex=$((n + 1))"
want 400 .errorCode 401 .message "The event in requested index is outdated and cleared" \
	.cause "the requested history has been cleared [$((current - 999))/$((n + 1))]" .index "$current"
same "$index" "$current" "X-Etcd-Index"
# The oldest that is kept can still be watched from; it is of another key, so the first that matches comes.
get "/conf/app?recursive=true&wait=true&waitIndex=$((current - 999))"
want 200 .node.value debug

step "step 4: it reads, and watches from there"
get "/conf/app?recursive=true"
want 200 '.node.nodes[0].value' debug
watch again "/conf/app?recursive=true" $((index + 1))
sleep 0.5
silent again
put /conf/app/log_level value=warn
event again $T_event
want 200 .node.value warn
