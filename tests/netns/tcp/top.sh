#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp top: what it says in all its intervals adds up to the bytes that the two sides of every connection
# have written down, by process, by connection and by port.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24
#        fd09::1/64                fd09::2/64
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen sock/inet_sock_set_state tcp/tcp_rcv_space_adjust
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
# shellcheck source=../../tcp/talk.sh
. tests/tcp/talk.sh
pair
WEIR_TIMEOUT=120

sums() { # SIDE BY SAID OPTIONS...
	python3 "$TALK" sums "$1" "$2" "$SCRATCH/$3" "$TRUTH" "$OLD" --older "$OLD" --before 2509 "${@:4}"
}

check "two processes serve" serve 80 --workers 2
check "one serves by a child for each connection" serve 81 --fork
check "a connection is there before" talk_later old "$OLD" 10.9.0.2 80 --mode peer --size 5001 --reply 70001
old=$talking

tops=()
top() { # NAME NAMESPACE OPTIONS...
	check "it begins: $1" trace_begin "$SCRATCH/$1" -j -n "$2" tcp top -i 0.3 "${@:3}"
	tops+=("$tracing")
}
top process "$host"
top connection "$host" --by connection
top port "$host" --by port
top client "$client"
top client.port "$client" --by port
top six "$host" -6 --port 81

check "IPv4" talk 10.9.0.2 80 --mode "$ALL" --count 2 --size 12345 --reply 234567
check "IPv6" talk fd09::2 80 --mode "$ALL" --size 100001 --reply 1
check "IPv4 by an IPv6 socket" talk ::ffff:10.9.0.2 80 --mode "$ALL" --size 1 --reply 65537
check "a process for each" talk fd09::2 81 --mode "$ALL" --size 3000 --reply 1500000
check "one lives through several intervals" talk_later long "$TRUTH" 10.9.0.2 81 --size 500000
long=$talking
open() { # NAME NUMBER
	tail -n 1 "$SCRATCH/$1" | tee /dev/stderr |
		jq -e ".total.connections == $2 and all(.rows[]; .rtt_us_mean > 0)"
}
becomes "it and the older one are open" open process 2
with_processes() {
	jq -se '.[-1].rows | map(select(.connections > 0)) | length == 2 and all(.pid > 0 and .comm == "python3")' \
		"$SCRATCH/process"
}
becomes "with their processes" with_processes
touch "$SCRATCH/old" "$SCRATCH/long"
wait "$old" "$long"
becomes "no connection is left" open process 0

for by in process connection port; do
	becomes "by $by: every one's bytes and ends are the server's own, the older one's as well" \
		sums server $by $by
done
becomes "by process: the client's" sums client process client
becomes "by port: the client's" sums client port client.port
for pid in "${tops[@]}"; do
	trace_finish "$pid"
	equal "it ends well" 0 $?
done
check "a filter shows what it asks for" jq -se '(map(.total.connections_ended) | add) == 5 and
	(map(.total.bytes_received) | add) == 5 * 3009 and (map(.total.bytes_sent) | add) == 5 * 1500000' "$SCRATCH/six"
# shellcheck disable=SC2016
check "those with most bytes come first, and rates are bytes by seconds" jq -se 'all(.[];
	(.rows | map(.bytes_sent + .bytes_received)) as $b | $b == ($b | sort | reverse)) and
	all(.[]; .seconds as $s | all(.rows[]; (.bytes_sent_per_second * $s - .bytes_sent | fabs) <
		1 + .bytes_sent / 100))' "$SCRATCH/connection"
check "nothing was lost" jq -se 'all(.[]; .lost.events_lost == 0 and .lost.records_full == 0)' "$SCRATCH/process"

# ---- the command ----

check "a process serves alone" serve 82 --workers 1
worker=$(pgrep -P "$(pgrep -P "$served")")
check "one process is watched" \
	trace_begin "$SCRATCH/one" -j -n "$host" tcp top --by connection -i 0.3 --pid "$worker"
check "while two work" talk 10.9.0.2 82 --size 777 --count 5
check "so" talk 10.9.0.2 80 --size 777
becomes "its bytes are shown, and no others" sums server connection one --pid "$worker"
trace_finish "$tracing"
check "rows are its" jq -se "map(.rows[]) | length >= 5 and all(.[]; .pid == $worker)" "$SCRATCH/one"
for n in 1 2; do
	check "a connection stays open" talk_later "people.$n" "$TRUTH" 10.9.0.2 80
done
# Its process is told from the files that are open.
weir tcp top --by connection --rows 1 -i 0.3 -c 1 >"$SCRATCH/people" 2>"$SCRATCH/people.errors"
says "one row is shown, and the sum of all" "python3 +10\.9\.0\.2:80 +10\.9\.0\.1:.* 1 " cat "$SCRATCH/people"
says "which are two" "\(all\) .* 2 " cat "$SCRATCH/people"
equal "behind the time and the titles" 4 "$(wc -l <"$SCRATCH/people")"
touch "$SCRATCH"/people.{1,2}
refuses "rows of nothing known" 1 "--by 'user'" tcp top --by user
refuses "no rows" 1 "--rows" tcp top --rows 0
refuses "nothing to pin" 1 "--pin" tcp top --pin
