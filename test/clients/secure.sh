#!/bin/bash
# Drives a member that wants certificates and knows users: Debian's python3-etcd3 and curl with passwords, with signed tokens and with
# certificates. Exit code 77 is a skip. CAIRN_BIN is the server.
set -eu
cd "$(dirname "$0")"
python=/usr/bin/python3
if ! command -v openssl >/dev/null || ! "$python" -c 'import etcd3' 2>/dev/null; then
	echo "SKIP certificates and users: openssl or python3-etcd3 is not installed"
	exit 77
fi
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
issue() { # file, subject, lines of extensions
	openssl req -newkey rsa:2048 -nodes -keyout "$work/$1-key.pem" -subj "$2" -out "$work/$1.csr" 2>/dev/null
	printf '%b' "$3" >"$work/$1.ext"
	openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca-key.pem" -CAcreateserial -days 2 -extfile "$work/$1.ext" -out "$work/$1.pem" 2>/dev/null
}
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/ca-key.pem" -subj "/CN=test CA" -days 2 -out "$work/ca.pem" 2>/dev/null
issue server "/O=cairn" "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n"
for name in root ann nobody; do
	subject=/CN=$name
	[ $name = nobody ] && subject=/O=nobody
	issue $name "$subject" "extendedKeyUsage=clientAuth\n"
done
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/jwt.pem" 2>/dev/null
openssl pkey -in "$work/jwt.pem" -pubout -out "$work/jwt.pub" 2>/dev/null

free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
ctl() { "$CAIRN_BIN" ctl --endpoints "https://$addr" --cacert "$work/ca.pem" --cert "$work/nobody.pem" --key "$work/nobody-key.pem" "$@"; }
for tokens in simple "jwt,pub-key=$work/jwt.pub,priv-key=$work/jwt.pem,sign-method=PS256,ttl=5m"; do
	addr=127.0.0.1:$(free_port)
	peer=127.0.0.1:$(free_port)
	rm -rf "$work/data"
	"$CAIRN_BIN" --data-dir "$work/data" --listen-client-urls "https://$addr" --advertise-client-urls "https://$addr" \
		--listen-peer-urls "http://$peer" --initial-advertise-peer-urls "http://$peer" --initial-cluster "default=http://$peer" \
		--cert-file "$work/server.pem" --key-file "$work/server-key.pem" --trusted-ca-file "$work/ca.pem" --client-cert-auth \
		--auth-token "$tokens" >"$work/log" 2>&1 &
	server=$!
	way=(curl -sS --cacert "$work/ca.pem" --cert "$work/nobody.pem" --key "$work/nobody-key.pem")
	for _ in $(seq 100); do
		"${way[@]}" "https://$addr/health" >/dev/null 2>&1 && break
		kill -0 "$server" 2>/dev/null || fail "the server has ended"
		sleep 0.1
	done
	ctl user add root:secret >/dev/null
	ctl user grant-role root root >/dev/null
	ctl user add ann:pass >/dev/null
	ctl role add app >/dev/null
	ctl role grant-permission app readwrite app/ --prefix >/dev/null
	ctl user grant-role ann app >/dev/null
	ctl put secret/key hidden >/dev/null
	ctl auth enable >/dev/null
	timeout 120 "$python" python_users.py "$addr" "$work" || fail "python3-etcd3 differs with tokens ${tokens%%,*}"

	# The gateway: a certificate is nobody there, a token is somebody.
	body='{"key":"c2VjcmV0L2tleQ=="}'
	"${way[@]}" -d "$body" "https://$addr/v3/kv/range" | grep -q "user name is empty" || fail "the gateway tells nobody"
	curl -sS --cacert "$work/ca.pem" --cert "$work/root.pem" --key "$work/root-key.pem" -d "$body" "https://$addr/v3/kv/range" | grep -q "user name is empty" ||
		fail "the gateway takes a certificate for a user"
	token=$("${way[@]}" -d '{"name":"root","password":"secret"}' "https://$addr/v3/auth/authenticate" | sed 's/.*"token":"\([^"]*\)".*/\1/')
	"${way[@]}" -H "Authorization: $token" -d "$body" "https://$addr/v3/kv/range" | grep -q aGlkZGVu || fail "the gateway does not know its token"
	curl -sS --cacert "$work/ca.pem" "https://$addr/health" >/dev/null 2>&1 && fail "somebody without a certificate is served"
	kill "$server"
	wait "$server" || fail "the server does not end well"
	server=
	echo "tokens ${tokens%%,*}: python3-etcd3 and curl ok"
done
