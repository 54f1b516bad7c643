#!/bin/bash
# S6.3: a queue whose condition is that a certain task is there.
. "$(dirname "$0")/bed.sh"
members 3

step "step 1: tasks wait, and the consumer for the condition"
for t in B C; do
	post /queue value=$t
	want 201
done
get /queue/condition
want 404 .errorCode 100 .cause /queue/condition
K=$K2 watch condition /queue/condition $((index + 1))
sleep 0.5
silent condition

step "step 2: the root task is posted and named"
post /queue value=A
want 201
root=$(field .node.key)
put /queue/condition value="$root"
want 201
event condition $T_event
want 200 .action set .node.value "$root"

step "step 3: it runs first, then the others in order"
K=$K2 get "$root?quorum=true"
want 200
ran=$(field .node.value)
K=$K2 del "$root"
want 200
K=$K2 get "/queue?sorted=true&quorum=true"
for key in $(field '.node.nodes[].key'); do
	[ "$key" != /queue/condition ] || continue
	K=$K2 del "$key"
	want 200
	ran+=" $(field .prevNode.value)"
done
same "$ran" "A B C" "what ran"
