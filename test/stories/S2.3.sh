#!/bin/bash
# S2.3: metadata of a search cluster, and the collection of logs.
. "$(dirname "$0")/bed.sh"
members 3

step "step 1: only live hosts are listed"
put /search/meta/index1 value='{"shards":3}'
for h in h1 h2; do
	put "/search/nodes/$h" value=up ttl=5
	want 201
done
until=$(($(now) + $(T_expire 5) + 500))
while [ "$(now)" -lt $until ]; do
	put /search/nodes/h1 refresh=true ttl=5 prevExist=true
	want 200
	sleep 1
done
get "/search?recursive=true&sorted=true&quorum=true"
want 200 '[.. | .key? // empty] | join(" ")' "/search /search/meta /search/meta/index1 /search/nodes /search/nodes/h1"

step "steps 2 and 3: a machine comes, and the collector is told of the directory and of the key"
follow collector "/logs?recursive=true" $((index + 1))
put "/logs/shop/10.1.1.1?dir=true"
want 201 .node.dir true
put /logs/shop/10.1.1.1/status value=up
want 201
told collector 2 $T_event
same "$(events collector '"\(.action) \(.node.key) \(.node.dir)"' | tr '\n' ' ')" \
	"set /logs/shop/10.1.1.1 true set /logs/shop/10.1.1.1/status null "

step "step 4: a machine leaves, in one event"
del "/logs/shop/10.1.1.1?recursive=true"
want 200 .action delete .node.dir true
told collector 3 $T_event
same "$(events collector '"\(.action) \(.node.key) \(.node.dir)"' | tail -n 1)" "delete /logs/shop/10.1.1.1 true"

step "step 5: a directory with a time to live takes along what is in it"
made=$(now)
put "/logs/shop/10.1.1.2?dir=true" ttl=3
want 201 .node.ttl 3
put /logs/shop/10.1.1.2/a value=1
put /logs/shop/10.1.1.2/sub/b value=2
told collector 6 $T_event
told collector 7 "$(T_expire 3)"
[ $(($(now) - made)) -ge 3000 ] || fail "it has expired after $(($(now) - made)) ms"
same "$(events collector '"\(.action) \(.node.key)"' | tail -n 1)" "expire /logs/shop/10.1.1.2"
for key in 10.1.1.2 10.1.1.2/a 10.1.1.2/sub/b; do
	get "/logs/shop/$key?quorum=true"
	want 404 .errorCode 100
done
sleep 1
told collector 7 0
