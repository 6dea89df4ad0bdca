#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shellcheck disable=SC2016
# weir tcp retransmit: a wire loses chosen segments, so that it is known what must be sent again and why.
# Lines and counts are compared with what the wire saw twice, and with the kernel's counters.
#
#   client                                            host
#   wire 10.9.5.1, fd09:5::1 ---- wire.py ---- wire 10.9.5.2, fd09:5::2
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen tcp/tcp_retransmit_skb tcp/tcp_retransmit_synack sock/inet_sock_set_state
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
client=$RUN-client host=$RUN-host
namespace "$client" "$host"
WIRE=$SCRATCH/wire
declare -A talking pid

# Four rounds are the first of the client's data.
LOSE=(
	5001:syn:1x2
	5002:synack:1
	5003:data:9    # the last of five
	5004:data:6    # the second of eight
	5005:data:5x3  # one, its probe, and what the timer sends first
	5006:data:5-9  # five
	5006:data:10x2 # and the last, with the probe
	5007:data:5    # one, behind which Nagle holds back another
	5008:data:5x5  # as 5005, but the process ends before the timer sends the last of them
)

# No timer runs out because the wire stands still for a while.
wire() {
	background "$client" timeout -k 1 400 python3 tests/tcp/wire.py "$client" "$host" --delay 25 \
		"${LOSE[@]/#/--lose=}" >"$WIRE"
	wiring=$!
	await 20 grep -q ready "$WIRE" || return
	address "$client" wire 10.9.5.1/24 fd09:5::1/64
	address "$host" wire 10.9.5.2/24 fd09:5::2/64
	ip -n "$client" link set wire up
	ip -n "$host" link set wire up
	ip -n "$client" route replace 10.9.5.2 dev wire src 10.9.5.1 rto_min 1s &&
		ip -n "$client" route replace fd09:5::2 dev wire src fd09:5::1 rto_min 1s &&
		ip -n "$host" route replace 10.9.5.1 dev wire src 10.9.5.2 rto_min 1s &&
		ip -n "$host" route replace fd09:5::1 dev wire src fd09:5::2 rto_min 1s
}

serve() {
	background "$host" python3 tests/tcp/bursts.py serve "$@" >"$SCRATCH/serve"
	serving=$!
	await 20 grep -q ready "$SCRATCH/serve"
}

talk() { # PORT ADDRESS OPTIONS...
	background "$client" python3 tests/tcp/bursts.py talk "$2" "$1" "${@:3}" >"$SCRATCH/talk.$1"
	talking[$1]=$!
	pid[$1]=$!
}

done_talking() { # PORT...
	local port
	for port; do
		grep -q 'done' "$SCRATCH/talk.$port" || return
	done
}

lines() { # FILE CONDITION: an array of those that make it true
	jq -cs "map(select(.time and .sequence and ($2)))" "$1"
}

line_count() { # FILE CONDITION
	lines "$@" | jq length
}

# The condition holds for the array of lines, with $port, $lost (sequences of the segments that were lost)
# and $pid of who talks.
lines_are() { # TEXT FILE PORT CONDITION
	local lost
	lost=$(jq -c --arg p "$3" '[.[$p][] | .lost[].sequence]' "$WIRE")
	lines "$2" "(.remote | endswith(\":$3\")) or (.local | endswith(\":$3\"))" >"$OUTPUT"
	echo "lost $lost" >>"$OUTPUT"
	head -n 1 "$OUTPUT" | jq -e --argjson lost "$lost" --argjson pid "${pid[$3]:-0}" "$4" >/dev/null
	report $? "$1"
}

again() { # SIDE
	jq "map(.$1.again // 0) | add" "$WIRE"
}

segments() { # FILE KIND...
	jq -s --arg kinds " ${*:2} " \
		'map(select(.kind and .error == null) | select(" \(.kind) " as $k | $kinds | contains($k)) |
			.segments) | add // 0' "$1"
}

counters() { # NAMESPACE COUNTER...
	inside "$1" nstat -asz "${@:2}" | awk '/^Tcp/ { n += $2 } END { print n + 0 }'
}

collected() { # JQ-FILTER
	"$WEIR" -j -n "$client" tcp retransmit --pinned | jq "$1"
}

ALL=(syn synack rto fast slow_start tlp other)

check "a wire that loses segments" wire
check "a listener for each way to lose" serve 5001 5002 5003 5004 5005 5006 5007 5008
check "collect in the background" "$WEIR" -n "$client" tcp retransmit --pin --by peer-port
check "lines at the client" trace_begin "$SCRATCH/client" -j -n "$client" tcp retransmit
tracers=("$tracing")
check "lines at the host" trace_begin "$SCRATCH/host" -j -n "$host" tcp retransmit
tracers+=("$tracing")
check "lines of one port" trace_begin "$SCRATCH/filtered" -j -n "$client" tcp retransmit --peer-port 5005
tracers+=("$tracing")
check "lines of IPv6" trace_begin "$SCRATCH/six" -j -n "$client" tcp retransmit -6
tracers+=("$tracing")
talk 5005 10.9.5.2 --segments 1 --after "$SCRATCH/traced"
check "lines of a process" trace_begin "$SCRATCH/process" -j -n "$client" tcp retransmit \
	--pid "${pid[5005]}"
tracers+=("$tracing")
check "a summary" trace_begin "$SCRATCH/summary" -j -n "$client" tcp retransmit -s --by peer-port
summing=$tracing
touch "$SCRATCH/traced"
"$WEIR" -j -n "$client" tcp retransmit --pinned -i 0.2 >"$SCRATCH/watching" &
watching=$!

talk 5001 10.9.5.2 --disconnect
talk 5002 10.9.5.2
talk 5003 10.9.5.2 --segments 5
talk 5004 fd09:5::2 --segments 8
talk 5006 fd09:5::2 --segments 6
talk 5007 10.9.5.2 --segments 1 --small
talk 5008 10.9.5.2 --segments 1
await 20 test -s "$SCRATCH/watching"
{ kill -KILL "$watching"; wait "$watching"; } 2>/dev/null
await 60 more_than 1 line_count "$SCRATCH/client" \
	'(.remote | endswith(":5008")) and .kind == "rto"'
{ kill -KILL "${talking[5008]}"; wait "${talking[5008]}"; } 2>/dev/null
check "all is answered in the end" await 80 done_talking 5001 5002 5003 5004 5005 5006 5007
kill -TERM "${talking[@]}" 2>/dev/null
inside "$client" sysctl -qw net.ipv4.tcp_max_tw_buckets=0
inside "$host" sysctl -qw net.ipv4.tcp_max_tw_buckets=0
check "and all connections are closed" await 80 all_ended "$client" "$host"
sleep 0.3
for tracing in "${tracers[@]}" "$summing"; do
	trace_finish "$tracing"
done
kill -TERM "$wiring"
wait "$wiring"
sed -i /ready/d "$WIRE"

equal "client: as many segments as the wire saw again" "$(again client)" \
	"$(segments "$SCRATCH/client" "${ALL[@]}")"
equal "and as the kernel counts" "$(counters "$client" TcpRetransSegs)" \
	"$(segments "$SCRATCH/client" "${ALL[@]}")"
equal "host: as many as the wire saw again" "$(again server)" \
	"$(segments "$SCRATCH/host" "${ALL[@]}")"
equal "and as the kernel counts" "$(counters "$host" TcpRetransSegs)" \
	"$(segments "$SCRATCH/host" "${ALL[@]}")"
for at in client host; do
	space=${!at} file=$SCRATCH/$at
	equal "$at: SYNs and SYN-ACKs as the kernel counts" \
		"$(counters "$space" TcpExtTCPSynRetrans)" "$(segments "$file" syn synack)"
	equal "$at: fast" "$(counters "$space" TcpExtTCPFastRetrans)" "$(segments "$file" fast)"
	equal "$at: slow start" "$(counters "$space" TcpExtTCPSlowStartRetrans)" \
		"$(segments "$file" slow_start)"
	equal "$at: none of a kind that is not known" 0 "$(segments "$file" other)"
done
equal "client: timeouts as the kernel counts" "$(counters "$client" TcpExtTCPTimeouts)" \
	"$(segments "$SCRATCH/client" rto syn)"
equal "client: probes, but for one that sent something new" \
	$(($(counters "$client" TcpExtTCPLossProbes) - 1)) "$(segments "$SCRATCH/client" tlp)"

lines_are "two SYNs lost" "$SCRATCH/client" 5001 'length == 2 and
	all(.[]; .kind == "syn" and .state == "SYN_SENT" and .sequence == $lost[0] and .pid == $pid) and
	map(.timeouts_in_a_row) == [1, 2]'
pid[5002]=$serving
lines_are "a SYN-ACK lost" "$SCRATCH/host" 5002 '.[0] | .kind == "synack" and
	.state == "NEW_SYN_RECV" and .sequence == $lost[0] and .pid == $pid and .timeouts_in_a_row == 1 and
	.rto_us == null and .netns_inode > 0'
lines_are "the last of five lost: a probe" "$SCRATCH/client" 5003 '$pid as $p |
	map(select(.sequence == $lost[0])) | .[0] | .kind == "tlp" and .state == "ESTABLISHED" and .pid == $p
	and .timeouts_in_a_row == 0 and .srtt_us > 50000 and .bytes > 500'
lines_are "one in the middle lost, IPv6: ACKs tell" "$SCRATCH/client" 5004 \
	'map(select(.sequence == $lost[0])) | .[0] | .kind == "fast" and .congestion == "recovery" and
	(.remote | startswith("[fd09:5::2]"))'
lines_are "the probe lost, too: the timer runs out, twice" "$SCRATCH/client" 5005 \
	'map(.kind) == ["tlp", "rto", "rto"] and map(.timeouts_in_a_row) == [0, 1, 2] and
	all(.[]; .sequence == $lost[0]) and .[1].rto_us >= 1000000 and .[2].rto_us == 2 * .[1].rto_us and
	.[2].bytes_retransmitted == 3 * .[2].bytes'
lines_are "six and the probe lost: one by the timer, others in slow start" "$SCRATCH/client" 5006 \
	'any(.[]; .kind == "rto" and .sequence == $lost[0]) and any(.[]; .kind == "slow_start" and
	.congestion == "loss")'
lines_are "a probe that sent something new is none of the lines" "$SCRATCH/client" 5007 \
	'length > 0 and all(.[]; .kind != "tlp")'
lines_are "the process is known, until it is no more" "$SCRATCH/client" 5008 \
	'.[0].pid == $pid and .[0].comm == "python3" and .[-1].pid == null and .[-1].comm == null and
	.[-1].kind == "rto"'

for port in 5001 5003 5004 5005 5006 5007 5008; do
	jq -c --arg p "$port" '.[$p].client' "$WIRE" >"$SCRATCH/truth"
	jq -ce --argjson p "$port" --slurpfile t "$SCRATCH/truth" '.rows[] | select(.peer_port == $p) |
		.segments == $t[0].again and .bytes_sent == $t[0].bytes and
		.bytes_retransmitted == $t[0].bytes_again and .failed == 0' "$SCRATCH/summary" >"$OUTPUT" ||
		cat "$SCRATCH/truth" "$SCRATCH/summary" >>"$OUTPUT"
	grep -q ^true "$OUTPUT"
	report $? "summary, port $port: segments and bytes as the wire saw"
done
equal "the summary has the same kinds as the lines" \
	"$(jq -cs 'map(select(.kind)) | group_by(.kind) |
		map({(.[0].kind): (map(.segments) | add)}) | add' "$SCRATCH/client" | jq -cS)" \
	"$(jq '[.rows[].kinds | to_entries[] | select(.value > 0)] | group_by(.key) |
		map({(.[0].key): (map(.value) | add)}) | add' "$SCRATCH/summary" | jq -cS)"
equal "nothing was lost on the way" 0 \
	"$(jq '.lost | .events_lost + .records_full' "$SCRATCH/summary")"
equal "what was collected in the background is the same, though its reader was killed" \
	"$(jq -cS '.rows | sort_by(.peer_port)' "$SCRATCH/summary")" \
	"$(collected '.rows | sort_by(.peer_port)' | jq -cS)"
says "people see it as a table" 'Peer port +Segments +SYN' "$WEIR" -n "$client" tcp retransmit --pinned
check "one port" jq -es 'map(select(.time and .remote)) | length == 3 and
	all(.[]; .remote | endswith(":5005"))' "$SCRATCH/filtered"
check "IPv6" jq -es 'map(select(.time and .remote)) | length > 0 and
	all(.[]; .remote | startswith("[fd09"))' "$SCRATCH/six"
check "a process" jq -es --argjson pid "${pid[5005]}" 'map(select(.time and .remote)) | length == 3 and
	all(.[]; .pid == $pid and (.remote | endswith(":5005")))' "$SCRATCH/process"

refuses "what cannot make a row" 1 "peer-port" tcp retransmit --by colour
refuses "a process where only counts are kept" 1 "--pid" tcp retransmit -s --pid 1
refuses "--by with --pinned" 1 "belong" tcp retransmit --pinned --by peer
refuses "nothing is pinned there" 2 "--pin" tcp retransmit --pinned
check "no more in the background" "$WEIR" -n "$client" tcp retransmit --unpin
check "no pins are left" no_pins "$client"

# ---- more peers than there are rows ----

# Clients that no kernel knows of: each SYN-ACK is sent again, once.
crowd() {
	# It is no router, though new namespaces are where Docker runs.
	inside "$client" sysctl -qw net.ipv4.ip_forward=0
	link "$client" crowd "$host" crowd
	address "$host" crowd 10.9.6.2/24
	inside "$host" sysctl -qw net.core.somaxconn=65535 net.ipv4.tcp_max_syn_backlog=65535 \
		net.ipv4.tcp_syncookies=0 net.ipv4.tcp_synack_retries=1
	ip -n "$host" neigh replace 10.9.6.78 lladdr \
		"$(ip -n "$client" -j link show crowd | jq -r '.[0].address')" dev crowd
	mac_of_host=$(ip -n "$host" -j link show crowd | jq -r '.[0].address')
}

come() { # PORT COUNT OPTIONS...
	inside "$client" timeout -k 2 100 python3 tests/tcp/half_open.py crowd "$mac_of_host" 10.9.6.78 10.9.6.2 \
		"$@" --patience 0 </dev/null
}

listen() { # PORT
	background "$host" timeout -k 1 200 python3 tests/tcp/listener.py 10.9.6.2 "$1" 65000 >"$SCRATCH/listen.$1"
	listening+=($!)
	await 20 grep -q ready "$SCRATCH/listen.$1"
}

sent_again() {
	echo $(($(counters "$host" TcpRetransSegs) - before))
}

at_host() { # JQ-FILTER
	"$WEIR" -j -n "$host" tcp retransmit --pinned | jq "$1"
}

# A busy machine drops some on their way.
crowded() {
	come 90 20000 --gap 0 >"$OUTPUT" && more_than 18000 sent_again
}

newcomers() {
	at_host '[.rows[] | select(.peer_port > 60000)] | length'
}

listening=()
check "a crowd" crowd
check "a listener for it" listen 90
before=$(counters "$host" TcpRetransSegs)
check "collect by its ports" "$WEIR" -n "$host" tcp retransmit --pin --by peer-port
if await 60 crowded; then
	least=$(sent_again)
	at_host '[(.rows | length), ([.rows[].segments] | add), ([.rows[] | select(.other)] | length)]' >"$SCRATCH/crowd"
	between "not all have a row" 1 16385 "$(jq '.[0]' "$SCRATCH/crowd")"
	# While tracers begin or end, an event may be missed.
	between "but none is forgotten" $((least * 99 / 100)) "$(sent_again)" "$(jq '.[1]' "$SCRATCH/crowd")"
	equal "the others have one together" 1 "$(jq '.[2]' "$SCRATCH/crowd")"
	check "another listener" listen 91
	check "five more clients" come 91 5 --first 60001
	check "have rows of their own" await 30 more_than 2 newcomers
else
	skip "more peers than rows" "SYNs are lost on their way here"
fi
check "no more in the background" "$WEIR" -n "$host" tcp retransmit --unpin
kill "${listening[@]}"
