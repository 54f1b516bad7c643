#!/bin/bash
# Drives the built server with clients of other languages. A difference fails loudly; a client that cannot be installed
# here is skipped with a line that says so.
#
#   test/clients/run.sh            builds the server of this tree
#   CAIRN_BIN=... test/clients/run.sh   tests another binary; etcd's own takes the same flags
set -u
cd "$(dirname "$0")" || exit 1
work=$(mktemp -d)
server=
finish() {
	[ -n "$server" ] && kill "$server" 2>/dev/null && wait "$server" 2>/dev/null
	rm -rf "$work"
}
trap finish EXIT
fail() {
	echo "FAIL: $*" >&2
	[ -f "$work/log" ] && tail -n 20 "$work/log" >&2
	exit 1
}

binary=${CAIRN_BIN:-}
if [ -z "$binary" ]; then
	binary=$work/cairn
	(cd ../.. && go build -o "$binary" ./cmd/cairn) || fail "the server does not build"
fi

free_port() { /usr/bin/env python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
addr=127.0.0.1:$(free_port)
peer=127.0.0.1:$(free_port)
"$binary" --data-dir "$work/data" --listen-client-urls "http://$addr" --advertise-client-urls "http://$addr" \
	--listen-peer-urls "http://$peer" --initial-advertise-peer-urls "http://$peer" --initial-cluster "default=http://$peer" >"$work/log" 2>&1 &
server=$!
for _ in $(seq 100); do
	curl -sf "http://$addr/health" >/dev/null && break
	kill -0 "$server" 2>/dev/null || fail "the server has ended"
	sleep 0.1
done
curl -sf "http://$addr/health" >/dev/null || fail "the server does not serve"

ran=0
drive() { # name, command...
	local name=$1
	shift
	timeout 120 "$@" "$addr" || fail "$name differs"
	kill -0 "$server" 2>/dev/null || fail "$name ended the server"
	ran=$((ran + 1))
}

# Debian's modules belong to its own interpreter.
python=/usr/bin/python3
debian() { # module, package, program
	if ! "$python" -c "import $1" 2>/dev/null; then
		[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$2" >/dev/null 2>&1
	fi
	if "$python" -c "import $1" 2>/dev/null; then
		drive "$2" "$python" "$3"
	else
		echo "SKIP $2: it is not installed, and apt-get cannot install it here"
	fi
}
debian etcd3 python3-etcd3 python_etcd3.py
debian etcd3gw python3-etcd3gw python_etcd3gw.py

if command -v npm >/dev/null && mkdir "$work/node" && cp node_etcd3.js "$work/node/" &&
	(cd "$work/node" && echo '{"private":true}' >package.json && timeout 300 npm install --no-audit --no-fund --ignore-scripts etcd3@1.1.2 >/dev/null 2>&1); then
	drive "npm etcd3" node "$work/node/node_etcd3.js"
else
	echo "SKIP npm etcd3: npm is missing or cannot install it here"
fi

echo "clients of other languages: $ran ran and agree"
