#!/usr/bin/env bash
# Fuzzes every target in turn, one worker each, for MINUTES in all, and prints what came of it. Whoever shares the machine
# goes first. Inputs that are new are kept in Go's build cache; one that fails is kept beside its test, as a seed.
#
#   test/fuzz/run.sh MINUTES [REGEXP of targets]
set -uo pipefail
cd "$(dirname "$0")/../.."
minutes=${1:?how many minutes?} only=${2:-.}
logs=$(mktemp -d)
targets=$(grep -rl '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$file" | sed "s|^|$(dirname "$file") |"
done | grep -E "$only" | sort -u)
count=$(echo "$targets" | wc -l)
each=$((minutes * 60 / count))
echo "$count targets, $each seconds each; logs in $logs"
printf '%-24s %-20s %12s %8s %8s  %s\n' package target executions new corpus result
failed=0
while read -r dir target; do
	log=$logs/$(basename "$dir")-$target
	result=ok
	nice -n 19 go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "${each}s" -fuzzminimizetime 200x -parallel 1 >"$log" 2>&1 </dev/null || { result="FAILED: $log"; failed=1; }
	last=$(grep 'execs:' "$log" | tail -1)
	printf '%-24s %-20s %12s %8s %8s  %s\n' "$dir" "$target" "$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' <<<"$last")" \
		"$(sed -n 's/.*new interesting: \([0-9]*\).*/\1/p' <<<"$last")" "$(sed -n 's/.*total: \([0-9]*\).*/\1/p' <<<"$last")" "$result"
done <<<"$targets"
exit $failed
