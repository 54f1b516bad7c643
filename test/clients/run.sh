#!/bin/bash
# Drives the built server with clients that others made, of v3 and v2. A difference fails loudly; a client that cannot be installed
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
debian etcd python3-etcd python_etcd.py

npm_package() { # package, version, program
	if command -v npm >/dev/null && mkdir "$work/$1" && cp "$3" "$work/$1/" &&
		(cd "$work/$1" && echo '{"private":true}' >package.json && timeout 300 npm install --no-audit --no-fund --ignore-scripts "$1@$2" >/dev/null 2>&1); then
		drive "npm $1" node "$work/$1/$3"
	else
		echo "SKIP npm $1: npm is missing or cannot install it here"
	fi
}
npm_package etcd3 1.1.2 node_etcd3.js
npm_package node-etcd 7.0.0 node_etcd.js

# The others want more than one member, and get members of their own.
export CAIRN_BIN=$binary
apart() { # name, command...: exit code 77 is a skip that has said why
	local name=$1 code=0
	shift
	"$@" || code=$?
	case $code in
	0) ran=$((ran + 1)) ;;
	77) ;;
	*) fail "$name differs" ;;
	esac
}
if (cd goclient2 && go mod download) >/dev/null 2>&1; then
	(cd goclient2 && go vet . && go build -o "$work/goclient2" .) || fail "goclient2 does not build"
	apart "Go client/v2" ./cluster.sh timeout 120 "$work/goclient2"
else
	echo "SKIP Go client/v2: its modules cannot be downloaded here"
fi
apart patroni ./patroni.sh
apart "certificates and users" ./secure.sh

echo "clients that others made: $ran ran and agree"
