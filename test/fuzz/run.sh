#!/usr/bin/env bash
# Fuzzes every target in turn, one worker each, and prints what came of it: for MINUTES in all, or for a time each. Whoever
# shares the machine goes first. Inputs that reach new code are kept in Go's build cache; one that fails is kept beside its
# test, as a seed.
#
#   test/fuzz/run.sh MINUTES [REGEXP of targets]
#   EACH=10s test/fuzz/run.sh
set -uo pipefail
cd "$(dirname "$0")/../.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
targets=$(grep -rl '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$file" | sed "s|^|$(dirname "$file") |"
done | grep -E "${2:-.}" | sort -u)
count=$(echo "$targets" | wc -l)
each=${EACH:-$((${1:?how many minutes?} * 60 / count))s}
echo "$count targets, $each each"
printf '%-22s %-17s %11s %5s %7s %6s  %s\n' package target executions new corpus 'cpu s' result
failed=0
TIMEFORMAT='%U %S'
while read -r dir target; do
	log=$logs/log result=ok
	if ! { time nice -n 19 go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$each" -fuzzminimizetime 200x -parallel 1 >"$log" 2>&1 </dev/null; } 2>"$logs/time"; then
		# Go may report the end of the time as a failure (golang/go#75804).
		if grep -q 'Failing input\|panic:\|build failed' "$log" || ! grep -q '^    context deadline exceeded' "$log"; then
			result=FAILED failed=1
			cat "$log" >&2
		fi
	fi
	last=$(grep 'execs:' "$log" | tail -1)
	printf '%-22s %-17s %11s %5s %7s %6s  %s\n' "$dir" "$target" "$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' <<<"$last")" \
		"$(sed -n 's/.*new interesting: \([0-9]*\).*/\1/p' <<<"$last")" "$(sed -n 's/.*total: \([0-9]*\).*/\1/p' <<<"$last")" \
		"$(awk '{ printf "%.0f", $1 + $2 }' "$logs/time")" "$result"
done <<<"$targets"
exit $failed
