#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp states: connections whose states are known, from both ends, with the time spent in them; what
# mini-sockets do; the same through filters, as a summary and from the background.
#
#   client 10.9.0.1, fd09::1 -------- host 10.9.0.2, fd09::2
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen sock/inet_sock_set_state
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
pair
# The FIN of one side and the ACK before it may overtake each other where they go by two CPUs. The late ACK is
# answered by one that finds nobody any more, and the RST for that would end TIME_WAIT.
for name in "$client" "$host"; do
	inside "$name" sysctl -qw net.ipv4.tcp_rfc1337=1
done

STATES=$HERE/tcp/states.py
WEIR_TIMEOUT=120
tracers=()

trace() { # NAMESPACE NAME WEIR-ARGUMENTS...
	trace_begin "$SCRATCH/$2" -n "$1" -j tcp states "${@:3}"
	tracers+=("$tracing")
}

end_traces() {
	local status=0 pid
	kill -INT "${tracers[@]}"
	for pid in "${tracers[@]}"; do
		wait "$pid" || status=1
	done
	return $status
}

states_check() {
	python3 "$STATES" check "$SCRATCH/expected" "$SCRATCH/client" "$SCRATCH/host" 2>&1
}

# Lines of a whole run that a condition chooses, without what the filter may not have seen the end of.
chosen() { # NAME CONDITION
	jq -c 'select(.socket and .seen_by == "event" and ('"$2"'))
		| [.old_state, .new_state, .mini_socket, .local, .remote, .pid]' "$SCRATCH/$1" | sort
}

filtered() { # TEXT NAME WHOLE CONDITION
	chosen "$3" "$4" >"$SCRATCH/wanted"
	chosen "$2" true >"$SCRATCH/found"
	[ -s "$SCRATCH/wanted" ] && diff "$SCRATCH/wanted" "$SCRATCH/found" >"$OUTPUT" 2>&1
	report $? "$1"
}

# The changes of lines and of a summary, counted by kind.
same_changes() { # TEXT SUMMARY WHOLE
	jq -cs 'map(select(.socket and .seen_by == "event"))
		| group_by([.old_state, .new_state, .mini_socket, .family])
		| map([.[0].old_state, .[0].new_state, .[0].mini_socket, .[0].family, length])' \
		"$SCRATCH/$3" >"$SCRATCH/wanted"
	jq -c '.changes | map([.old_state, .new_state, .mini_socket, .family, .changes]) | sort' \
		"$SCRATCH/$2" >"$SCRATCH/found"
	diff "$SCRATCH/wanted" "$SCRATCH/found" >"$OUTPUT" 2>&1
	report $? "$1"
}

time_waits() {
	inside "$host" ss -tanH state time-wait | wc -l
}

# Some may leave meanwhile.
minis_as_ss_says() {
	local before said
	before=$(time_waits)
	said=$(value '[.mini_sockets[] | select(.state == "TIME_WAIT") | .sockets] | add' tcp states --pinned)
	echo "weir $said, ss $before before that"
	[ "$said" -gt 0 ] && [ "$said" -le "$before" ] && [ "$said" -ge "$(time_waits)" ]
}

connect() { # ADDRESS: five times
	local made
	made=$(traffic "$client" connect "$1" 80 5 --wait 20)
	equal "five connections to $1" 5 "$made"
}

pinned_changes() {
	value '[.changes[].changes] | add' tcp states --pinned
}

trace "$client" client
trace "$host" host
trace "$client" of6 -6
trace "$host" of4 -4
trace "$client" peer --peer 10.9.0.0/24
trace "$client" long --min 400ms
trace "$host" summary -s
trace "$host" port --port 80
check "pin" weir tcp states --pin
refuses "pin again" 2 "already" tcp states --pin

# It keeps what must not close until it is told to end.
mkfifo "$SCRATCH/more"
exec 3<>"$SCRATCH/more"
timeout 500 python3 "$STATES" run "$client" "$host" \
	<"$SCRATCH/more" >"$SCRATCH/expected" 2>"$SCRATCH/errors" &
script=$!
await 200 test -s "$SCRATCH/expected"
cp "$SCRATCH/errors" "$OUTPUT"
jq -e .pid "$SCRATCH/expected" >/dev/null 2>>"$OUTPUT"
report $? "the connections were made"
start "$host" listen 80
server_pid=$(pgrep -P "$started")
connect 10.9.0.2
connect fd09::2
stop "$started"
await 30 states_check

becomes "pinned: mini-sockets now, as ss counts them" minis_as_ss_says
weir -j tcp states --pinned >"$SCRATCH/pinned"
"$WEIR" -n "$host" tcp states --pinned -i 0.2 >/dev/null 2>&1 &
reader=$!
sleep 0.5
kill -KILL $reader
wait $reader 2>/dev/null
echo >&3
wait $script
await 60 more_than "$(jq '[.changes[].changes] | add' "$SCRATCH/pinned")" pinned_changes
report $? "a reader that is killed leaves it collecting"
await 60 all_ended "$client" "$host"
check "all end when interrupted" end_traces

while IFS=$'\t' read -r result text reason; do
	echo "$reason" >"$OUTPUT"
	[ "$result" = ok ]
	report $? "$text"
done < <(states_check)

filtered "-6" of6 client '.family == 6'
filtered "-4" of4 host '.family == 4'
filtered "--peer" peer client '.remote | startswith("10.9.0.")'
filtered "--port" port host '.local | endswith(":80")'
check "a server's process is that of its listener, and of its connections when they close" \
	jq -es "map(select(.pid)) | length >= 12 and all(.[]; .pid == $server_pid)" "$SCRATCH/port"
filtered "--min" long client '.in_old_state_us != null and .in_old_state_us >= 400000'
same_changes "the summary counts what the lines tell" summary host
check "and has no more" jq -e '.lost.events_lost == 0 and .lost.records_full == 0' "$SCRATCH/summary"
check "means and quantiles of the time are in order" jq -e 'all(.changes[]; .timed == 0 or
	(.in_old_state_us_mean > 0 and .in_old_state_us_p50 <= .in_old_state_us_p99))' "$SCRATCH/summary"

gone() { # NAME: local ports of mini-sockets that are no more, without those of the tests before
	jq -r 'select(.seen_by == "iterator" and .new_state == "CLOSE") | .local |
		select(startswith("127.")) | sub(".*:"; "")' "$SCRATCH/$1" | sort
}

none_is_missing() {
	[ -z "$(comm -23 "$SCRATCH/expected" <(gone reuse))" ]
}

tracers=()
trace "$client" reuse
inside "$client" python3 "$STATES" reuse | sort >"$SCRATCH/expected"
await 30 none_is_missing
end_traces
gone reuse | diff "$SCRATCH/expected" - >"$OUTPUT" 2>&1 && [ -s "$SCRATCH/expected" ]
report $? "a mini-socket where another was is told from it"

check "unpin" weir tcp states --unpin
check "nothing is left" no_pins

refuses "an unknown option" 1 "not expected" tcp states --nonsense
refuses "a port that is none" 1 "port" tcp states --port 70000
refuses "unpin again" 2 "does not collect" tcp states --unpin
