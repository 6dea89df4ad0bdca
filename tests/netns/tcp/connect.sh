#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp connect: each phase of a connection against the clocks of both ends, processes, and every way in
# which a connection is not made.
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
	inside "$client" timeout 200 python3 $DIAL dial "${@:2}" >"$1"
}

serve() { # LOG ARGUMENTS...: its pid is $started
	background "$host" timeout 300 python3 $DIAL serve "${@:2}" >"$1"
	started=$!
	await 60 begun "$1"
	grep -q ready "$1"
}

begun() { # LOG: or nothing comes of it
	grep -q ready "$1" || [ ! -e "/proc/$started" ]
}

length_of() { # FILE: lines
	wc -l <"$1"
}

rows() { # FILE CONDITION: how many
	jq -s "[.[] | select($2)] | length" "$1"
}

# Nothing is told twice: those that come late are waited for, others are counted.
row() { # TEXT FILE SELECTION CONDITION
	await 60 more_than 0 rows "$2" "$3"
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
serve "$SCRATCH/lossy" :: 7003 --linger 200
background "$client" python3 $DIAL dial 10.9.0.2 7003 --linger 200 >"$SCRATCH/lossy.dial"
background "$client" python3 $DIAL dial 10.9.0.77 7004 >"$SCRATCH/silent"
silent=$!

# ---- both ends of connections that are made ----

test_processes() { # TEXT HOST PORT
	local log=$SCRATCH/processes.$3 server
	serve "$log" "$2" "$3" --processes 3 --count 4 --linger 200
	server=$started
	dial "$log.dial" "$2" "$3" --processes 4 --count 3
	await 60 more_than 12 length_of "$log"
	await 60 more_than 11 rows "$there" ".local | endswith(\":$3\")"
	await 60 more_than 11 rows "$here" ".remote | endswith(\":$3\")"
	says "$1: 4 processes connect" '^12$' python3 $DIAL dialed "$here" "$log.dial"
	says "$1: 3 processes accept" '^12$' \
		python3 $DIAL accepted "$there" "$log" --clients "$log.dial"
	kill "$server"
}

test_accept_queue() { # TEXT HOST PORT
	local log=$SCRATCH/waits.$3
	serve "$log" "$2" "$3" --count 3 --delay 0.25 --linger 200
	dial "$log.dial" "$2" "$3" --count 3
	await 60 more_than 2 rows "$there" ".local | endswith(\":$3\")"
	says "$1: 250 ms and more in the accept queue" '^3$' \
		python3 $DIAL accepted "$there" "$log" --clients "$log.dial" --least 250000
	check "$1: who connects does not wait for that" jq -es \
		"[.[] | select(.remote | endswith(\":$3\")) | .total_us] | length == 3 and min < 250000" \
		"$here"
	kill "$started"
}

test_kinds() {
	serve "$SCRATCH/kinds" :: 7010 --count 9 --linger 200
	dial "$SCRATCH/bound" 10.9.0.2 7010 --source 10.9.0.1 --source-port 6010
	await 60 more_than 0 rows "$here" '.local == "10.9.0.1:6010"'
	says "a socket that is bound searches for no port" '^1$' \
		python3 $DIAL dialed "$here" "$SCRATCH/bound" --bound
	dial "$SCRATCH/mapped" ::ffff:10.9.0.2 7010
	await 60 more_than 0 rows "$here" ".local == $(jq .local "$SCRATCH/mapped")"
	says "IPv4 by an IPv6 socket" '^1$' python3 $DIAL dialed "$here" "$SCRATCH/mapped"
	dial "$SCRATCH/self" 127.0.0.1 7011 --source 127.0.0.1 --source-port 7011
	row "a connection to itself is one" "$here" '.local == "127.0.0.1:7011"' \
		'.role == "active" and .result == "established" and .remote == .local'
	inside "$client" python3 $DIAL give_up 10.9.0.2 7010 --linger 60
	row "a connect() that does not wait" "$here" \
		".remote == \"10.9.0.2:7010\" and (.local | IN(\"10.9.0.1:6010\",
		$(jq .local "$SCRATCH/mapped")) | not)" '.result == "established" and .handshake_us > 0'
	kill "$started"
}

# A socket of the kernel's own gets established, another one is accepted.
test_mptcp() {
	local log=$SCRATCH/mptcp
	if ! serve "$log" 0.0.0.0 7012 --mptcp --count 2 --linger 200; then
		skip "MPTCP" "the kernel has none"
		return
	fi
	dial "$log.dial" 10.9.0.2 7012 --mptcp --linger 0.1
	dial "$log.plain" 10.9.0.2 7012
	await 60 more_than 2 length_of "$log"
	await 60 more_than 0 rows "$there" '.local == "10.9.0.2:7012"'
	await 60 more_than 1 rows "$here" '.remote == "10.9.0.2:7012"'
	row "MPTCP: who fell back to TCP is accepted, nothing is said of the other" "$there" \
		'.local == "10.9.0.2:7012"' ".result == \"accepted\" and .remote == $(jq .local "$log.plain")"
	equal "MPTCP: the first subflow is one of who connects" 1 "$(rows "$here" \
		".pid == $(jq .pid "$log.dial") and .result == \"established\"")"
	kill "$started"
}

# Who accepts by io_uring is known once it reads, and no wait is made up.
test_uring() {
	local log=$SCRATCH/uring
	if ! cc -O2 -o "$log.accept" tests/tcp/uring_accept.c 2>"$OUTPUT"; then
		skip "io_uring" "$(head -n 1 "$OUTPUT")"
		return
	fi
	background "$host" timeout 60 "$log.accept" 7013 >"$log"
	started=$!
	await 60 begun "$log"
	if ! grep -q ready "$log"; then
		skip "io_uring" "the kernel lets nobody use it"
		return
	fi
	dial "$log.dial" 10.9.0.2 7013 --send 0.6
	wait "$started"
	row "accepted by io_uring: its process, and the wait at most" "$there" \
		'.local == "10.9.0.2:7013"' ".result == \"accepted\" and .accept_wait_us == null and
		.accept_wait_at_most_us >= 300000 and .pid == $(tail -n 1 "$log")"
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
	inside "$client" python3 $DIAL give_up 10.9.0.2 7028 --linger 60 --count 2
	row "refused, and asked for what came of it" "$here" '.remote == "10.9.0.2:7028"' \
		'.result == "refused"'
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
	serve "$SCRATCH/ports" 10.9.0.2 7031 --count 9 --linger 200
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='20000 20003'
	dial "$SCRATCH/ports.dial" 10.9.0.2 7031 --count 6
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='32768 60999'
	equal "4 local ports, 6 connections: the client's errors" 2 \
		"$(rows "$SCRATCH/ports.dial" '.error == "EADDRNOTAVAIL"')"
	await 60 more_than 5 rows "$here" '.remote == "10.9.0.2:7031"'
	equal "no port was free" 2 "$(rows "$here" '.remote == "10.9.0.2:7031" and
		.result == "no_free_port" and .error == "EADDRNOTAVAIL" and .local == "10.9.0.1:0"')"
	says "a second socket that is bound to the same port" EADDRNOTAVAIL inside "$client" \
		python3 $DIAL twins 10.9.0.2 7031 --source 10.9.0.1 --source-port 6011
	await 60 more_than 1 rows "$here" '.local == "10.9.0.1:6011"'
	row "its port is in use" "$here" '.local == "10.9.0.1:6011" and .error' \
		'.result == "port_in_use" and .port_search_us == null and .error == "EADDRNOTAVAIL"'
	equal "the others are made" 4 "$(rows "$here" '.remote == "10.9.0.2:7031" and
		.result == "established" and .port_search_us')"
	kill "$started"
}

# Half of the range taken means that all ports of the parity that is tried first are.
test_port_search() {
	local port=7032
	serve "$SCRATCH/search" 10.9.0.2 $port --count 1200 --linger 200
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='20000 21999'
	dial "$SCRATCH/search.dial" 10.9.0.2 $port --count 1200
	inside "$client" sysctl -qw net.ipv4.ip_local_port_range='32768 60999'
	await 60 more_than 1199 rows "$here" ".remote == \"10.9.0.2:$port\""
	check "the search takes longer once half of the ports are taken" jq -es \
		"def median: sort | .[length / 2 | floor];
		[.[] | select(.remote == \"10.9.0.2:$port\") | .port_search_us] |
		length == 1200 and (.[0:900] | median) * 2 < (.[1000:] | median)" "$here"
	kill "$started"
}

# ---- what takes seconds ----

test_lost_syn() {
	local again
	await 60 more_than 0 rows "$here" '.remote == "10.9.0.2:7003"'
	row "a lost SYN costs a second, and is counted" "$here" '.remote == "10.9.0.2:7003"' \
		'.result == "established" and .retransmits == 1 and .handshake_us >= 1000000 and
		.port_search_us < .handshake_us'
	row "the server's side of it is one that was not retransmitted" "$there" \
		'.local == "10.9.0.2:7003"' '.result == "accepted" and .retransmits == 0 and
		.handshake_us < 1000000'
	await 60 test ! -e "/proc/$silent"
	row "nobody answers" "$here" '.remote == "10.9.0.77:7004"' '.result == "timed_out" and
		.error == "ETIMEDOUT" and .retransmits >= 1 and .total_us >= 2000000'
	again=$(kernel_count TcpExtTCPSynRetrans)
	equal "as many SYNs were sent again as the kernel says" "$again" \
		"$(jq -s '[.[].retransmits] | add' "$here")"
}

# ---- what is shown ----

only_rows() { # TEXT FILE COUNT CONDITION
	await 60 more_than $(($3 - 1)) rows "$2" true
	jq -c . "$2" >"$OUTPUT"
	[ "$(rows "$2" true)" = "$3" ] && [ "$(rows "$2" "$4")" = "$3" ]
	report $? "$1"
}

test_filters() {
	local log=$SCRATCH/filters runs=() pid
	serve "$log" :: 7040 --count 4 --delay 0.25 --linger 200
	trace_begin "$log.active" -j -n "$client" tcp connect --role active -6 --peer-port 7040-7041
	runs+=("$tracing")
	trace_begin "$log.passive" -j -n "$host" tcp connect --role passive --port 7040 \
		--pid "$(pgrep -P "$started")" --min 200ms -4
	runs+=("$tracing")
	trace_begin "$log.slow" -j -n "$host" tcp connect --port 7040 --min 300s
	runs+=("$tracing")
	trace_begin "$log.other" -j -n "$host" tcp connect --role passive --pid $$
	runs+=("$tracing")
	dial "$log.six" fd09::2 7040 --count 2
	dial "$log.four" 10.9.0.2 7040 --count 2
	dial "$log.none" fd09::2 7041
	dial "$log.none" fd09::2 7042
	dial "$log.none" 10.1.0.1 7041
	await 60 more_than 4 length_of "$log"
	only_rows "--role active, -6, --peer-port" "$log.active" 3 '.role == "active" and
		(.remote | IN("[fd09::2]:7040", "[fd09::2]:7041"))'
	only_rows "--role passive, -4, --port, --pid, --min" "$log.passive" 2 '.role == "passive" and
		.local == "10.9.0.2:7040" and .total_us >= 200000'
	for pid in "${runs[@]}"; do
		trace_finish "$pid"
	done
	equal "--min 300s, --pid of who accepts nothing" 0 \
		"$(cat "$log.slow" "$log.other" | jq -c 'select(.lost | not)' | wc -l)"
	kill "$started"
}

# What is not looked at costs nothing: no system call is traced for who connects.
test_role() {
	holds "--role active: no program hangs on a system call" \
		'[.overhead.programs[].program] | sort == ["weir_connect_state", "weir_port_found"]' \
		"$WEIR" -j -n "$client" tcp connect --role active --overhead -d 0.1
	holds "--role passive: none looks at connect()" \
		'[.overhead.programs[].program] | length == 4 and all(.[]; test("port_found|enter") | not)' \
		"$WEIR" -j -n "$client" tcp connect --role passive --overhead -d 0.1
}

# SUMMARY-FILTER of both roles, after 5 connections over IPv4, 4 over IPv6 and 3 refused.
summed() { # JQ-FUNCTION FILE
	jq -es "$1"' as $all | ($all | map(select(.role == "active"))) as $active |
		($all | map(select(.role == "passive"))) as $passive |
		($active | map(select(.port == 7050)) | map(.connections) | add) == 9 and
		($active | map(select(.port == 7051)) | map(.failures.refused) | add) == 3 and
		($active | map(select(.port == 7051)) | map(.connections) | add) == 0 and
		($passive | map(select(.port == 7050)) | map(.connections) | add) == 9 and
		($passive | map(.accept_wait.histogram | map(.samples) | add) | add) == 9 and
		($passive | map(.accept_wait.p50_us // empty) | min) >= 4000 and
		($active | map(.port_search.count) | add) == 12 and
		($active | map(.handshake.count) | add) == 9 and
		($active | map(select(.handshake.count > 0) | .handshake) |
			all(.[]; .p50_us > 0 and .p50_us <= .p99_us and .mean_us > 0))' "$2"
}

summary_traffic() { # LOG
	serve "$1" :: 7050 --count 9 --delay 0.01 --linger 200
	inside "$host" timeout 200 python3 $DIAL dial 10.9.0.2 7050 --count 5 >"$1.dial"
	inside "$host" timeout 200 python3 $DIAL dial ::1 7050 --count 4 >"$1.dial"
	inside "$host" timeout 200 python3 $DIAL dial 127.0.0.1 7051 --count 3 >"$1.dial"
	await 60 more_than 9 length_of "$1"
	kill "$started"
}

test_summary() {
	local log=$SCRATCH/summary total intervals shown
	trace_begin "$log.total" -j -n "$host" tcp connect -s
	total=$tracing
	trace_begin "$log.intervals" -j -n "$host" tcp connect -i 0.5
	intervals=$tracing
	trace_begin "$log.table" -n "$host" tcp connect -s
	summary_traffic "$log"
	shown=$(length_of "$log.intervals")
	await 60 more_than $((shown + 1)) length_of "$log.intervals"
	trace_finish "$total"
	trace_finish "$intervals"
	trace_finish "$tracing"
	check "one summary" summed '.[0].endpoints' "$log.total"
	check "summaries of intervals add up to the same" summed 'map(.endpoints) | add' "$log.intervals"
	check "there were several" more_than 1 length_of "$log.intervals"
	says "the table tells why" 'active +[0-9]+ +7051 .* 3 +refused 3' cat "$log.table"
}

test_pinned() {
	local log=$SCRATCH/pinned watching
	check "--pin" weir tcp connect --pin --port 1-65535
	refuses "--pin once more" 2 "already|collects" tcp connect --pin
	"$WEIR" -j -n "$host" tcp connect --pinned -i 0.2 >"$log.watch" 2>&1 &
	watching=$!
	await 60 more_than 0 length_of "$log.watch"
	kill -9 "$watching"
	wait "$watching" 2>/dev/null
	summary_traffic "$log"
	weir -j tcp connect --pinned >"$log.json"
	check "what was collected after a kill -9" summed '.[0].endpoints' "$log.json"
	check "--unpin" weir tcp connect --unpin
	refuses "--pinned after that" 2 "does not collect" tcp connect --pinned
	check "no pins are left" no_pins
}

test_bad_input() {
	refuses "--role both" 1 "'both'" tcp connect --role both
	refuses "--role of what was collected" 1 "pin" tcp connect --pinned --role active
	refuses "--role alone" 1 "--role" tcp connect --role
	refuses "--min of nothing" 1 "min" tcp connect --min soon
	refuses "a word too many" 1 "'fast'" tcp connect fast
}

test_processes "IPv4" 10.9.0.2 7001
test_processes "IPv6" fd09::2 7002
test_accept_queue "IPv4" 10.9.0.2 7005
test_accept_queue "IPv6" fd09::2 7006
test_kinds
test_mptcp
test_uring
test_failures
test_never_accepted
test_ports
test_port_search
test_lost_syn
test_filters
test_role
test_summary
test_pinned
test_bad_input
trace_finish "$here_pid"
trace_finish "$there_pid"
equal "nothing came late" "1 1 1" "$(for port in 7003 7012 7013; do
	rows "$there" ".local == \"10.9.0.2:$port\""; done | paste -sd ' ')"
equal "nor twice" 1 "$(rows "$here" '.remote == "10.9.0.2:7028"')"
cat "$here" "$there" | jq -c 'select(.lost)' | sed 's/^/# /'
