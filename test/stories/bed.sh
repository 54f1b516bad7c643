# shellcheck shell=bash disable=SC2034
# The test bed of the stories, for scripts that source it: members and a v2 proxy of their own on free ports of this
# machine, curl, and checks of what it brings. Whatever is started ends with the script.
#
#   CAIRN_BIN=... test/stories/S1.1.sh   runs one story; without CAIRN_BIN the server of this tree is built
set -u
story=$(basename "$0" .sh)
bed_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/cairn-story-XXXXXX")
doing="start"
declare -A process=() flags=()

finish() {
	trap - EXIT
	trap '' INT TERM
	exec 2>/dev/null # bash tells of each process that is killed
	local p
	for p in "${process[@]}" $(jobs -p); do kill -CONT "$p" && kill -KILL "$p"; done
	wait
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
	echo "$story: FAIL in \"$doing\": $*" >&2
	[ "$BASHPID" = "$$" ] || kill -TERM "$$"
	exit 1
}
step() {
	doing="$*"
	echo "$story: $*"
}

# Limits of the stories, in milliseconds.
T_event=1000
T_fail=5000
T_expire() { echo $(($1 * 1000 + 2500)); }

now() { date +%s%3N; }

# within MS COMMAND...: the command succeeds before so many milliseconds have passed.
within() {
	local until=$(($(now) + $1))
	shift
	until "$@"; do
		[ "$(now)" -lt "$until" ] || return 1
		sleep 0.03
	done
}

# --- members -----------------------------------------------------------------------------------------------------------

# Ports are from below those that the kernel gives to clients. Stories that run side by side begin at different ones.
next_port=$((10000 + ${BED_SLOT:-$(($$ % 60))} * 30))
free_port() {
	while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
	port=$next_port
	next_port=$((next_port + 1))
}

unset ETCD_NAME http_proxy HTTP_PROXY all_proxy ALL_PROXY
binary=${CAIRN_BIN:-$dir/cairn}
[ -n "${CAIRN_BIN:-}" ] || (cd "$bed_root" && go build -o "$binary" ./cmd/cairn) || fail "the server does not build"

# --- TLS ---------------------------------------------------------------------------------------------------------------

# With BED_TLS=1 members, proxies and clients speak TLS, and all show certificates.
scheme=http
secure=()

# issue NAME SUBJECT [EXTENSION...]: a certificate, $dir/NAME.pem, with its key, $dir/NAME-key.pem. authority makes who issues.
authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/ca-key.pem" -subj "/CN=stories" -days 2 -out "$dir/ca.pem" 2>/dev/null ||
		fail "openssl makes no certificates"
}
issue() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/$1-key.pem" -subj "$2" -out "$dir/$1.csr" 2>/dev/null &&
		openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca-key.pem" -CAcreateserial -days 2 -out "$dir/$1.pem" \
			-extfile <(printf '%s\n' "${@:3}") 2>/dev/null || fail "openssl issues no certificate for $1"
}
if [ -n "${BED_TLS:-}" ]; then
	scheme=https
	authority
	issue server /O=cairn "subjectAltName=IP:127.0.0.1" "extendedKeyUsage=serverAuth,clientAuth"
	issue client /O=cairn "extendedKeyUsage=clientAuth"
	secure=(--cert-file "$dir/server.pem" --key-file "$dir/server-key.pem" --client-cert-auth --trusted-ca-file "$dir/ca.pem"
		--peer-cert-file "$dir/server.pem" --peer-key-file "$dir/server-key.pem" --peer-client-cert-auth --peer-trusted-ca-file "$dir/ca.pem")
	curl() { command curl --cacert "$dir/ca.pem" --cert "$dir/client.pem" --key "$dir/client-key.pem" "$@"; }
fi

# launch NAME FLAG...: starts a process; its output is $dir/NAME.log.
launch() {
	"$binary" "${@:2}" "${secure[@]}" >>"$dir/$1.log" 2>&1 &
	process[$1]=$!
}

# start NAME...: starts members, for the first time or again, and waits until they serve.
start() {
	local m
	for m in "$@"; do
		# shellcheck disable=SC2086
		launch "$m" --name "$m" --data-dir "$dir/$m" --listen-client-urls "${client[$m]}" --advertise-client-urls "${client[$m]}" \
			--listen-peer-urls "${peer[$m]}" --initial-advertise-peer-urls "${peer[$m]}" --initial-cluster "$cluster" ${flags[$m]:-}
	done
	for m in "$@"; do serves "$m"; done
}
serves() { within 30000 curl -s -o /dev/null -m 2 "${client[$1]}/version" || fail "$1 does not serve: $(tail -n 5 "$dir/$1.log")"; }

# kill9 NAME...: ends processes without a word. stop ends them as an operator does.
kill9() { end KILL "$@"; }
stop() { end TERM "$@"; }
end() {
	local m
	for m in "${@:2}"; do
		{ kill "-$1" "${process[$m]}" && wait "${process[$m]}"; } 2>/dev/null
		unset "process[$m]"
	done
}

# members N [FLAG...]: a cluster of m1, m2, ... The client URLs are ${client[m1]}, ...; $K1, $K2, $K3 are their keys.
declare -A client=() peer=()
cluster=""
address() {
	free_port && client[$1]=$scheme://127.0.0.1:$port
	free_port && peer[$1]=$scheme://127.0.0.1:$port
}
members() {
	local i names=() n=$1
	shift
	for i in $(seq "$n"); do
		address "m$i"
		flags[m$i]="$*"
		names+=("m$i")
		cluster+="${cluster:+,}m$i=${peer[m$i]}"
	done
	start "${names[@]}"
	K1=${client[m1]}/v2/keys K=$K1
	K2=${client[m2]:-}/v2/keys K3=${client[m3]:-}/v2/keys
	within 20000 led "${names[@]}" || fail "nobody leads"
}
led() {
	local m
	for m in "$@"; do
		[ "$(curl -s -m 2 "${client[$m]}/health" | jq -r .health)" = true ] || return 1
	done
}

# leader [NAME]: the name of the member that leads, as a member knows it.
leader() {
	local m
	for m in "${1:-}" m1 m2 m3; do
		if [ -z "$m" ] || [ -z "${process[$m]:-}" ]; then continue; fi
		curl -sf -m 2 "${client[$m]}/v2/members/leader" | jq -er .name && return
	done
	return 1
}
await_leader() { within 20000 leader >"$dir/leader" || fail "nobody leads"; tail -n 1 "$dir/leader"; }

# proxy: starts P, the v2 proxy; $KP are the keys behind it.
proxy() {
	free_port && client[P]=$scheme://127.0.0.1:$port
	launch P --proxy on --name P --data-dir "$dir/P" --listen-client-urls "${client[P]}" --initial-cluster "$cluster" "$@"
	KP=${client[P]}/v2/keys
	serves P
	within 10000 proxied || fail "the proxy finds no members"
}
proxied() { [ "$(curl -s -m 2 "${client[P]}/v2/config/local/proxy" | jq '.endpoints | length')" = 3 ]; }

# --- requests ----------------------------------------------------------------------------------------------------------

# req METHOD URL [CURL OPTION...]: one request. $status, $index (X-Etcd-Index) and $body tell of the answer.
req() {
	local out
	out=$(curl -s -m "${patience:-15}" -X "$1" -w '\n%{http_code} %header{x-etcd-index}' "${@:2}")
	status="" index=""
	read -r status index <<<"${out##*$'\n'}"
	body=${out%$'\n'*}
}
# put, post, get, del PATH [NAME=VALUE...]: a request of $K; "K=$K2 put ..." asks another member. Values are of the form.
put() { form PUT "$@"; }
post() { form POST "$@"; }
form() {
	local method=$1 path=$2 data=() v
	shift 2
	for v in "$@"; do data+=(--data-urlencode "$v"); done
	req "$method" "$K$path" "${data[@]}"
}
get() { req GET "$K$1"; }
del() { req DELETE "$K$1"; }

field() { jq -r "$1" <<<"$body" 2>/dev/null; }

# want STATUS [JQ VALUE]...: what the last answer has to be.
want() {
	[ "$status" = "$1" ] || fail "status $status, want $1: $body"
	shift
	while [ $# -gt 0 ]; do
		local got
		got=$(field "$1")
		[ "$got" = "$2" ] || fail "$1 is \"$got\", want \"$2\": $body"
		shift 2
	done
}
same() { [ "$1" = "$2" ] || fail "${3:-got} \"$1\", want \"$2\""; }

# --- watches -----------------------------------------------------------------------------------------------------------

# watch NAME PATH INDEX: one long poll in the background.
watch() {
	local sep='?'
	[[ $2 == *\?* ]] && sep='&'
	rm -f "$dir/$1.event"
	(
		curl -s -m 120 -w '\n%{http_code} %header{x-etcd-index}' "$K$2${sep}wait=true&waitIndex=$3" >"$dir/$1.poll"
		mv "$dir/$1.poll" "$dir/$1.event"
	) &
	process[watch-$1]=$!
}
# event NAME MS: the poll answers in time; the answer is then that of want. silent NAME...: polls have not answered.
event() {
	within "$2" test -e "$dir/$1.event" || fail "the watch $1 has not told within $2 ms"
	status="" index=""
	read -r status index <<<"$(tail -n 1 "$dir/$1.event")"
	body=$(head -n 1 "$dir/$1.event")
}
silent() {
	local w
	for w in "$@"; do [ ! -e "$dir/$w.event" ] || fail "the watch $w has told: $(cat "$dir/$w.event")"; done
}
answered() { [ -e "$dir/$1.event" ]; }

# follow NAME PATH INDEX: watches PATH from INDEX on, one poll after the other as section 7.4 of the API has it, and
# writes a line "milliseconds answer" for each event to $dir/NAME.events. unfollow ends it.
follow() {
	local sep='?'
	[[ $2 == *\?* ]] && sep='&'
	: >"$dir/$1.events"
	(
		at=$3
		# The index of the node comes before that of prevNode, and values cannot have unescaped quotes.
		modified='"modifiedIndex":([0-9]+)'
		while :; do
			out=$(curl -s -m 120 "$K$2${sep}wait=true&waitIndex=$at")
			if [[ $out =~ $modified ]]; then
				at=$((BASH_REMATCH[1] + 1))
				printf '%s %s\n' "$(now)" "$out" >>"$dir/$1.events"
			elif [[ $out == *errorCode*401* ]]; then
				printf '%s %s\n' "$(now)" "$out" >>"$dir/$1.events"
				exit
			else
				sleep 0.1 # the member stops, or is not there: the same again
			fi
		done
	) &
	process[follow-$1]=$!
}
unfollow() { end KILL "follow-$1"; }
# events NAME [JQ]: what has been followed so far, one line each; by default "action key value".
events() { cut -d' ' -f2- "$dir/$1.events" | jq -r "${2:-"\"\\(.action) \\(.node.key) \\(.node.value // \"-\")\""}"; }
count() { wc -l <"$dir/$1.events"; }
has_events() { [ "$(count "$1")" -ge "$2" ]; }
# told NAME N MS: there are exactly N events within so many milliseconds.
told() {
	within "$3" has_events "$1" "$2" || fail "$1 has $(count "$1") events after $3 ms, want $2: $(events "$1")"
	[ "$(count "$1")" = "$2" ] || fail "$1 has $(count "$1") events, want $2: $(events "$1")"
}
