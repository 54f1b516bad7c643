#!/bin/bash
# Runs all stories against real members and prints a sheet of the results; succeeds if all pass. It takes about five
# minutes on two cores. Stories that wait a lot run side by side, each with a cluster of its own.
#
#   test/stories/run.sh           builds the server of this tree; CAIRN_BIN=... takes another binary
#   test/stories/run.sh -long     takes the times that the stories tell where a shorter run is the rule
set -u
cd "$(dirname "$0")" || exit 1
long=""
[ "${1:-}" != -long ] || long=-long
for tool in curl jq openssl; do
	command -v $tool >/dev/null || { [ "$(id -u)" = 0 ] && apt-get install -qq -y $tool >/dev/null 2>&1; } || {
		echo "FAIL: the stories need $tool" >&2
		exit 1
	}
done
work=$(mktemp -d)
set -m # each story is a group of processes, which ends as one
finish() {
	trap - EXIT
	trap '' INT TERM
	local p
	for p in $(jobs -p); do kill -TERM -- "-$p"; done 2>/dev/null
	wait 2>/dev/null
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ -z "${CAIRN_BIN:-}" ]; then
	export CAIRN_BIN=$work/cairn
	(cd ../.. && ${GO:-go} build -o "$CAIRN_BIN" ./cmd/cairn) || exit 1
fi
${GO:-go} vet . && ${GO:-go} test -c -o "$work/stories.test" . || exit 1
export CAIRN_STORIES=1 STORIES_LONG=$long
began=$(date +%s)

# Those of Go, two at a time.
"$work/stories.test" -test.v -test.parallel 2 -test.timeout 20m $long >"$work/go.log" 2>&1 &
tests=$!

# The scripts, the longest first, three at a time.
run() { # slot, story
	local from code=0
	from=$(date +%s)
	BED_SLOT=$1 timeout --foreground 1200 "./$2.sh" >"$work/$2.log" 2>&1 || code=$?
	echo "$code" >"$work/$2.code"
	echo "$2 $([ $code = 0 ] && echo passed || echo FAILED) after $(($(date +%s) - from)) s"
}
slot=0
for story in S9.3 S9.2 S6.1 S5.1 S5.2 S7.1 S8.1 S9.1 S5.5 S2.1 S3.1 S4.3 S6.4 S4.1 S3.2 S7.3 S7.2 S1.1 S1.2 S9.4 S2.3 S6.2 S4.2 S5.6 S1.3 S2.2 S6.3 S2.4; do
	[ -x "$story.sh" ] || { echo "FAIL: there is no $story.sh" >&2 && exit 1; }
	while [ "$(jobs -rp | grep -vcx "$tests")" -ge 3 ]; do wait -n; done
	run $slot $story &
	slot=$(((slot + 1) % 60))
done
for p in $(jobs -rp | grep -vx "$tests"); do wait "$p"; done
code=0
wait "$tests" || code=$?
[ $code = 0 ] || echo "the tests of Go have failed"
grep -E '^ *--- (PASS|FAIL|SKIP)' "$work/go.log" | sed 's/^ *--- \([A-Z]*\): TestS\(.*\) (.*/\1 S\2/' >"$work/go.results"
for log in "$work"/S*.log; do
	[ "$(cat "${log%.log}.code")" = 0 ] || sed 's/^/    /' "$log"
done
[ $code = 0 ] || grep -vE '^=== |^--- PASS' "$work/go.log" | sed 's/^/    /'

# result ITEM...: scripts are named with a dot, tests with an underline.
passed=0 failed=0
declare -A counted=()
result() {
	local item ok=1 text=pass
	[ "$1" != - ] || { cell=- && return; }
	for item in "$@"; do
		case $item in
		*_*) grep -qx "PASS $item" "$work/go.results" || ok=0 ;;
		*) [ "$(cat "$work/$item.code" 2>/dev/null)" = 0 ] || ok=0 ;;
		esac
		if [ -z "${counted[$item]:-}" ]; then
			counted[$item]=1
			[ $ok = 1 ] && passed=$((passed + 1)) || failed=$((failed + 1))
		fi
	done
	[ $ok = 1 ] || text=FAIL
	cell="$text ($(tr _ . <<<"$*" | sed 's/V[23]//g'))"
}
row() { # title, items of v2, items of v3
	local v2
	# shellcheck disable=SC2086
	result $2
	v2=$cell
	# shellcheck disable=SC2086
	result $3
	printf '| %-28s | %-24s | %-14s |\n' "$1" "$v2" "$cell"
}
printf '\n| %-28s | %-24s | %-14s |\n| --- | --- | --- |\n' Story v2 v3
row "S1.1 register, expire" S1.1 S1_4
row "S1.2 failover" S1.2 S1_5
row "S1.3 restart" S1.3 S1_5
row "S1.5 gRPC" - S1_5
row "S2.1 configuration" S2.1 S2_5
row "S2.2 history lost" S2.2 S2_5
row "S2.3 metadata, logs" S2.3 -
row "S2.4 etcdctl watch" S2.4 -
row "S3.1 own balance" S3.1 S3_1
row "S3.2 node table" S3.2 S3_3
row "S4.1 heartbeat" S4.1 S4_4
row "S4.2 console, push" S4.2 S4_4
row "S4.3 tasks, progress" S4.3 S4_4
row "S5.1 exclusive lock" S5.1 S5_3
row "S5.2 sequenced, no herd" S5.2 S5_3
row "S5.4 exclusion under load" S5_4V2 S5_4V3
row "S5.5 availability" S5.5 S5_5
row "S5.6 symmetry" S5.6 S5_6
row "S6.1 queue" S6.1 S6_5
row "S6.2-S6.4 condition" "S6.2 S6.3 S6.4" S6_6
row "S7.1 heartbeat of 30 s" S7.1 S7_3
row "S7.2 monitor failover" S7.2 -
row "S7.3 health of the cluster" S7.3 S7_3
row "S8.1 index builder" S8.1 S8_2
row "S8.3 election during faults" S8_3V2 S8_3V3
row "S9.1 data model" S9.1 -
row "S9.2 proxy" S9.2 -
row "S9.3 certificates" S9.3 S9.3
row "S9.4 users" S9.4 -
echo
echo "$(($(date +%s) - began)) s"
echo "stories: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ $code = 0 ]
