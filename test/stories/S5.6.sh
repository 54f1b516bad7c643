#!/bin/bash
# S5.6: only who has locked can unlock.
. "$(dirname "$0")/bed.sh"
members 3

put "/lock/res?prevExist=false" value=A
want 201
holds() {
	K=$K2 get "/lock/res?quorum=true"
	want 200 .node.value A
}
step "step v2-1: B cannot delete what A holds"
K=$K3 del "/lock/res?prevValue=B"
want 412 .errorCode 101 .cause "[B != A]"
holds

step "step v2-2: nor with an index of before"
stale=$(field .node.modifiedIndex)
put "/lock/res?prevValue=A" value=A
want 200
del "/lock/res?prevIndex=$stale"
want 412 .errorCode 101 .cause "[$stale != $index]"
holds

step "step v2-3: A can"
del "/lock/res?prevValue=A"
want 200 .action compareAndDelete

step "step v2-4: roles say who may write the lock"
admin() { curl -s -u root:pw -X "$1" "${client[m1]}/v2/auth/$2" -d "${3:-}" -w '\n%{http_code}'; }
did() { [[ ${1##*$'\n'} == 20[01] ]] || fail "$1"; }
did "$(admin PUT users/root '{"user":"root","password":"pw"}')"
for r in '{"role":"lock","permissions":{"kv":{"read":["/lock/*"],"write":["/lock/*"]}}}' '{"role":"look","permissions":{"kv":{"read":["/lock/*"],"write":[]}}}'; do
	did "$(admin PUT "roles/$(jq -r .role <<<"$r")" "$r")"
done
did "$(admin PUT users/a '{"user":"a","password":"a","roles":["lock"]}')"
did "$(admin PUT users/b '{"user":"b","password":"b","roles":["look"]}')"
did "$(admin PUT enable)"
did "$(admin PUT roles/guest '{"role":"guest","revoke":{"kv":{"read":["/*"],"write":["/*"]}}}')"
as() { req "$2" "$K1$3" -u "$1:$1" "${@:4}"; }
as a PUT "/lock/res?prevExist=false" -d value=A
want 201
as b GET /lock/res
want 200 .node.value A
as b DELETE /lock/res
want 401 .errorCode 110
req DELETE "$K1/lock/res"
want 401 .errorCode 110
as a DELETE "/lock/res?prevValue=A"
want 200
did "$(admin DELETE enable)"
