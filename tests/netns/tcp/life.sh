#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp life: every connection has one line when it ends, with the bytes, process, role and end that its
# two sides have written down themselves.
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
# shellcheck source=../../cgroup.sh
. tests/cgroup.sh
trap 'cgroups_remove; finish' EXIT
pair
WEIR_TIMEOUT=120
judge() { # SIDE SAID LOG... [--older LOG]
	python3 "$TALK" check "$@"
}

test_lines() { # {FILE COUNT}...
	while [ $# -gt 0 ]; do
		[ "$(wc -l <"$1")" -ge "$2" ] || return
		shift 2
	done
}

retransmitted() {
	inside "$client" nstat -asz TcpRetransSegs | awk 'END { print $2 + 0 }'
}

check "two processes serve" serve 80 --workers 2
check "one serves by a child for each connection" serve 81 --fork
check "a connection is there before the tracers are" \
	talk_later old "$OLD" 10.9.0.2 80 --mode peer --size 5001 --reply 70001
old=$talking
check "another one, IPv6, that will be reset" \
	talk_later old6 "$OLD" fd09::2 81 --mode client_rst --size 7001
old6=$talking

check "it begins in the background" weir tcp life --pin
check "it begins at the host" trace_begin "$SCRATCH/host" -j -n "$host" tcp life
tracers=("$tracing")
check "it begins at the client" trace_begin "$SCRATCH/client" -j -n "$client" tcp life
tracers+=("$tracing")
check "it begins with a filter" trace_begin "$SCRATCH/filtered" -j -n "$host" tcp life --port 81 -6 --peer fd09::1
tracers+=("$tracing")
check "it begins with the connections that take long" \
	trace_begin "$SCRATCH/long" -j -n "$client" tcp life --min 400ms --peer-port 80
tracers+=("$tracing")

# ---- connections of every end, IPv4, IPv6 and IPv4 by IPv6 sockets ----

check "IPv4" talk 10.9.0.2 80 --mode "$ALL" --count 3 --size 12345 --reply 234567
check "IPv6" talk fd09::2 80 --mode "$ALL" --count 3 --size 100001 --reply 1
check "IPv4 by an IPv6 socket" talk ::ffff:10.9.0.2 80 --mode "$ALL" --size 1 --reply 65537
check "hardly anything, a process for each" talk 10.9.0.2 81 --mode "$ALL" --size 0 --reply 1
check "nothing but a request" talk 10.9.0.2 81 --mode local,half,peer --size 0 --reply 0
check "IPv6" talk fd09::2 81 --mode "$ALL" --count 2 --size 3000 --reply 1500000
touch "$SCRATCH/old" "$SCRATCH/old6"
wait "$old" "$old6"
check "one waits for half a second" talk_later slow "$TRUTH" 10.9.0.2 80 --mode local
slow=$talking
sleep 0.5
touch "$SCRATCH/slow"
wait "$slow"

# Its sum of segments that were sent again is the kernel's: nothing else is sent again here.
await 60 all_ended "$client"
before=$(retransmitted)
check "one is made that will have no answer" talk_later void "$TRUTH" 10.9.0.2 80 --mode timeout
void=$talking
inside "$host" nft 'table ip void { chain in { type filter hook prerouting priority -300; drop; }; }'
touch "$SCRATCH/void"
wait "$void"
again=$(($(retransmitted) - before))
inside "$host" nft delete table ip void

# ---- what was said of them ----

made=56
check "both sides have written down $made connections, and the client one more" await 60 \
	test_lines "$TRUTH" $((2 * made - 2 + 1)) "$OLD" 2
check "as many lines at the client" await 60 test_lines "$SCRATCH/client" $((made + 1))
check "as many lines at the host" await 60 test_lines "$SCRATCH/host" $made
for pid in "${tracers[@]}"; do
	trace_finish "$pid"
	equal "a tracer ends well" 0 $?
done
check "the client's lines are right: bytes, PID, role, times, who closed and why" \
	judge client "$SCRATCH/client" "$TRUTH" "$OLD" --older "$OLD"
check "the host's lines are right" \
	judge server "$SCRATCH/host" "$TRUTH" "$OLD" --older "$OLD"
equal "the segments that were sent again are as many as the kernel counts" "$again" \
	"$(jq -s 'map(select(.reason == "timeout")) | .[0].retransmitted_segments' "$SCRATCH/client")"
check "they are some, and the rate has its denominator" jq -se 'map(select(.reason == "timeout")) | .[0] |
	.retransmitted_segments > 0 and .segments_out > .retransmitted_segments and
	(.retransmitted_percent - 100 * .retransmitted_segments / .segments_out | fabs) < 0.001' "$SCRATCH/client"
check "rates are bytes by duration" jq -se 'all(.[] | select(.duration_us);
	(.bytes_sent_per_second * .duration_us / 1e6 - .bytes_sent | fabs) < 1)' "$SCRATCH/host"
equal "a filter shows its connections, the older one too, and no others" 11 "$(grep -vc '"lost"' "$SCRATCH/filtered")"
check "and they are what it asks for" jq -se 'all(.[] | select(.lost | not); (.local | endswith(":81")) and
	(.remote | startswith("[fd09::1]")))' "$SCRATCH/filtered"
check "--min shows what took as long" jq -se 'all(.[]; .duration_us == null or .duration_us >= 400000) and
	any(.[]; .reason == "timeout") and any(.[]; .duration_us >= 500000 and .reason == "fin")' "$SCRATCH/long"
check "and what is older than the tracer by as much" \
	jq -se 'any(.[]; .duration_us == null and .bytes_received == 70001)' "$SCRATCH/long"

# ---- the summary ----

counted() { # ROLE PORT
	jq -c ".ports[] | select(.role == \"$1\" and .server_port == $2)" "$SCRATCH/pinned"
}

# The logs' sums of a port; the older ones are among them.
truth() { # PORT
	jq -sc "map(select(.side == \"server\" and (.local | endswith(\":$1\")))) |
		[length, (map(.sent) | add), (map(.received) | add)]" "$TRUTH" "$OLD"
}

check "what was collected in the background is shown" weir -j tcp life --pinned
cp "$OUTPUT" "$SCRATCH/pinned"
for port in 80 81; do
	equal "port $port: connections and bytes are the server's own sums" "$(truth $port)" \
		"$(counted passive $port | jq -c '[.connections_ended, .bytes_sent, .bytes_received]')"
	check "port $port: each has an end, and somebody who closed first" jq -e ".ports[] |
		select(.server_port == $port) | (.reasons | add) == .connections_ended and
		(.closed_first | add) == .connections_ended and .closed_first.unknown == 0" "$SCRATCH/pinned"
done
equal "resets are told apart" "$(jq -sc '[(map(select(.reason == "rst_sent")) | length),
	(map(select(.reason == "rst_received")) | length)]' "$SCRATCH/host")" \
	"$(jq -c '[([.ports[].reasons.rst_sent] | add), ([.ports[].reasons.rst_received] | add)]' "$SCRATCH/pinned")"
check "half of them lasted less than the longest" jq -e 'all(.ports[]; .duration_us_p50 > 0 and
	.duration_us_p50 <= .duration_us_p99 and .connections_timed <= .connections_ended)' "$SCRATCH/pinned"
check "kill -9 of a command does no harm" bash -c \
	"timeout -s KILL 0.5 '$WEIR' -n '$host' tcp life --pinned -i 0.1 >/dev/null; true"
check "one more" talk 10.9.0.2 80
one_more() {
	[ "$(value '.ports[] | select(.server_port == 80) | .connections_ended' tcp life --pinned)" = \
		$(($(counted passive 80 | jq .connections_ended) + 1)) ]
}
check "the pinned ones went on" await 60 one_more
says "for people, too" "passive +80 " weir tcp life --pinned
check "it ends" weir tcp life --unpin
check "and leaves nothing" no_pins
refuses "what is not pinned cannot be shown" 2 "life --pin" tcp life --pinned

# ---- the command ----

check "a summary of an interval" trace_begin "$SCRATCH/intervals" -j -n "$host" tcp life -i 0.5
check "in which one ends" talk 10.9.0.2 80 --size 777 --reply 888
in_intervals() {
	jq -se 'map(.ports[]) | length == 1 and .[0].bytes_sent == 888 and
		.[0].bytes_received == 777 + 9' "$SCRATCH/intervals"
}
check "which is in one interval, and only there" await 60 in_intervals
sleep 1
check "for good" in_intervals
trace_finish "$tracing"
check "lines for people" trace_begin "$SCRATCH/people" -n "$host" tcp life -c 1
check "of one connection" talk fd09::2 80 --mode client_rst
wait "$tracing"
says "have its ends, bytes, and who closed it" \
	"passive +2\.00 kB +1\.01 kB .* peer +rst_received" cat "$SCRATCH/people"

# ---- what passes by TCP ----

shortcuts_told() { # FILE
	grep -q "'weir sock' is attached" "$1"
}

cgroup_make "$RUN"
check "it begins before anything is short-cut" trace_begin "$SCRATCH/people" -n "$host" tcp life
if weir sock attach "$RUN" --no-tend >"$OUTPUT" 2>&1; then
	check "it is said when something is" await 60 shortcuts_told "$SCRATCH/people.errors"
	says "of sums" "'weir sock' is attached" weir tcp life -s -d 0.1
	holds "in JSON, too" '.shortcut_active' weir -j tcp life -s -d 0.1
	check "in the background" weir tcp life --pin
	says "of what was collected" "'weir sock' is attached" weir tcp life --pinned
	check "it ends" weir tcp life --unpin
	says "where no pins are seen" "'weir sock' is attached" ip netns exec "$host" "$WEIR" tcp top -c 1
	check "detached" weir sock detach --all
else
	skip "what is said of short-cut bytes" "this kernel has no short-cut"
fi
trace_finish "$tracing"
refuses "a time that is none" 1 "min" tcp life --min soon
refuses "a word that is none" 1 "fast" tcp life fast
refuses "no process has this PID" 1 "pid" tcp life --pid 0
kill "$served" 2>/dev/null
