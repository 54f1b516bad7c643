#!/bin/bash
# S9.1: the data model: a tree whose leaves alone hold values, hidden names, order, and data that survive.
. "$(dirname "$0")/bed.sh"
members 3

step "only leaves hold values"
put "/dir?dir=true"
want 201
put /dir value=x
want 403 .errorCode 102 .cause /dir
put /key value=1
put /key/child value=x
want 400 .errorCode 104 .cause /key

step "directories are as in a file system"
put /fs/a/b/c value=1
put /fs/z value=2
put "/fs/empty?dir=true"
get "/fs?sorted=true"
want 200 '[.node.nodes[] | "\(.key) \(.dir // false)"] | join(",")' "/fs/a true,/fs/empty true,/fs/z false"
get "/fs?sorted=true&recursive=true"
want 200 '[.. | .key? // empty] | join(" ")' "/fs /fs/a /fs/a/b /fs/a/b/c /fs/empty /fs/z"
del "/fs/a?dir=true"
want 403 .errorCode 108 .cause /fs/a
del /fs/empty
want 403 .errorCode 102
del "/fs/empty?dir=true"
want 200
del "/fs/a?recursive=true"
want 200
get "/fs?recursive=true&quorum=true"
want 200 '[.. | .key? // empty] | join(" ")' "/fs /fs/z"

step "hidden names are not listed, and can be reached"
put /fs/_secret/x value=3
want 201
get "/fs?recursive=true&sorted=true"
want 200 '[.. | .key? // empty] | join(" ")' "/fs /fs/z"
get /fs/_secret
want 200 '.node.nodes[0].value' 3

step "listings are in the order of bytes; names that POST makes have 20 digits"
for name in b B a A 10 9 ä; do
	req PUT "$K/order/$(jq -rn --arg n $name '$n | @uri')" -d value=$name
	want 201
done
get "/order?sorted=true"
want 200 '[.node.nodes[].value] | join(" ")' "10 9 A B a b ä"
post /order value=last
want 201
[[ $(field .node.key) =~ ^/order/[0-9]{20}$ ]] || fail "the key is $(field .node.key)"
same "$((10#$(field '.node.key | sub(".*/"; "")')))" "$index" "the number in it"

step "all survives that every member is killed at once"
put /fs/ttl value=4 ttl=300
put /fs/deleted value=5
del /fs/deleted
from=$index
view() { curl -s "$1/?recursive=true&sorted=true&quorum=true" | jq -cS 'del(.. | .ttl?)'; }
hidden() { curl -s "$1/fs/_secret?recursive=true&quorum=true"; }
before=$(view "$K1") before_hidden=$(hidden "$K1")
kill9 m1 m2 m3
start m1 m2 m3
within 20000 led m1 m2 m3 || fail "nobody leads"
for k in "$K1" "$K2" "$K3"; do
	same "$(view "$k")" "$before" "the tree"
	same "$(hidden "$k")" "$before_hidden" "what is hidden"
	K=$k get "/fs/deleted?wait=true&waitIndex=$from"
	want 200 .action delete .prevNode.value 5 .node.modifiedIndex "$from"
done
put /fs/z value=6
[ "$index" -gt "$from" ] || fail "the index went from $from to $index"

step "what a member was sent as a snapshot has the events of before"
stop m3
flags[m3]="--snapshot-catchup-entries 100" flags[m2]="--snapshot-catchup-entries 100" flags[m1]="--snapshot-catchup-entries 100"
for m in m1 m2; do
	stop $m
	start $m
	within 10000 led m1 m2 || fail "nobody leads"
done
put /events/first value=1
first=$index
urls=()
for i in {1..900}; do
	[ "$i" = 1 ] || urls+=(--next)
	urls+=(-s -o /dev/null -X PUT "$K1/events/n" -d "value=$i")
done
curl "${urls[@]}"
start m3
caught_up() { [ "$(curl -s "$K3/events/n" | jq -r .node.value)" = 900 ]; }
within 10000 caught_up || fail "m3 does not catch up"
grep -q "installed a snapshot" "$dir/m3.log" || fail "m3 was not sent a snapshot"
K=$K3 get "/events?recursive=true&wait=true&waitIndex=$first"
want 200 .node.key /events/first .node.modifiedIndex "$first"
K=$K3 get "/events?recursive=true&wait=true&waitIndex=$((first + 450))"
want 200 .node.value 450

step "etcdctl shows it like a file system"
export ETCDCTL_API=2 ETCDCTL_ENDPOINTS=${client[m1]},${client[m2]},${client[m3]}
ctl() { "$binary" ctl "$@"; }
ctl mkdir /shell/sub || fail mkdir
ctl set /shell/sub/k v >/dev/null || fail set
same "$(ctl ls /shell)" /shell/sub "ls"
same "$(ctl ls --recursive --sort -p /shell)" "/shell/sub/"$'\n'/shell/sub/k "ls --recursive"
! ctl rmdir /shell/sub 2>/dev/null || fail "rmdir takes a directory that is not empty"
ctl rm --recursive /shell >/dev/null || fail "rm --recursive"
! ctl ls /shell 2>/dev/null || fail "it is there after rm --recursive"
