#!/bin/bash
# S5.5: a lock while members of the cluster fail.
. "$(dirname "$0")/bed.sh"
members 3

# any FUNCTION...: asks the members that run in turn until one does not answer with a failure of its own.
any() {
	local m
	for m in m1 m2 m3; do
		[ -n "${process[$m]:-}" ] || continue
		K=${client[$m]}/v2/keys "$@"
		[[ $status == [234]?? ]] && return
	done
	return 1
}
renew() { patience=3 any put "/lock/res?prevValue=A" refresh=true ttl=15; }
renewed() { renew && [ "$status" = 200 ]; }
attempt() { patience=3 any put "/lock/res?prevExist=false" value=B ttl=15; }

step "step 1: A holds, B waits"
put "/lock/res?prevExist=false" value=A ttl=15
want 201
from=$((index + 1))
K=$K1 follow B /lock/res $from
attempt
want 412 .errorCode 105

step "step 2: the leader is killed"
lead=$(await_leader)
kill9 "$lead"
within $T_fail renewed || fail "A cannot renew within $T_fail ms: $status $body"
attempt
want 412 .errorCode 105 .cause /lock/res
told B 0 0

step "step 3: it is started again, and another is killed"
start "$lead"
within 10000 led m1 m2 m3 || fail "$lead does not come back"
other=$([ "$lead" = m2 ] && echo m3 || echo m2)
kill9 "$other"
within $T_fail renewed || fail "A cannot renew within $T_fail ms: $status $body"
attempt
want 412 .errorCode 105
start "$other"
within 10000 led m1 m2 m3 || fail "$other does not come back"

step "step 4: two members stop, and nothing is granted, renewed or expires"
within 5000 renewed
put "/short" value=x ttl=2
want 201
stop m2 m3
patience=12
for try in "put /lock/res?prevValue=A refresh=true ttl=15" "put /lock/res?prevExist=false value=B ttl=15"; do
	$try
	want 500 .errorCode 300
	[[ $body == *"request timed out"* ]] || fail "the cause is $(field .cause)"
done
get /lock/res
want 200 .node.value A
get /short
want 200 .node.value x
told B 0 0
patience=15

step "step 5: they start again, and there is one owner"
start m2 m3
within 10000 led m1 m2 m3 || fail "no leader"
# Time went on meanwhile: A has it still if it renews in time, else B gets it.
within 10000 any put "/lock/res?prevValue=A" refresh=true ttl=15 || fail "A cannot ask: $status $body"
case $status in
200) owner=A ;;
404)
	attempt
	want 201
	owner=B
	;;
*) fail "A renews: $status $body" ;;
esac
expired() { [ "$(curl -s -o /dev/null -w '%{http_code}' "$K1/short?quorum=true")" = 404 ]; }
within 3000 expired || fail "what is overdue does not expire"

step "step 6: all members say so"
for k in "$K1" "$K2" "$K3"; do
	K=$k get "/lock/res?quorum=true"
	want 200 .node.value $owner
done
