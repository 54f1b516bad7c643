#!/bin/bash
# S1.3: several instances behind a name, and one restarts. A router keeps a table of addresses.
. "$(dirname "$0")/bed.sh"
members 3

for i in 1 2 7; do
	put "/apps/shop/$i-8080" value="127.0.0.1:8080" ttl=30
	want 201
done

step "step 1: the router's table is what is registered"
K=$K2 get "/apps/shop?recursive=true&quorum=true"
want 200
listed=$(field '.node.nodes[].key')
K=$K2 follow router "/apps/shop?recursive=true" $((index + 1))
table() {
	{
		for key in $listed; do echo "set $key"; done
		events router
	} | awk '{ if ($1 == "delete" || $1 == "expire") delete t[$2]; else t[$2] = 1 } END { for (k in t) print k }' | sort | sed 's,.*/,,' | tr '\n' ' '
}
shows() { [ "$(table)" = "$1" ]; }
same "$(table)" "1-8080 2-8080 7-8080 "

step "step 2: instance 7 restarts on another port"
del /apps/shop/7-8080
want 200
put /apps/shop/7-8081 value="127.0.0.1:8081" ttl=30
want 201
told router 2 $T_event
same "$(events router '"\(.action) \(.node.key)"' | tr '\n' ' ')" "delete /apps/shop/7-8080 set /apps/shop/7-8081 "
shows "1-8080 2-8080 7-8081 " || fail "the table is $(table)"

step "step 3: instance 7 crashes; until its entry expires there are two"
crashed=$(now)
put /apps/shop/7-8081 refresh=true ttl=3 prevExist=true
want 200
put /apps/shop/7-8082 value="127.0.0.1:8082" ttl=30
want 201
told router 3 $T_event
shows "1-8080 2-8080 7-8081 7-8082 " || fail "the table is $(table)"
told router 4 "$(T_expire 3)"
at=$(tail -n 1 "$dir/router.events" | cut -d' ' -f1)
[ $((at - crashed)) -ge 3000 ] || fail "it has expired after $((at - crashed)) ms"
shows "1-8080 2-8080 7-8082 " || fail "the table is $(table)"
