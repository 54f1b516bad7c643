#!/bin/bash
# Runs a command with the client URLs of a cluster of three members, separated by commas, as its last argument.
. "$(dirname "$0")/../stories/bed.sh"
step "three members"
members 3
step "$*"
"$@" "${client[m1]},${client[m2]},${client[m3]}" || fail "it differs"
for m in m1 m2 m3; do kill -0 "${process[$m]}" || fail "$m has ended"; done
