#!/bin/bash
# S7.3, steps 4 and 5: the health of the whole cluster while members are stopped, as etcdctl of v3 and of v2 tells it.
. "$(dirname "$0")/bed.sh"
members 3
endpoints=${client[m1]},${client[m2]},${client[m3]}
v2() { ETCDCTL_API=2 "$binary" ctl --endpoints "$endpoints" "$@"; }
v3() { ETCDCTL_API=3 "$binary" ctl --endpoints "$endpoints" "$@"; }

healthy() { v3 endpoint health -w json 2>/dev/null | jq -r 'map(.health) | sort | map(tostring) | join(" ")'; }
step "all run"
same "$(healthy)" "true true true" "endpoint health"
out=$(v2 cluster-health) || fail "cluster-health: $out"
same "$(tail -n 1 <<<"$out")" "cluster is healthy"
same "$(grep -c 'is healthy: got healthy result from' <<<"$out")" 3 "healthy members"

step "step 4: one is stopped"
stop m3
out=$(v3 endpoint health 2>&1) && fail "endpoint health succeeds: $out"
same "$(healthy)" "false true true" "endpoint health"
two() { [ "$(for m in m1 m2; do curl -s -o /dev/null -w '%{http_code} ' "${client[$m]}/health"; done)" = "200 200 " ]; }
within $T_fail two || fail "the others are not healthy"
out=$(v2 cluster-health) || fail "cluster-health: $out"
grep -q 'unreachable' <<<"$out" || fail "cluster-health does not say who is unreachable: $out"
same "$(tail -n 1 <<<"$out")" "cluster is healthy"

step "step 5: two are stopped"
stop m2
sick() { [ "$(curl -s -o /dev/null -w '%{http_code}' "${client[m1]}/health")" = 503 ]; }
within 10000 sick || fail "the survivor says it is healthy"
code=0
out=$(v2 cluster-health) || code=$?
same "$code" 5 "exit code of cluster-health: $out"
same "$(tail -n 1 <<<"$out")" "cluster is unhealthy"
