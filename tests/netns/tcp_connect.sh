#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp connect: each phase of a connection against the clocks of both ends, processes, and every way in
# which a connection is not made.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24
#        fd09::1/64                fd09::2/64
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../tcp/lib.sh
. tests/tcp/lib.sh
pair
DIAL=tests/tcp/dial.py
WEIR_TIMEOUT=60
here=$SCRATCH/client there=$SCRATCH/host
ip -n "$client" neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev eth0
ip -n "$client" route add blackhole 10.77.0.0/16
ip -n "$client" route add unreachable 10.78.0.0/16
ip -n "$client" route add prohibit 10.79.0.0/16
inside "$client" sysctl -qw net.ipv4.tcp_syn_retries=1

dial() { # LOG ARGUMENTS...
	inside "$client" timeout 60 python3 $DIAL dial "${@:2}" >"$1"
}

serve() { # LOG ARGUMENTS...: its pid is $started
	background "$host" timeout 100 python3 $DIAL serve "${@:2}" >"$1"
	started=$!
	await 30 grep -q ready "$1"
}

rows() { # FILE CONDITION: how many
	jq -s "[.[] | select($2)] | length" "$1"
}

# Nothing is told twice: those that come late are waited for, others are counted.
row() { # TEXT FILE SELECTION CONDITION
	await 15 more_than 0 rows "$2" "$3"
	jq -c "select($3)" "$2" >"$OUTPUT"
	[ "$(rows "$2" "$3")" = 1 ] && [ "$(rows "$2" "($3) and ($4)")" = 1 ]
	report $? "$1"
}

kernel_count() { # COUNTER: of the client's namespace
	inside "$client" nstat -asz "$1" | awk -v name="$1" '$1 == name { print $2 }'
}

trace_begin "$here" -j -n "$client" tcp connect
here_pid=$tracing
trace_begin "$there" -j -n "$host" tcp connect
there_pid=$tracing

# These take seconds: meanwhile the rest goes on.
inside "$host" nft -f - <<-EOT
	table inet lossy {
		chain in {
			type filter hook input priority 0
			tcp dport 7003 tcp flags & (syn | ack) == syn numgen inc mod 2 0 drop
		}
	}
	EOT
serve "$SCRATCH/lossy" :: 7003 --linger 60
background "$client" python3 $DIAL dial 10.9.0.2 7003 --linger 30 >"$SCRATCH/lossy.dial"
background "$client" python3 $DIAL dial 10.9.0.77 7004 >"$SCRATCH/silent"
silent=$!

# ---- both ends of connections that are made ----

test_processes() { # TEXT HOST PORT
	local log=$SCRATCH/processes.$3 server
	serve "$log" "$2" "$3" --processes 3 --count 4 --linger 60
	server=$started
	dial "$log.dial" "$2" "$3" --processes 4 --count 3
	await 30 more_than 12 wc -l <"$log"
	await 15 more_than 11 rows "$there" ".local | endswith(\":$3\")"
	await 15 more_than 11 rows "$here" ".remote | endswith(\":$3\")"
	says "$1: 4 processes connect" '^12$' python3 $DIAL dialed "$here" "$log.dial"
	says "$1: 3 processes accept" '^12$' \
		python3 $DIAL accepted "$there" "$log" --clients "$log.dial"
	kill "$server"
}

test_accept_queue() { # TEXT HOST PORT
	local log=$SCRATCH/waits.$3
	serve "$log" "$2" "$3" --count 3 --delay 0.25 --linger 60
	dial "$log.dial" "$2" "$3" --count 3
	await 15 more_than 2 rows "$there" ".local | endswith(\":$3\")"
	says "$1: 250 ms and more in the accept queue" '^3$' \
		python3 $DIAL accepted "$there" "$log" --clients "$log.dial" --least 250000
	check "$1: who connects does not wait for that" jq -es \
		"[.[] | select(.remote | endswith(\":$3\")) | .total_us] | length == 3 and min < 250000" \
		"$here"
	kill "$started"
}

test_kinds() {
	serve "$SCRATCH/kinds" :: 7010 --count 9 --linger 60
	dial "$SCRATCH/bound" 10.9.0.2 7010 --source 10.9.0.1 --source-port 6010
	await 15 more_than 0 rows "$here" '.local == "10.9.0.1:6010"'
	says "a socket that is bound searches for no port" '^1$' \
		python3 $DIAL dialed "$here" "$SCRATCH/bound" --bound
	dial "$SCRATCH/mapped" ::ffff:10.9.0.2 7010
	await 15 more_than 0 rows "$here" ".local == $(jq .local "$SCRATCH/mapped")"
	says "IPv4 by an IPv6 socket" '^1$' python3 $DIAL dialed "$here" "$SCRATCH/mapped"
	dial "$SCRATCH/self" 127.0.0.1 7011 --source 127.0.0.1 --source-port 7011
	row "a connection to itself is one" "$here" '.local == "127.0.0.1:7011"' \
		'.role == "active" and .result == "established" and .remote == .local'
	inside "$client" python3 $DIAL give_up 10.9.0.2 7010 --linger 0.2
	row "a connect() that does not wait" "$here" \
		".remote == \"10.9.0.2:7010\" and (.local | IN(\"10.9.0.1:6010\",
		$(jq .local "$SCRATCH/mapped")) | not)" '.result == "established" and .handshake_us > 0'
	kill "$started"
}

# A socket of the kernel's own gets established, another one is accepted.
test_mptcp() {
	local log=$SCRATCH/mptcp
	if ! serve "$log" 0.0.0.0 7012 --mptcp --count 2 --linger 60; then
		skip "MPTCP" "the kernel has none"
		return
	fi
	dial "$log.dial" 10.9.0.2 7012 --mptcp --linger 0.1
	dial "$log.plain" 10.9.0.2 7012
	await 15 more_than 2 wc -l <"$log"
	await 15 more_than 0 rows "$there" '.local == "10.9.0.2:7012"'
	await 15 more_than 1 rows "$here" '.remote == "10.9.0.2:7012"'
	row "MPTCP: who fell back to TCP is accepted, nothing is said of the other" "$there" \
		'.local == "10.9.0.2:7012"' ".result == \"accepted\" and .remote == $(jq .local "$log.plain")"
	equal "MPTCP: the first subflow is one of who connects" 1 "$(rows "$here" \
		".pid == $(jq .pid "$log.dial") and .result == \"established\"")"
	kill "$started"
}

# ---- those that are not made ----

refused() { # TEXT HOST PORT RESULT ERRNO MORE
	local log=$SCRATCH/refused.$3
	dial "$log" "$2" "$3"
	equal "$1: the client's error" "$5" "$(jq -r .error "$log")"
	row "$1" "$here" ".remote | endswith(\":$3\")" \
		".result == \"$4\" and .error == \"$5\" and .pid == $(jq .pid "$log") and
		.handshake_us == null and .total_us <= $(jq .took_us "$log") and $6"
}

test_failures() {
	refused "refused" 10.9.0.2 7020 refused ECONNREFUSED '.port_search_us > 0'
	refused "refused, IPv6" fd09::2 7021 refused ECONNREFUSED '.port_search_us > 0'
	refused "no route" 10.1.0.1 7022 unreachable ENETUNREACH '.port_search_us == null'
	refused "no route, IPv6" 2001:db8::1 7023 unreachable ENETUNREACH true
	refused "unreachable" 10.78.0.1 7024 unreachable EHOSTUNREACH true
	refused "prohibited" 10.79.0.1 7025 forbidden EACCES true
	refused "blackhole" 10.77.0.1 7026 failed EINVAL true
	inside "$client" python3 $DIAL give_up 10.9.0.77 7027 --linger 0.1
	row "who connects gives up" "$here" '.remote == "10.9.0.77:7027"' \
		'.result == "closed" and .port_search_us > 0 and .total_us > 100000'
}

test_never_accepted() {
	serve "$SCRATCH/never" :: 7030 --delay 60
	dial "$SCRATCH/reset" 10.9.0.2 7030 --reset
	row "reset before it was accepted" "$there" ".remote == $(jq .local "$SCRATCH/reset")" \
		'.result == "reset" and .error == "ECONNRESET" and .pid == null and
		.accept_wait_us == null'
	dial "$SCRATCH/left" 10.9.0.2 7030
	equal "what waits is not told of yet" 0 \
		"$(rows "$there" ".remote == $(jq .local "$SCRATCH/left")")"
	kill "$started"
	pkill -P "$started"
	row "the listener goes before it accepts" "$there" \
		".remote == $(jq .local "$SCRATCH/left")" '.result == "listener_closed" and .pid == null'
}

test_ports() {
	serve "$SCRATCH/ports" 10.9.0.2 7031 --count 9 --linger 60
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='20000 20003'
	dial "$SCRATCH/ports.dial" 10.9.0.2 7031 --count 6
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='32768 60999'
	equal "4 local ports, 6 connections: the client's errors" 2 \
		"$(rows "$SCRATCH/ports.dial" '.error == "EADDRNOTAVAIL"')"
	await 15 more_than 5 rows "$here" '.remote == "10.9.0.2:7031"'
	equal "no port was free" 2 "$(rows "$here" '.remote == "10.9.0.2:7031" and
		.result == "no_free_port" and .error == "EADDRNOTAVAIL" and .local == "10.9.0.1:0"')"
	equal "the others are made" 4 "$(rows "$here" '.remote == "10.9.0.2:7031" and
		.result == "established"')"
	kill "$started"
}

# Half of the range taken means that all ports of the parity that is tried first are.
test_port_search() {
	local port=7032
	serve "$SCRATCH/search" 10.9.0.2 $port --count 1200 --linger 60
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='20000 21999'
	dial "$SCRATCH/search.dial" 10.9.0.2 $port --count 1200
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='32768 60999'
	await 20 more_than 1199 rows "$here" ".remote == \"10.9.0.2:$port\""
	check "the search takes longer once half of the ports are taken" jq -es \
		"def median: sort | .[length / 2 | floor];
		[.[] | select(.remote == \"10.9.0.2:$port\") | .port_search_us] |
		length == 1200 and (.[0:900] | median) * 2 < (.[1000:] | median)" "$here"
	kill "$started"
}

# ---- what takes seconds ----

test_lost_syn() {
	local again
	await 20 more_than 0 rows "$here" '.remote == "10.9.0.2:7003"'
	row "a lost SYN costs a second, and is counted" "$here" '.remote == "10.9.0.2:7003"' \
		'.result == "established" and .retransmits == 1 and .handshake_us >= 1000000 and
		.port_search_us < 1000000'
	row "the server's side of it is one that was not retransmitted" "$there" \
		'.local == "10.9.0.2:7003"' '.result == "accepted" and .retransmits == 0 and
		.handshake_us < 1000000'
	await 30 test ! -e "/proc/$silent"
	row "nobody answers" "$here" '.remote == "10.9.0.77:7004"' '.result == "timed_out" and
		.error == "ETIMEDOUT" and .retransmits >= 1 and .total_us >= 2000000'
	again=$(kernel_count TcpExtTCPSynRetrans)
	equal "as many SYNs were sent again as the kernel says" "$again" \
		"$(jq -s '[.[].retransmits] | add' "$here")"
}

test_processes "IPv4" 10.9.0.2 7001
test_processes "IPv6" fd09::2 7002
test_accept_queue "IPv4" 10.9.0.2 7005
test_accept_queue "IPv6" fd09::2 7006
test_kinds
test_mptcp
test_failures
test_never_accepted
test_ports
test_port_search
test_lost_syn
trace_finish "$here_pid"
trace_finish "$there_pid"
cat "$here" "$there" | jq -c 'select(.lost)' | sed 's/^/# /'
