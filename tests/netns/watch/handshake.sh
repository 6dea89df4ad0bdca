#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir handshake: every connection is counted once, failures are told apart, a SYN that the kernel
# drops is reported with the queue that is full.
#
#   client                     host (forwards, listens)             server
#   eth0 10.9.1.1/24 ------ eth0 10.9.1.2
#        fd09:1::1/64            fd09:1::2
#                           eth1 10.9.2.2 ------------- eth0 10.9.2.1/24
#                                fd09:2::2                   fd09:2::1/64
#                           weir is attached to both
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=100
line

endpoint() { # DEVICE ROLE PORT CONDITION
	weir -j handshake show "$1" >"$SCRATCH/handshakes" || return
	jq ".devices[].endpoints[] | select(.role == \"$2\" and .port == $3)" "$SCRATCH/handshakes"
	jq -e "any(.devices[].endpoints[]; .role == \"$2\" and .port == $3 and ($4))" \
		"$SCRATCH/handshakes" >/dev/null
}

connects() { # WANTED ADDRESS PORT COUNT [OPTION...]
	equal "$4 connections to $2 port $3: $1 are made" "$1" "$(traffic "$client" connect "${@:2}")"
}

# The kernel's own count, from one call to the next.
kernel_count() { # COUNTER
	inside "$host" nstat -asz "$1" | awk 'END { print $2 + 0 }'
}

test_counts() {
	local begin=${EPOCHREALTIME/./} took
	start "$host" listen 80
	connects 100 10.9.1.2 80 100
	connects 50 fd09:1::2 80 50
	took=$((${EPOCHREALTIME/./} - begin))
	check "150 handshakes at the listener, all established" endpoint eth0 server 80 \
		'.syn == 150 and .synack == 150 and .established == 150 and .retransmits == 0'
	check "none refused, none unanswered, none open, verdict ok" endpoint eth0 server 80 \
		'.refused == 0 and .unanswered == 0 and .half_open == 0 and .verdict == "ok"'
	check "latencies are plausible: above 0, half of them below 50 ms, none longer than all of it took, in order" \
		endpoint eth0 server 80 \
		".syn_to_synack_us_p50 > 0 and .syn_to_synack_us_p50 <= .syn_to_synack_us_p99 and
		.syn_to_synack_us_p99 <= .syn_to_synack_us_max and .syn_to_synack_us_max < $took and
		.synack_to_ack_us_p50 > 0 and .synack_to_ack_us_max < $took and
		.syn_to_synack_us_p50 < 50000 and .synack_to_ack_us_p50 < 50000"
	check "the listener's limit is told" endpoint eth0 server 80 '.queue_max == 128'
	stop "$started"
	connects 0 10.9.1.2 81 7
	check "7 refused" endpoint eth0 server 81 '.syn == 7 and .refused == 7 and .reason == "refused"'
	says "and people are told so" "port 81: 7 of 7 SYNs refused" weir handshake show eth0
}

test_forwarding() {
	start "$server" listen 80
	connects 30 10.9.2.1 80 30
	connects 20 fd09:2::1 80 20
	stop "$started"
	check "through the host: 200 handshakes on the client's side" \
		endpoint eth0 server 80 '.established == 200'
	check "50 on the server's side" endpoint eth1 client 80 '.syn == 50 and .established == 50'
	equal "the host as a client" 5 "$(start "$server" listen 90 &&
		traffic "$host" connect 10.9.2.1 90 5)"
	check "is counted as one" endpoint eth1 client 90 '.established == 5'
}

test_unanswered() {
	ip -n "$server" route add blackhole 10.9.1.0/24 2>/dev/null
	ip -n "$server" route del default
	connects 0 10.9.2.1 91 3 --wait 0.3
	check "nobody answers: 3 SYNs, no SYN-ACK" endpoint eth1 client 91 '.syn == 3 and .synack == 0'
	check "they are half open" endpoint eth1 client 91 '.half_open + .unanswered + .reset >= 3'
	ip -n "$server" route del blackhole 10.9.1.0/24 2>/dev/null
	ip -n "$server" route add default via 10.9.2.2
}

mac_of() { # NAMESPACE DEVICE
	ip -n "$1" -j link show "$2" | jq -r '.[0].address'
}

# A latency that we know: the SYN waits 0.4 s for the neighbour, who appears that late. Meanwhile the host
# does not give up, and hears nothing of the neighbour, who would have to ask for the host now and then.
test_latency() {
	local connecting mac
	mac=$(mac_of "$server" eth0)
	start "$server" listen 92
	inside "$server" sysctl -qw net.ipv4.conf.eth0.arp_ignore=8
	inside "$host" sysctl -qw net.ipv4.neigh.eth1.mcast_solicit=30
	ip -n "$server" neigh replace 10.9.2.2 dev eth0 lladdr "$(mac_of "$host" eth1)" nud permanent
	ip -n "$host" neigh flush dev eth1
	background "$client" timeout 60 python3 "$TRAFFIC" connect 10.9.2.1 92 1 --wait 30 >"$SCRATCH/said"
	connecting=$!
	await 20 bash -c "ip -n '$host' neigh show 10.9.2.1 | grep -qE 'INCOMPLETE|PROBE'"
	sleep 0.4
	ip -n "$host" neigh replace 10.9.2.1 dev eth1 lladdr "$mac"
	wait $connecting
	inside "$server" sysctl -qw net.ipv4.conf.eth0.arp_ignore=0
	ip -n "$server" neigh del 10.9.2.2 dev eth0
	equal "a neighbour appears late: the connection is made" 1 "$(cat "$SCRATCH/said")"
	check "the client's side saw the delay" endpoint eth0 server 92 \
		'.established == 1 and .syn_to_synack_us_max > 300000'
	check "the server's side, behind it, did not" endpoint eth1 client 92 \
		'.established == 1 and .syn_to_synack_us_max < 300000'
	stop "$started"
}

said_by() { # COUNT FILE...: so many of them have said something
	[ "$(grep -l . "${@:2}" | wc -l)" = "$1" ]
}

accept_queue_is() { # PORT COUNT
	[ "$(inside "$host" ss -Htln "sport = :$1" | awk '{ n += $2 } END { print n }')" = "$2" ]
}

# The queue is full before the others come: of those who come at once more may get a SYN-ACK.
test_accept_queue() {
	local listener before i
	start "$host" listen 8080 --backlog 4 --hold
	listener=$started
	before=$(kernel_count TcpExtListenOverflows)
	traffic "$client" connect 10.9.1.2 8080 5 --keep --wait 15 >/dev/null
	await 20 accept_queue_is 8080 5
	for i in $(seq 7); do
		background "$client" timeout 60 python3 "$TRAFFIC" connect 10.9.1.2 8080 1 --keep \
			--wait 2.6 >"$SCRATCH/connect.$i"
	done
	await 40 said_by 7 "$SCRATCH"/connect.*
	check "backlog 4, nobody accepts: 5 of 12 are established" endpoint eth0 server 8080 \
		'.syn == 12 and .established == 5'
	check "the accept queue is named" endpoint eth0 server 8080 \
		'.reason == "accept_queue_full" and .verdict == "fail" and .syn_queue_full == 0'
	check "with its depth and limit" endpoint eth0 server 8080 \
		'.accept_queue == 5 and .queue_max == 4'
	equal "as many SYNs as the kernel says it dropped" \
		$(($(kernel_count TcpExtListenOverflows) - before)) \
		"$(value '.devices[].endpoints[] | select(.port == 8080) | .accept_queue_full' \
			handshake show eth0)"
	check "the other SYNs are half open, and sent again" endpoint eth0 server 8080 \
		'.half_open + .unanswered == 7 and .syn_retransmits >= 7'
	says "people are told what to do" "8080: .*full accept queue .5/4.*backlog" \
		weir handshake show eth0
	stop "$listener"

	start "$host" listen 8081 --backlog 2 --hold
	listener=$started
	traffic "$client" connect fd09:1::2 8081 3 --keep --wait 15 >/dev/null
	await 20 accept_queue_is 8081 3
	traffic "$client" connect fd09:1::2 8081 3 --keep --wait 0.3 >/dev/null
	check "the same over IPv6: 3 of 6" endpoint eth0 server 8081 \
		'.established == 3 and .accept_queue_full >= 3 and .queue_max == 2'
	stop "$listener"
}

# Bare SYNs whose SYN-ACKs nobody answers fill the SYN queue.
test_syn_queue() {
	local listener dropped
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies=0 net.ipv4.tcp_max_syn_backlog=256
	ip -n "$client" address add 10.9.1.77/24 dev eth0
	ip -n "$host" neigh replace 10.9.1.78 lladdr 02:00:00:00:00:78 dev eth0
	start "$host" listen 8082 --backlog 8 --hold
	listener=$started
	dropped=$(kernel_count TcpExtTCPReqQFullDrop)
	traffic "$client" syn 10.9.1.2 8082 40 --source 10.9.1.78 >/dev/null
	await 20 endpoint eth0 server 8082 '.syn == 40'
	dropped=$(($(kernel_count TcpExtTCPReqQFullDrop) - dropped))
	check "syncookies off, 40 SYNs, backlog 8: the SYN queue is named" \
		endpoint eth0 server 8082 '.syn == 40 and .reason == "syn_queue_full"'
	equal "as many SYNs as the kernel says it dropped" "$dropped" \
		"$(value '.devices[].endpoints[] | select(.port == 8082) | .syn_queue_full' \
			handshake show eth0)"
	stop "$listener"
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies=1
	start "$host" listen 8083 --backlog 8 --hold
	listener=$started
	traffic "$client" syn 10.9.1.2 8083 40 --source 10.9.1.78 >/dev/null
	await 20 endpoint eth0 server 8083 '.syn == 40'
	check "syncookies on: none is dropped, cookies are counted" endpoint eth0 server 8083 \
		'.syn_queue_full == 0 and .syn_cookies > 20'
	stop "$listener"
}

is_watched() {
	bpftool -j map lookup pinned "$(pins_of "$host")/devices/eth0/watchers" key 0 0 0 0 |
		jq -e '.value | any(. != "0x00")'
}

test_watch() {
	local watch
	start "$host" listen 93
	timeout 60 "$WEIR" -n "$host" -j handshake watch eth0 --port 93 -c 5 >"$SCRATCH/watch" 2>&1 &
	watch=$!
	await 20 is_watched
	refuses "a second watcher" 2 "only one can watch" handshake watch eth0 -c 1
	connects 5 10.9.1.2 93 5
	connects 1 10.9.1.2 93 1
	wait $watch
	equal "watch ends after -c 5" 0 $?
	equal "with five lines" 5 "$(wc -l <"$SCRATCH/watch")"
	check "each a JSON object of a handshake that was established" \
		jq -es 'all(.[]; .device == "eth0" and (.outcome == "established"))' "$SCRATCH/watch"
	stop "$started"
	check_not "nobody watches any more" is_watched
	timeout 60 "$WEIR" -n "$host" handshake watch eth0 >/dev/null 2>&1 &
	watch=$!
	await 20 is_watched
	kill -INT "$watch"
	wait $watch
	timeout 60 "$WEIR" -n "$host" -j handshake watch eth0 -c 1 --port 81 >"$SCRATCH/watch" 2>&1 &
	watch=$!
	await 20 is_watched
	traffic "$client" connect 10.9.1.2 81 1 >/dev/null
	wait $watch
	check "after an interrupted watch another can begin" \
		jq -e '.outcome == "refused"' "$SCRATCH/watch"
}

check "attach" weir attach eth0
check "attach the other" weir attach eth1
test_counts
test_forwarding
test_unanswered
test_latency
test_accept_queue
test_syn_queue
test_watch
check "detach --all" weir detach --all
check "no pins are left" no_pins
