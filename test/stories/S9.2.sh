#!/bin/bash
# S9.2: a v2 proxy beside every program.
. "$(dirname "$0")/bed.sh"
members 3
proxy
P=${client[P]}
endpoints() { curl -s "$P/v2/config/local/proxy" | jq -r '.endpoints[]' | sort | tr '\n' ' '; }
all="$(printf '%s\n' "${client[m1]}" "${client[m2]}" "${client[m3]}" | sort | tr '\n' ' ')"

step "step 1: it serves keys, members and the version, and lists its endpoints"
K=$KP put /x value=1
want 201 .node.value 1
same "$(curl -s "$P/v2/members" | jq -c '[.members[].name] | sort')" '["m1","m2","m3"]' "members"
same "$(curl -s "$P/version")" "$(curl -s "${client[m1]}/version")" "version"
same "$(endpoints)" "$all" "endpoints"

step "step 2: one member stops, and no request fails"
stop m2
for i in 1 2 3 4 5 6 7 8; do
	K=$KP put /x value="$i"
	want 200 .node.value "$i"
done
# Whoever stands first is asked: m2 is found out when its turn comes.
first() { curl -s "$P/v2/config/local/proxy" | jq -r '.endpoints[0]'; }
[ "$(first)" != "${client[m2]}" ] || fail "the endpoint that does not answer is first yet"
start m2

step "step 3: all stop"
stop m1 m2 m3
K=$KP get /x
want 502
[[ $(field .message) == "httpproxy: unable to get response from "*" endpoint(s)" ]] || fail "$body"
K=$KP get /x
want 503 .message "httpproxy: zero endpoints currently available"

step "step 4: they start, and it works again"
start m1 m2 m3
works() { [ "$(curl -s "$KP/x" | jq -r .node.value)" = 8 ]; }
within 7000 works || fail "the proxy does not come back"

step "step 5: a fourth member is added, and is among the endpoints in half a minute"
address m4
added() {
	req POST "$P/v2/members" -H 'Content-Type: application/json' -d "{\"peerURLs\":[\"${peer[m4]}\"]}"
	[ "$status" = 201 ]
}
# Nobody is added before all members have been connected for some seconds.
within 15000 added || fail "m4 is not added: $status $body"
cluster+=",m4=${peer[m4]}" flags[m4]="--initial-cluster-state existing"
start m4
four() { [[ " $(endpoints)" == *" ${client[m4]} "* ]]; }
within 33000 four || fail "the endpoints are $(endpoints)"
K=$KP put /x value=9
want 200

step "step 6: a read-only proxy"
free_port
ro=http://127.0.0.1:$port
launch ro --proxy readonly --data-dir "$dir/ro" --listen-client-urls "$ro" --initial-cluster "$cluster"
client[ro]=$ro
serves ro
reads() { [ "$(curl -s "$ro/v2/keys/x" | jq -r .node.value)" = 9 ]; }
within 5000 reads || fail "it does not read: $(curl -s "$ro/v2/keys/x")"
for method in PUT POST DELETE; do
	req $method "$ro/v2/keys/x" -d value=no
	want 501
	same "$body" "" "body"
done

step "step 7: a proxy remembers the members"
same "$(jq -r '.PeerURLs | sort | join(" ")' "$dir/P/proxy/cluster")" "$(printf '%s\n' "${peer[m1]}" "${peer[m2]}" "${peer[m3]}" "${peer[m4]}" | sort | paste -sd' ')" "the file"
stop P
launch P --proxy on --data-dir "$dir/P" --listen-client-urls "$P" --initial-cluster "wrong=http://127.0.0.1:1"
serves P
remembers() { [ "$(curl -s "$KP/x" | jq -r .node.value)" = 9 ]; }
within 5000 remembers || fail "it does not work with other options: $(curl -s "$KP/x")"

step "step 8: a discovery URL of size 3 and four processes"
token=$KP/_etcd/registry/story
req PUT "$token/_config/size" -d value=3
want 201
for n in d1 d2 d3 d4; do
	address $n
	launch $n --name $n --data-dir "$dir/$n" --listen-client-urls "${client[$n]}" --advertise-client-urls "${client[$n]}" \
		--listen-peer-urls "${peer[$n]}" --initial-advertise-peer-urls "${peer[$n]}" --discovery "$token"
	sleep 0.5
done
for n in d1 d2 d3 d4; do serves $n; done
within 20000 led d1 d2 d3 || fail "nobody leads"
same "$(curl -s "${client[d2]}/v2/members" | jq -c '[.members[].name] | sort | join(" ")')" '"d1 d2 d3"' "members"
d4() { [ "$(curl -s "${client[d4]}/v2/config/local/proxy" | jq '.endpoints | length')" = 3 ]; }
within 10000 d4 || fail "the fourth is no proxy: $(tail -n 3 "$dir/d4.log")"
{ [ -d "$dir/d4/proxy" ] && [ ! -e "$dir/d4/member" ]; } || fail "the fourth is no proxy"
req PUT "${client[d4]}/v2/keys/y" -d value=1
want 201
K=${client[d1]}/v2/keys get "/y?quorum=true"
want 200 .node.value 1
get "/y?quorum=true"
want 404 .errorCode 100
