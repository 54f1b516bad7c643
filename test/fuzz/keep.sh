#!/usr/bin/env bash
# Picks anew, from what fuzzing has found on this machine, the inputs that are kept in the repository: for each target the
# latest ones, at most 50 and 40 KB, each at most 2 KB, as testdata/fuzz/TARGET/kept-NAME beside the test. Inputs that have
# failed once have other names there and stay.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=$(go env GOCACHE)/fuzz/$(go list -m)
grep -rl '^func Fuzz' --include='*_test.go' . | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' "$file" | while read -r target; do
		dir=$(dirname "$file") from=$cache/$(dirname "$file")/$target
		[ -d "$from" ] || continue
		to=$dir/testdata/fuzz/$target
		mkdir -p "$to"
		rm -f "$to"/kept-*
		left=40960 count=0
		for input in $(ls -t "$from"); do
			size=$(wc -c <"$from/$input")
			[ "$size" -le 2048 ] && [ "$size" -le "$left" ] || continue
			cp "$from/$input" "$to/kept-$input"
			left=$((left - size)) count=$((count + 1))
			[ "$count" -lt 50 ] || break
		done
	done
done
