#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp port: equal to what ss finds by walking, after connections that ended in every way; the range,
# its half, its end; what was there before; what is pinned.
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen sock/inet_sock_set_state
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
pair
# Where the last FIN and the ACK before it overtake each other on two CPUs, that ACK is answered by one that
# finds nobody any more. The RST for it would end TIME_WAIT, of which events cannot know.
inside "$host" sysctl -qw net.ipv4.tcp_rfc1337=1

PORTS=$HERE/tcp/ports.py
services='80 81'
WEIR_TIMEOUT=120

# As lib.sh's start: its pid is $started.
begin() { # NAMESPACE VERB ARGUMENTS...
	local log=$SCRATCH/log.$((++starts))
	background "$1" python3 "$PORTS" "${@:2}" >"$log" 2>&1
	started=$!
	logs[started]=$log
	await 100 grep -q ready "$log"
}

end() { # PID
	kill -TERM "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

as_ss_says() { # ARGUMENTS... -- WEIR-ARGUMENTS...
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	inside "$host" ss -tanoH >"$SCRATCH/before"
	weir -j tcp port "${@:2}" >"$SCRATCH/port" || return
	# shellcheck disable=SC2086
	inside "$host" python3 "$PORTS" compare --before "$SCRATCH/before" $services "${options[@]}" \
		<"$SCRATCH/port"
}

# What is on its way has to arrive.
same() { # TEXT ARGUMENTS... -- WEIR-ARGUMENTS...
	becomes "$1" as_ss_says "${@:2}"
}

# What is pinned learns by a walk only what waits no longer.
pinned_as_ss_says() {
	weir tcp port --unpin >/dev/null 2>&1
	weir tcp port --pin && as_ss_says -- --pinned
}

destination() { # ADDRESS:PORT CONDITION WEIR-ARGUMENTS...
	weir -j tcp port "${@:3}" >"$SCRATCH/port" || return
	jq -c ".destinations[] | select(.remote == \"$1\")" <"$SCRATCH/port"
	jq -e "[.destinations[] | select(.remote == \"$1\")] | length == 1 and (.[0] | $2)" \
		<"$SCRATCH/port"
}

churned() { # NAMESPACE SEED...: a hundred of each way; their pids are in $churning
	local seed hosts='--host 127.0.0.1 --host ::1 --host 10.9.0.2 --host fd09::2'
	[ "$1" = "$host" ] || hosts='--host 10.9.0.2 --host fd09::2'
	churning=()
	for seed in "${@:2}"; do
		# shellcheck disable=SC2086
		background "$1" python3 "$PORTS" churn --seed "$seed" $hosts --count 700 \
			$services >"$SCRATCH/churn.$1.$seed" 2>&1
		churning+=($!)
	done
	for seed in "${@:2}"; do
		await 100 grep -q ready "$SCRATCH/churn.$1.$seed" || return
	done
}

test_counts() {
	local server before after others
	# shellcheck disable=SC2086
	begin "$host" serve $services
	server=$started
	check "connections end in every way" churned "$host" 1
	before=("${churning[@]}")
	same "what is older than the command" -- # bootstrap
	becomes "--pin, and what is older than what is pinned" pinned_as_ss_says
	check "more of them" churned "$host" 2 3
	after=("${churning[@]}")
	check "and from elsewhere" churned "$client" 4
	others=("${churning[@]}")
	same "while it is pinned, connections end in every way, by the client's side, the server's, RST, fork" \
		--no-time-wait -- --pinned
	same "with TIME_WAIT, after a walk" -- --pinned --walk
	holds "none was lost" '.lost | .records_full == 0 and .missed_runs == 0' \
		weir -j tcp port --pinned
	check "something was there to be counted" jq -e '[.services[].established] | add > 100' \
		"$SCRATCH/port"
	check "the search for a port was timed" jq -e \
		'[.destinations[] | select(.remote == "127.0.0.1:80")][0] | .searches > 50 and
		.search_us_mean > 0 and .search_us_mean <= .search_us_max and
		.search_us_p99 <= .search_us_max' "$SCRATCH/port"
	check "both families and IPv4 through IPv6 have places of their own" jq -e \
		'[.destinations[].local] | unique | contains(["10.9.0.2", "127.0.0.1", "::1", "fd09::2"])' \
		"$SCRATCH/port"

	kill -9 "${before[@]}" "${others[@]}"
	wait "${before[@]}" "${others[@]}" 2>/dev/null
	"$WEIR" -n "$host" tcp port -i 0.1 >"$SCRATCH/killed" 2>&1 &
	await 60 grep -q Services "$SCRATCH/killed"
	kill -9 $!
	wait $! 2>/dev/null
	same "clients are killed, and so is a weir" --no-time-wait -- --pinned
	kill -TERM "${after[@]}" 2>/dev/null
	end "$server"
	same "all have gone" --no-time-wait -- --pinned
	check "no connection is established" jq -e '[.destinations[], .services[] | .established] |
		add == 0' "$SCRATCH/port"
	refuses "--pin again" 2 "collects in the background already" tcp port --pin
	check "--unpin" weir tcp port --unpin
	check "no pins are left" no_pins
}

range() { # LEAST MOST [RESERVED]
	inside "$host" sysctl -qw "net.ipv4.ip_local_port_range=$1 $2" \
		"net.ipv4.ip_local_reserved_ports=${3:-}"
}

# 90 ports, none of which a test before has used.
test_range() {
	local server first second failed remote=$1 to=$2
	range 21000 21099 21010-21014,21090-21094,50000
	begin "$host" serve 90
	server=$started
	check "$remote: --pin" weir tcp port --pin
	begin "$host" hold --host "$remote" --count 44 90
	first=$started
	await 60 destination "$to" '.in_use == 44' --pinned
	check "$remote: 44 of 90 ports" destination "$to" '.in_use == 44 and .established == 44 and
		.ports == 90 and .used_percent > 48.8 and .used_percent < 48.9 and .alert == "ok" and
		(has("advice") | not)' --pinned
	begin "$host" hold --host "$remote" --count 1 90
	second=$started
	check "$remote: at half there is an alert" destination "$to" '.in_use == 45 and
		.used_percent == 50 and .alert == "warn" and .failed_no_port == 0' --pinned
	says "$remote: and people are told" 'half of the ports are taken' weir tcp port
	end "$second"
	# Until its FIN is acknowledged, it is a socket.
	await 60 destination "$to" '.in_use == 44' --pinned
	begin "$host" hold --host "$remote" --count 60 90
	second=$started
	failed=$(sed -n 's/failed //p' "${logs[$second]}")
	# One port may wait.
	between "$remote: connect() fails for want of a port" 14 15 "$failed"
	check "$remote: as often as is told" destination "$to" ".in_use + $failed == 104 and
		.used_percent == 100 and .alert == \"fail\" and .failed_no_port == $failed and
		.attempts == 105" --pinned
	says "$remote: and people are told what to do" 'no free port' weir tcp port --pinned
	end "$first"
	end "$second"
	await 60 destination "$to" '.in_use == 0' --pinned
	# One that finds no port was counted while it looked for it.
	check "$remote: ports are free again, or wait" destination "$to" ".in_use == 0 and
		.in_use_peak == 105 - $failed" --pinned
	end "$server"
	check "$remote: --unpin" weir tcp port --unpin
	range 32768 60999
}

# From the kernel's own counter, which also knows those that have ended early.
mini_sockets_made() {
	inside "$host" nstat -aszj TcpExtTW | jq .kernel.TcpExtTW
}

in_state() { # STATE NUMBER: so many are
	[ "$(inside "$host" ss -tanH state "$1" '( dport = :91 )' | wc -l)" = "$2" ]
}

# What closes first keeps its port for a minute.
test_time_wait() {
	local server waits before
	range 21000 21099
	begin "$host" serve 91
	server=$started
	weir tcp port --pin >/dev/null
	before=$(mini_sockets_made)
	begin "$host" hold --host 10.9.0.2 --count 30 --close 91
	await 60 destination 10.9.0.2:91 '.in_use == 0' --pinned
	# Until the server has closed them, too, they wait in FIN_WAIT2.
	await 60 in_state fin-wait-2 0
	equal "30 ports wait" 30 $(($(mini_sockets_made) - before))
	check "they are told apart, and count as used" destination 10.9.0.2:91 '.in_use == 0 and
		.time_wait == 30 and .used_percent == 30' --pinned
	waits=$(inside "$host" ss -tanH state time-wait '( dport = :91 )' | wc -l)
	check "a command that begins now says what ss says" destination 10.9.0.2:91 '.in_use == 0 and
		.time_wait == '"$waits and .used_percent == $waits"
	check "so does another walk" destination 10.9.0.2:91 '.in_use == 0 and
		.time_wait == '"$waits and .used_percent == $waits" --pinned --walk
	end "$started"
	begin "$host" hold --host 10.9.0.2 --count 5 --bind 20000 91
	check "ports that bind() named are aside" destination 10.9.0.2:91 '.bound == 5 and .in_use == 0 and
		.established == 5 and .used_percent == '"$waits" --pinned
	check "before the command, too" destination 10.9.0.2:91 '.bound == 5 and .in_use == 0'
	end "$started"
	begin "$host" hold --host 10.9.0.2 --count 7 --abandon 91
	becomes "what ends in FIN_WAIT2 without TIME_WAIT holds no port" destination 10.9.0.2:91 \
		'.in_use == 0 and .attempts == 37 and .time_wait <= '"$waits" --pinned
	end "$started"
	end "$server"
	weir tcp port --unpin >/dev/null
	range 32768 60999
}

# A server has a connection when the last ACK of three has come.
came() { # PORT NUMBER
	[ "$(inside "$host" ss -tanH state established "( sport = :$1 )" | wc -l)" = "$2" ]
}

test_filters() {
	local server clients six inode
	begin "$host" serve 92 93
	server=$started
	begin "$host" hold --host 127.0.0.1 --host ::1 --count 3 92 93
	clients=$started
	begin "$host" hold --host ::1 --count 2 92
	six=$started
	await 60 came 92 5
	await 60 came 93 3
	holds "--port: services alone" '(.services | length == 1) and .services[0].port == 92 and
		.services[0].established == 5 and .services[0].listeners == 1 and
		.destinations == []' weir -j tcp port --port 92
	holds "-6" '[.services[] | select(.port == 92) | .listeners, .established] == [1, 2]' \
		weir -j tcp port -6
	holds "-6, --peer-port" '[.destinations[].remote] == ["[::1]:92"]' \
		weir -j tcp port -6 --peer-port 92-93
	holds "-4" '[.destinations[].remote] | sort == ["127.0.0.1:92", "127.0.0.1:93"]' \
		weir -j tcp port -4 --peer-port 92-93
	holds "--peer and --peer-port" '[.destinations[] | .remote, .in_use] == ["127.0.0.1:93", 3]' \
		weir -j tcp port --peer 127.0.0.0/8 --peer-port 93
	holds "--netns, from elsewhere" '[.services[] | select(.port == 92).established] == [5]' \
		timeout "$WEIR_TIMEOUT" "$WEIR" -j tcp port --netns "$host"
	inode=$(stat -Lc %i "/run/netns/$host")
	holds "everywhere" "[.services[] | select(.netns_inode == $inode and .listeners > 0) | .port] |
		sort == [92, 93]" timeout "$WEIR_TIMEOUT" "$WEIR" -j tcp port
	weir -j tcp port -i 0.3 -c 2 >"$SCRATCH/intervals" 2>&1
	check "-i: two documents" jq -es 'length == 2 and all(.[]; .seconds > 0 and
		([.services[] | select(.port == 92).established] == [5]) and
		all(.destinations[]; .attempts == 0))' "$SCRATCH/intervals"
	holds "--overhead" '[.overhead.programs[].program] | contains(["weir_port", "weir_port_walk"])' \
		bash -c "timeout $WEIR_TIMEOUT '$WEIR' -j -n '$host' tcp port --overhead | tail -n 1"
	end "$clients"
	end "$six"
	end "$server"
}

test_input() {
	refuses "nothing is pinned" 2 "does not collect in the background" tcp port --pinned
	refuses "--min" 1 "--min" tcp port --min 5
	refuses "--pin -i" 1 "returns at once" tcp port --pin -i 1
	refuses "--pin --walk" 1 "returns at once|--walk" tcp port --pin --walk
	refuses "--pid" 1 "ss -tp" tcp port --pid 1
	refuses "--port 0" 1 "0" tcp port --port 0
	refuses "filters of what is pinned" 1 "belong to --pin" tcp port --pinned -4
}

test_counts
test_range 10.9.0.2 10.9.0.2:90
test_range fd09::2 '[fd09::2]:90'
test_time_wait
test_filters
test_input
