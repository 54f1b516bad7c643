#!/bin/bash
# S9.4: users and roles around a registry.
. "$(dirname "$0")/bed.sh"
members 3
auth=${client[m1]}/v2/auth
admin() { req "$1" "$auth/$2" -u root:pw -d "${3:-}"; }

put /services/web/1 value=a
want 201
admin PUT users/root '{"user":"root","password":"pw"}'
want 201
admin PUT roles/reg '{"role":"reg","permissions":{"kv":{"read":[],"write":["/services/*"]}}}'
want 201
admin PUT roles/disc '{"role":"disc","permissions":{"kv":{"read":["/services/*"],"write":[]}}}'
want 201
for u in reg disc; do
	admin PUT users/$u "{\"user\":\"$u\",\"password\":\"$u\"}"
	want 201
	admin PUT users/$u "{\"user\":\"$u\",\"grant\":[\"$u\"]}"
	want 200 '.roles | join(" ")' $u
done
admin PUT enable
want 200
# The other members know it soon.
for m in m2 m3; do
	on() { [ "$(curl -s "${client[$m]}/v2/auth/enable" | jq .enabled)" = true ]; }
	within $T_event on || fail "$m does not know that auth is on"
done
as() { # user, method, path, curl options...
	req "$2" "$K$3" -u "$1:$1" "${@:4}"
}
for k in "$K1" "$K2" "$K3"; do
	K=$k
	step "a registrar at $k writes, and cannot read"
	as reg PUT /services/web/2 -d value=b
	[[ $status == 20[01] ]] || fail "status $status: $body"
	as reg GET /services/web/2
	want 401 .errorCode 110 .message "The request requires user authentication" .cause "Insufficient credentials"
	as reg PUT /other -d value=b
	want 401 .errorCode 110

	step "a consumer reads and watches, and cannot write"
	as disc GET "/services/web/2?quorum=true"
	want 200 .node.value b
	as disc GET "/services/?recursive=true&sorted=true"
	want 200 '[.. | .value? // empty] | join(" ")' "a b"
	as disc GET "/services?recursive=true"
	want 401 .errorCode 110
	as disc GET "/services/?recursive=true&wait=true&waitIndex=1"
	want 200
	as disc PUT /services/web/3 -d value=c
	want 401 .errorCode 110
	as disc DELETE /services/web/1
	want 401 .errorCode 110
	req GET "$K/services/web/1" -u disc:wrong
	want 401 .errorCode 110
done
K=$K1

step "guest may all, until its patterns are revoked"
get /services/web/1
want 200
admin PUT roles/guest '{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}'
want 200 '.permissions.kv.read | length' 0
get /services/web/1
want 401 .errorCode 110
put /services/web/1 value=c
want 401 .errorCode 110

step "a role with /services* lists without the slash"
admin PUT roles/disc '{"role":"disc","grant":{"kv":{"read":["/services*"]}}}'
want 200
as disc GET "/services?recursive=true"
want 200

step "a user of keys is none of administration, and root takes auth away"
req GET "$auth/users" -u disc:disc
want 401 .message "Insufficient credentials"
admin DELETE enable
want 200
get /services/web/1
want 200
