#!/bin/bash
# S9.3: TLS with certificates of clients. Other stories run over it as well.
BED_TLS=1
. "$(dirname "$0")/bed.sh"
members 3
issue ann /CN=ann "extendedKeyUsage=clientAuth"
issue root /CN=root "extendedKeyUsage=clientAuth"

step "step 2: without a certificate there is no answer"
out=$(command curl -sS --cacert "$dir/ca.pem" -w '%{http_code}' "$K1/x" 2>&1) && fail "curl is answered: $out"
[[ $out == *certificate\ required* && $out == *000 ]] || fail "curl says: $out"
out=$(command curl -sS -m 5 -w '%{http_code}' "${K1/https/http}/x" 2>&1) && fail "plain text is answered: $out"
mkdir "$dir/else" && cp "$dir"/ca*.pem "$dir/else"
authority # another one, of the same name
issue stranger /CN=root "extendedKeyUsage=clientAuth"
cp "$dir"/else/* "$dir"
out=$(command curl -sS --cacert "$dir/ca.pem" --cert "$dir/stranger.pem" --key "$dir/stranger-key.pem" "$K1/x" 2>&1) && fail "a stranger is answered: $out"
[[ $out == *unknown\ ca* ]] || fail "curl says: $out"

step "step 3: with one it is as usual"
get /x
want 404 .errorCode 100
put /x value=1
want 201 .action set
K=$K2 get "/x?quorum=true"
want 200 .node.value 1

step "step 4: etcdctl of v2, and of v3"
ctl2() { "$binary" ctl2 --endpoints "${client[m1]}" --ca-file "$dir/ca.pem" --cert-file "$dir/client.pem" --key-file "$dir/client-key.pem" "$@"; }
same "$(ctl2 set /x 2)" 2
same "$(ctl2 cluster-health | tail -n 1)" "cluster is healthy"
ctl() { "$binary" ctl --endpoints "${client[m3]}" --cacert "$dir/ca.pem" --cert "$dir/$1.pem" --key "$dir/$1-key.pem" "${@:2}"; }
same "$(ctl client put app/x 1)" OK
same "$(ctl client get --print-value-only app/x)" 1
[[ $(ctl client endpoint health 2>&1) == *"is healthy"* ]] || fail "v3 says: $(ctl client endpoint health 2>&1)"

step "step 5: S1.1, behind a proxy, and S5.1 over TLS"
for other in S1.1 S5.1; do
	BED_TLS=1 CAIRN_BIN=$binary BED_SLOT=$((${BED_SLOT:-0} + 25)) "$(dirname "$0")/$other.sh" >"$dir/$other.out" 2>&1 || fail "$(tail -n 5 "$dir/$other.out")"
done

step "step 6: a certificate's name is a user's, in v2"
auth=${client[m1]}/v2/auth
admin() { req "$1" "$auth/$2" -u root:pw -d "${3:-}"; }
admin PUT users/root '{"user":"root","password":"pw"}'
want 201
admin PUT roles/app '{"role":"app","permissions":{"kv":{"read":["/app/*"],"write":["/app/*"]}}}'
want 201
admin PUT users/ann '{"user":"ann","password":"secret"}'
want 201
admin PUT users/ann '{"user":"ann","grant":["app"]}'
want 200
admin PUT enable
want 200
admin PUT roles/guest '{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}'
want 200
as() { # name, method, path, curl options...
	local n=$1
	curl() { command curl --cacert "$dir/ca.pem" --cert "$dir/$n.pem" --key "$dir/$n-key.pem" "$@"; }
	req "$2" "$K$3" "${@:4}"
}
allowed() { as ann PUT /app/x -d value=1 && [[ $status == 20[01] ]]; }
for K in "$K1" "$K2" "$K3"; do
	within $T_event allowed || fail "ann may not write /app/x at $K: $status $body"
	as ann PUT /other -d value=1
	want 401 .errorCode 110
	as client PUT /app/x -d value=1
	want 401 .errorCode 110
	as ann PUT /app/x -d value=1 -u ann:wrong
	want 401 .errorCode 110
done

step "and in v3"
for line in "user add root:pw" "user grant-role root root" "user add ann --no-password" "role add app" "role grant-permission app readwrite app/ --prefix" \
	"user grant-role ann app" "auth enable"; do
	# shellcheck disable=SC2086
	ctl client $line >/dev/null || fail "$line"
done
same "$(ctl ann put app/x 3)" OK
[[ $(ctl ann put other 3 2>&1) == *"permission denied"* ]] || fail "ann may write anything"
[[ $(ctl client put app/x 3 2>&1) == *"user name is empty"* ]] || fail "a certificate without a name is somebody"
same "$(ctl root get --print-value-only app/x)" 3
