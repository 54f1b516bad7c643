#!/usr/bin/env bash
# Tests clusters while networks, disks and processes fail: three processes in network namespaces of their own, for about
# six minutes. Needs root on Linux; arguments go to the tests (-long for more rounds, -test.run NAME for some).
set -euo pipefail
cd "$(dirname "$0")"
fail() { echo "$0: $*" >&2; exit 77; } # it cannot run here
[ "$(uname -s)" = Linux ] || fail "needs Linux"
[ "$(id -u)" = 0 ] || fail "needs root: it makes network namespaces and mounts"
for tool in ip mount umount mkfs.ext4 fsfreeze; do command -v "$tool" >/dev/null || fail "needs $tool"; done

# Whatever is made outside of a temporary directory begins with this, and goes at the end.
export CAIRN_NETWORK_TESTS=1 CAIRN_NETWORK_PREFIX="cairn-$$-"
ip netns add "${CAIRN_NETWORK_PREFIX}try" || fail "network namespaces cannot be made here"
ip netns del "${CAIRN_NETWORK_PREFIX}try"

dir=$(mktemp -d)
tests=""
finish() {
	trap - EXIT INT TERM
	[ -z "$tests" ] || { kill -TERM "$tests" && wait "$tests"; } 2>/dev/null || true
	"$dir/network.test" -sweep || true
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
${GO:-go} test -c -o "$dir/network.test" .
"$dir/network.test" -test.v -test.timeout 30m "$@" &
tests=$!
wait "$tests" && code=0 || code=$?
tests=""
exit "$code"
