#!/bin/bash
# S4.3: dispatch of tasks, and reports of their progress in directories that live as long as who reports.
. "$(dirname "$0")/bed.sh"
members 3
servers=("$K1" "$K2" "$K3")

get "/?quorum=true"
follow manager "/tasks/run?recursive=true" $((index + 1))
step "step 1: five tasks"
for t in 1 2 3 4 5; do
	post /tasks/todo value="task-$t"
	want 201
done

# A worker takes the first task that nobody has, does it in ten steps, and stops when none is left. The one that is named
# in the file doomed dies at 40 % of task-3.
worker() {
	local id task progress todo renewed
	K=${servers[$1]}
	while :; do
		get "/tasks/todo?sorted=true&quorum=true"
		mapfile -t todo < <(field '.node.nodes[]? | "\(.key) \(.value) \(.modifiedIndex)"')
		[ ${#todo[@]} -gt 0 ] || return
		for task in "${todo[@]}"; do
			read -r key name at <<<"$task"
			del "$key?prevIndex=$at"
			[ "$status" = 200 ] || continue
			id=$name
			put "/tasks/run/$id?dir=true&ttl=5&prevExist=false"
			[ "$status" = 201 ] || fail "$id: $body"
			renewed=$(now)
			for progress in 10 20 30 40 50 60 70 80 90 100; do
				put "/tasks/run/$id/progress" value=$progress
				[[ $status == 20[01] ]] || fail "$id: $body"
				if [ "$id $progress $1" = "task-3 40 $(cat "$dir/doomed" 2>/dev/null)" ]; then
					echo "$1" >"$dir/dead"
					exit
				fi
				sleep 0.4
				if [ $(($(now) - renewed)) -ge 2000 ]; then
					put "/tasks/run/$id?prevExist=true&dir=true&ttl=5&refresh=true"
					[ "$status" = 200 ] || fail "$id: $body"
					renewed=$(now)
				fi
			done
			put "/tasks/done/$id" value=ok
			del "/tasks/run/$id?recursive=true"
			[ "$status" = 200 ] || fail "$id: $body"
			break
		done
		sleep 0.1
	done
}
taken() { events manager | grep -q "create /tasks/run/task-$1 "; }
last_progress() { events manager | awk -v k="/tasks/run/$1/progress" '$2 == k { p = $3 } END { print p }'; }

step "steps 2 to 4: three workers; the one that has task-3 will die at 40 %"
echo 2 >"$dir/doomed"
for w in 0 1 2; do
	worker $w &
	process[w$w]=$!
	taken $((w + 1)) || within 5000 taken $((w + 1)) || fail "task-$((w + 1)) is not taken"
done
died() { [ -e "$dir/dead" ]; }
within 15000 died || fail "nobody comes to 40 % of task-3"
killed=$(now)

step "step 5: its directory expires, and the manager knows how far it came"
expired() { events manager | grep -q '^expire /tasks/run/task-3 '; }
within "$(T_expire 5)" expired || fail "task-3 does not expire within $(T_expire 5) ms of $killed"
same "$(last_progress task-3)" 40 "the last progress of task-3"
post /tasks/todo value=task-3
want 201
worker 1 &
process[again]=$!

step "step 6: all are done"
complete() { [ "$(curl -s "$K/tasks/done?quorum=true" | jq '.node.nodes | length')" = 5 ] && [ "$(curl -s "$K/tasks/run?quorum=true" | jq '.node.nodes | length')" = 0 ]; }
within 40000 complete || fail "done: $(curl -s "$K/tasks/done"), running: $(curl -s "$K/tasks/run?recursive=true")"
sleep 0.5
for t in 1 2 4 5; do
	same "$(events manager | awk -v k="/tasks/run/task-$t" 'index($2, k) == 1 { print $1 ":" $3 }' | tr '\n' ' ')" \
		"create:- set:10 set:20 set:30 set:40 set:50 set:60 set:70 set:80 set:90 set:100 delete:- " "what the manager saw of task-$t"
done
same "$(events manager | awk 'index($2, "/tasks/run/task-3") == 1 { print $1 ":" $3 }' | tr '\n' ' ')" \
	"create:- set:10 set:20 set:30 set:40 expire:- create:- set:10 set:20 set:30 set:40 set:50 set:60 set:70 set:80 set:90 set:100 delete:- " \
	"what the manager saw of task-3"
