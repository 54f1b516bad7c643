#!/bin/bash
# S2.4: publish and subscribe with etcdctl alone, in its v2 form.
. "$(dirname "$0")/bed.sh"
members 3
export ETCDCTL_API=2 ETCDCTL_ENDPOINTS=${client[m1]},${client[m2]},${client[m3]}
ctl() { "$binary" ctl "$@"; }

step "watch --recursive --forever tells of set and rm"
"$binary" ctl watch --recursive --forever /conf >"$dir/a" 2>"$dir/a.err" &
process[a]=$!
watched() { [ "$(for m in m1 m2 m3; do curl -s "${client[$m]}/v2/stats/store" | jq .watchers; done | awk '{ s += $1 } END { print s }')" -ge 1 ]; }
within 5000 watched || fail "the watcher does not watch: $(cat "$dir/a.err")"
same "$(ctl set /conf/x 1)" 1 set
ctl rm /conf/x >/dev/null || fail "rm"
complete() { [ "$(wc -l <"$dir/a")" -ge 4 ]; }
within $T_event complete || fail "the watcher has: $(cat "$dir/a")"
same "$(cat "$dir/a")" "$(printf '[set] /conf/x\n1\n[delete] /conf/x\nPrevNode.Value: 1')" "what it prints"
end KILL a

step "exec-watch --recursive runs a script for each change"
cat >"$dir/script" <<'END'
#!/bin/sh
echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE $ETCD_WATCH_MODIFIED_INDEX" >>"$(dirname "$0")/ran"
END
chmod +x "$dir/script"
none() { ! watched; }
within 5000 none || fail "the first watcher is still there"
"$binary" ctl exec-watch --recursive /conf -- "$dir/script" >"$dir/b" 2>&1 &
process[b]=$!
within 5000 watched || fail "exec-watch does not watch: $(cat "$dir/b")"
: >"$dir/ran"
want_lines=""
for n in 1 2 3; do
	put /conf/y value=$n
	want_lines+="set /conf/y $n $index"$'\n'
done
three() { [ "$(wc -l <"$dir/ran")" = 3 ]; }
within 3000 three || fail "it ran: $(cat "$dir/ran")"
same "$(cat "$dir/ran")" "${want_lines%$'\n'}" "what the script saw"
