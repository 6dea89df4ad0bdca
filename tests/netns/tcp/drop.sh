#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp drop: every packet that is made to be dropped is counted once, with the kernel's reason and place,
# which the kernel's own trace of it says, too. What is sent has a known number, and its own port.
#
#   client                     host (weir attached)
#   eth0 10.9.0.1/24 ------ eth0 10.9.0.2/24
#        fd09::1/64              fd09::2/64
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen skb/kfree_skb
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../cgroup.sh
. tests/cgroup.sh
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
pair
WEIR_TIMEOUT=120

DROP=$HERE/tcp/drop.py
NOBODY4=10.9.0.77 NOBODY6=fd09::77 # their neighbour entries lead to the client, which does not know them

segments() { # HOST PORT COUNT [OPTION...]
	local source=10.9.0.1
	case $1 in *:*) source=fd09::1 ;; esac
	inside "$client" timeout 60 python3 "$DROP" segments "$1" "$2" "$3" --source $source "${@:4}" \
		>/dev/null
}

serve() { # NAMESPACE ARGUMENTS...: $started as of start
	local log=$SCRATCH/log.$((++starts))
	background "$1" timeout 300 python3 "$DROP" "${@:2}" >"$log" 2>&1
	started=$!
	logs[started]=$log
	await 30 grep -q ready "$log"
}

kernel_count() { # COUNTER [NAMESPACE]
	inside "${2:-$host}" nstat -asz "$1" | awk 'END { print $2 + 0 }'
}

reached() { # COUNTER WANTED [NAMESPACE]
	[ "$(kernel_count "$1" ${3:+"$3"})" -ge "$2" ]
}

# A tracer of its own, which writes to $SCRATCH/NAME. Its pid is $tracing.
trace() { # NAME ARGUMENTS...
	trace_begin "$SCRATCH/$1" -n "$host" -j tcp drop "${@:2}"
}

# Returns when the host is done with all that the client has sent: the device has one queue.
arrived() {
	await 30 pings "$client" 10.9.0.2 1
}

untrace() { # PID...
	arrived
	kill -INT "$@"
	wait "$@"
}

# Packets of the summaries in NAME whose row makes the condition true.
summed() { # NAME CONDITION
	jq -s "[.[] | .drops[]?, .benign[]? | select($2) | .packets] | add // 0" "$SCRATCH/$1"
}

# Lines of NAME that make the condition true.
lines() { # NAME CONDITION
	jq -c "select($2)" "$SCRATCH/$1" | wc -l
}

# Packets that weir's own program dropped, in the lines NAME.
by_weir() { # NAME
	jq -s '[.[] | select(.source == "xdp eth0") | .packets] | add // 0' "$SCRATCH/$1"
}

firewalled() { # COUNTER
	inside "$host" nft list counter inet t "$1" | sed -nE 's/.*packets ([0-9]+).*/\1/p'
}

test_reasons() {
	local summary line listener before csum out4 out6
	inside "$host" nft -f - <<-'END'
		table inet t {
			counter in {
			}
			counter out4 {
			}
			counter out6 {
			}
			chain in {
				type filter hook input priority 0
				tcp dport 83 counter name in drop
			}
			chain out {
				type filter hook output priority 0
				meta nfproto ipv4 tcp dport 91 counter name out4 drop
				meta nfproto ipv6 tcp dport 91 counter name out6 drop
			}
		}
	END
	serve "$host" listen 84 --deaf
	listener=$started
	segments 10.9.0.2 85 5 # before the tracers: not theirs
	await 30 more_than 4 matched 1
	trace summary -s
	summary=$tracing
	trace lines
	line=$tracing
	before=$(kernel_count TcpInSegs)
	csum=$(kernel_count TcpInCsumErrors)
	segments 10.9.0.2 81 40
	segments fd09::2 81 30
	segments 10.9.0.2 82 50 --bad
	segments fd09::2 82 20 --bad
	segments 10.9.0.2 83 25
	traffic "$host" connect 10.9.0.1 91 2 --wait 0.3 >/dev/null
	traffic "$host" connect fd09::1 91 1 --wait 0.3 >/dev/null
	segments 10.9.0.2 84 15
	segments fd09::2 84 5
	segments 10.9.0.2 85 33
	await 30 reached TcpInSegs $((before + 40 + 30 + 50 + 20 + 15 + 5))
	await 30 more_than 37 matched 1
	await 30 more_than 32 by_weir lines # rows of XDP come once a second
	untrace "$summary" "$line"
	stop "$listener"
	out4=$(firewalled out4) out6=$(firewalled out6) # a SYN is sent again where a second passes
	csum=$(($(kernel_count TcpInCsumErrors) - csum))

	equal "40 SYNs to a closed port, IPv4" 40 \
		"$(summed summary '.reason == "NO_SOCKET" and (.location | startswith("tcp_v4_rcv+"))')"
	equal "30 the same, IPv6" 30 \
		"$(summed summary '.reason == "NO_SOCKET" and (.location | startswith("tcp_v6_rcv+"))')"
	equal "70 with a bad checksum, as the kernel counts" "70 70" \
		"$csum $(summed summary '.reason == "TCP_CSUM"')"
	equal "by firewall rules, as they count" $((25 + out4 + out6)) \
		"$(summed summary '.reason == "NETFILTER_DROP"')"
	check "3 and more of which go out" test "$out4" -ge 2 -a "$out6" -ge 1
	equal "20 by a filter of the socket" 20 "$(summed summary '.reason == "SOCKET_FILTER"')"
	equal "33 by weir's own rule, in the same table, and not the 5 before" 33 \
		"$(summed summary '.source == "xdp eth0" and .reason == "rule"')"
	check "the summary says what to do, a rate, and that nothing was lost" jq -es '
		all(.[0].drops[]; .packets_per_second > 0 and (.advice | length) > 10) and
		.[0].lost.events_lost == 0 and .[0].lost.records_full == 0' "$SCRATCH/summary"

	equal "lines: 40 and 30 to the closed port, SYNs, from the right peers" "40 30" \
		"$(lines lines '.reason == "NO_SOCKET" and .local == "10.9.0.2:81" and .flags == "SYN" and
			(.remote | startswith("10.9.0.1:1"))') $(lines lines '.reason == "NO_SOCKET" and
			.local == "[fd09::2]:81" and (.remote | startswith("[fd09::1]:1"))')"
	equal "lines: each of its own port" 40 "$(jq -r 'select(.local == "10.9.0.2:81") | .remote' \
		"$SCRATCH/lines" | sort -u | wc -l)"
	equal "lines: the rest" "50 20 25 15 5" "$(for at in 10.9.0.2:82 '[fd09::2]:82' 10.9.0.2:83 \
		10.9.0.2:84 '[fd09::2]:84'; do lines lines ".local == \"$at\""; done | xargs)"
	equal "lines: what goes out is told by its socket" "$out4 $out6" "$(for at in 10.9.0.1:91 '[fd09::1]:91'; do
		lines lines ".remote == \"$at\" and .direction == \"out\" and .flags == \"SYN\" and
			.state == \"SYN_SENT\""; done | xargs)"
	equal "lines: none that the summary does not have" 0 "$(lines lines '.source == "kernel" and
		.cause != "xdp" and ([.reason] | inside(["NO_SOCKET", "TCP_CSUM", "NETFILTER_DROP", "SOCKET_FILTER"]) | not)')"
	equal "what the driver frees as XDP told it is known as such" 33 \
		"$(summed summary '.cause == "xdp" and .source == "kernel" and (.advice | contains("weir"))')"
	equal "lines: weir's own as rows" 33 "$(by_weir lines)"
	check "lines: direction, device, namespace, no PID" jq -es "
		[.[] | select(.source == \"kernel\" and .direction != \"out\")] | length == 40 + 30 + 50 + 20 +
		25 + 15 + 5 + 33 and all(.direction == \"in\" and .protocol == \"tcp\" and
		.ifindex == $(ip -n "$host" -j link show eth0 | jq '.[0].ifindex') and
		.netns_inode == $(stat -Lc %i "/run/netns/$host") and (.benign | not))" "$SCRATCH/lines"
	check "lines: the filter's socket listens, with its queues" jq -es '
		[.[] | select(.reason == "SOCKET_FILTER")] | length == 20 and
		all(.state == "LISTEN" and .accept_queue == 0 and .accept_max == 8 and .syn_queue == 0)' \
		"$SCRATCH/lines"
	inside "$host" nft delete table inet t
}

# The same drops as the kernel's own tracepoint writes them down.
test_names() {
	local own=$SCRATCH/tracefs log pairs reasons
	mkdir "$own"
	if ! mount -t tracefs tracefs "$own" 2>/dev/null || ! mkdir "$own/instances/$RUN" 2>/dev/null; then
		umount "$own" 2>/dev/null
		skip "names as the kernel writes them" "no tracefs"
		return
	fi
	log=$own/instances/$RUN
	# What others drop meanwhile would leave no room.
	reasons=$(bpftool btf dump file /sys/kernel/btf/vmlinux |
		sed -nE "s/^\t'SKB_DROP_REASON_(NO_SOCKET|TCP_CSUM)' val=([0-9]*)/\2/p" | sort -u | paste -sd ' ')
	echo "reason == ${reasons/ / || reason == }" >"$log/events/skb/kfree_skb/filter"
	echo 1 >"$log/events/skb/kfree_skb/enable"
	trace names -s
	segments 10.9.0.2 81 3
	segments fd09::2 82 3 --bad
	untrace "$tracing"
	echo 0 >"$log/events/skb/kfree_skb/enable"
	pairs=$(jq -r '.drops[] | select(.source == "kernel") | .reason + " " + .location' "$SCRATCH/names" |
		sort -u)
	sed -nE 's/.*location=([^ ]*)\/0x[0-9a-f]* reason: ([A-Z0-9_]*).*/\2 \1/p' "$log/trace" |
		sort -u >"$OUTPUT"
	rmdir "$log"
	umount "$own"
	[ "$(wc -l <<<"$pairs")" = 2 ] && [ -z "$(comm -23 <(echo "$pairs") "$OUTPUT")" ]
	report $? "names of reasons and places are those that the kernel writes"
}

# Names against the types of this kernel, by another reader of them.
test_numbers() {
	bpftool btf dump file /sys/kernel/btf/vmlinux |
		sed -nE "s/^\t'SKB_DROP_REASON_([A-Z0-9_]*)' val=.*/\1/p" | sort -u >"$SCRATCH/names"
	jq -r '.drops[] | select(.source == "kernel") | .reason' "$SCRATCH/summary" | sort -u |
		comm -23 - "$SCRATCH/names" >"$OUTPUT"
	[ "$(wc -l <"$SCRATCH/names")" -gt 50 ] && [ ! -s "$OUTPUT" ]
	report $? "every name is an enumerator of this kernel"
}

# Half-open connections whose third ACKs come when the accept queue is full. From half a backlog of them on,
# and more than 4, the kernel would give up the older ones after seconds, and any of them after a minute.
overflow() { # HOST SOURCE PORT COUNT BACKLOG NAME
	local listener raw filled
	serve "$host" listen "$3" --backlog "$5"
	listener=$started
	serve "$client" handshakes "$1" "$3" "$4" --source "$2"
	raw=$started
	background "$client" timeout 300 python3 "$TRAFFIC" connect "$1" "$3" $(($5 + 1)) --keep --wait 30 \
		--linger 200 >"$SCRATCH/filled"
	filled=$!
	await 60 grep -q . "$SCRATCH/filled"
	trace "$6" --port "$3"
	before=$(kernel_count TcpExtListenOverflows)
	kill -TERM "$raw"
	wait "$raw"
	await 30 reached TcpExtListenOverflows $((before + $4))
	untrace "$tracing"
	overflows=$(($(kernel_count TcpExtListenOverflows) - before))
	kill "$filled"
	wait "$filled" 2>/dev/null
	stop "$listener"
}

test_accept_queue() {
	local mac before overflows cookies
	mac=$(ip -n "$client" -j link show eth0 | jq -r '.[0].address')
	inside "$host" sysctl -qw net.ipv4.tcp_synack_retries=9
	ip -n "$host" neigh replace $NOBODY4 lladdr "$mac" dev eth0
	ip -n "$host" neigh replace $NOBODY6 lladdr "$mac" dev eth0
	overflow 10.9.0.2 $NOBODY4 86 6 14 overflow4
	equal "third ACK at a full accept queue: as many as ListenOverflows" "6 6" \
		"$overflows $(lines overflow4 '.cause == "accept_queue_full" and
			.reason == "TCP_LISTEN_OVERFLOW"')"
	check "with the listener's state and depths, 15 of 14" jq -es '[.[] | select(.cause)] | length == 6 and
		all(.state == "LISTEN" and .accept_queue == 15 and .accept_max == 14 and .syn_queue == 6 and
		.flags == "ACK")' "$SCRATCH/overflow4"
	overflow fd09::2 $NOBODY6 87 3 4 overflow6
	equal "the same, IPv6" "3 3" "$overflows $(lines overflow6 '.cause == "accept_queue_full" and
		.state == "LISTEN" and .accept_queue == 5')"
	cookies=$(inside "$host" sysctl -n net.ipv4.tcp_syncookies)
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies=2
	overflow 10.9.0.2 $NOBODY4 88 5 3 cookies
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies="$cookies"
	equal "the ACK of a cookie: the true cause beside the kernel's NO_SOCKET" "5 5" \
		"$overflows $(lines cookies '.cause == "accept_queue_full" and .reason == "NO_SOCKET" and
			.state == "LISTEN"')"
}

# Connections that the host's server closes first: its mini-socket has no use for the last FIN; and segments
# for another host that come by. What the client sends again may be dropped once more.
test_benign() {
	local summary line all again
	cat >"$SCRATCH/benign.py" <<-'END'
		import socket, sys, time
		if sys.argv[1] == "server":
		    s = socket.create_server(("", 89))
		    print("ready", flush=True)
		    for i in range(6):
		        s.accept()[0].close()
		        print("closed", flush=True)
		    c = s.accept()[0]
		    while c.recv(1):
		        pass
		    for i in range(20):
		        c.sendall(b"x")
		        time.sleep(0.01)
		else:
		    for i in range(6):
		        c = socket.create_connection(("10.9.0.2", 89))
		        c.recv(1)
		        while open(sys.argv[2]).read().count("closed") <= i:
		            time.sleep(0.01)
		        # The ACK of their FIN goes now, if it has not: ours is not to bring it.
		        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
		        c.close()
		    c = socket.create_connection(("10.9.0.2", 89))
		    c.shutdown(socket.SHUT_WR)
		    while c.recv(1):
		        pass
	END
	ip -n "$host" link set eth0 promisc on
	ip -n "$client" neigh replace 10.9.0.78 lladdr 02:00:00:00:00:78 dev eth0
	trace benign -s
	summary=$tracing
	trace quiet
	line=$tracing
	trace all --all
	all=$tracing
	again=$(kernel_count TcpRetransSegs "$client")
	background "$host" timeout 60 python3 "$SCRATCH/benign.py" server >"$SCRATCH/benign.ready"
	started=$!
	await 30 grep -q ready "$SCRATCH/benign.ready"
	inside "$client" timeout 60 python3 "$SCRATCH/benign.py" client "$SCRATCH/benign.ready"
	wait $started
	segments 10.9.0.2 81 2
	segments 10.9.0.78 81 4
	untrace "$summary" "$line" "$all"
	again=$(($(kernel_count TcpRetransSegs "$client") - again))
	ip -n "$host" link set eth0 promisc off
	equal "4 for another host are benign" 4 "$(summed benign '.benign and .reason == "OTHERHOST"')"
	between "6 FINs at mini-sockets are" 6 $((6 + again)) \
		"$(summed benign '.benign and .cause == "time_wait" and .reason == "NOT_SPECIFIED"')"
	between "so are ACKs of what is sent to a peer that has closed" 2 $((22 + again)) \
		"$(lines all '.benign and .cause == "ack_used" and .state == "CLOSE_WAIT" and .flags == "ACK"')"
	between "and not among the drops" 2 $((2 + again)) "$(jq '[.drops[].packets] | add' "$SCRATCH/benign")"
	between "nor among the lines" 2 $((2 + again)) "$(lines quiet '.source')"
	equal "but for --all" "4 2" "$(lines all '.benign and .reason == "OTHERHOST" and .flags == "SYN"
		and .local == "10.9.0.78:81"') $(lines all '.reason == "NO_SOCKET" and .protocol == "tcp"')"
	between "and its mini-sockets" 6 $((6 + again)) \
		"$(lines all '.benign and .cause == "time_wait" and .state == "TIME_WAIT"')"
}

test_stack() {
	local cpus took most line summary begin=$SECONDS
	trace stacks --stack
	line=$tracing
	trace stack_summary --stack -s
	summary=$tracing
	segments 10.9.0.2 82 1000 --bad
	await 30 more_than 999 lines stacks .reason
	untrace "$line" "$summary"
	took=$((SECONDS - begin + 1))
	cpus=$(nproc)
	most=$(((10 * took + 1) * cpus))
	equal "a burst of 1000: none is lost" 1000 "$(lines stacks '.reason == "TCP_CSUM"')"
	between "stacks at no more than ten a second on each CPU" 1 $most \
		"$(lines stacks .stack)"
	check "a stack begins where the packet was dropped, and leads there" jq -es '
		[.[] | select(.stack)] | length > 0 and all(.stack[0] == .location and
		any(.stack[]; startswith("ip_local_deliver_finish+") or startswith("ip_protocol_deliver_rcu+")) and
		(any(.stack[]; contains("bpf")) | not))' "$SCRATCH/stacks"
	check "the summary has the last one, and how many it left out" jq -es ".[0].drops[] |
		select(.reason == \"TCP_CSUM\") | .packets == 1000 and .stack[0] == .location and
		.stacks_skipped < 1000 and .stacks_skipped >= 1000 - $most" "$SCRATCH/stack_summary"
}

test_filters() {
	local pids=() name resets
	for name in "port81 --port 81" "peer --peer 10.9.0.0/24" "four -4" "six -6" \
		"elsewhere --netns $client" "sports --peer-port 10000-10004"; do
		# shellcheck disable=SC2086
		trace $name -s
		pids+=("$tracing")
	done
	resets=$(kernel_count TcpInSegs "$client")
	segments 10.9.0.2 81 10
	segments 10.9.0.2 82 20 --bad
	segments fd09::2 81 30
	await 30 reached TcpInSegs $((resets + 40)) "$client"
	untrace "${pids[@]}"
	resets=$(($(kernel_count TcpInSegs "$client") - resets))
	equal "filters: port, peer, family, another namespace (which gets RSTs), the peer's port" \
		"40 30 30 30 $resets 15" \
		"$(for name in port81 peer four six elsewhere sports; do summed $name '.source == "kernel"'; done | xargs)"
	trace itspeer --all --peer 10.9.0.1
	pids=("$tracing")
	trace nobody --all --peer 10.9.0.9
	pids+=("$tracing")
	inside "$client" python3 "$DROP" unknown 10.9.0.2 4
	untrace "${pids[@]}"
	equal "--peer is about packets without ports, too" "4 0" "$(lines itspeer '.protocol == "253"') $(lines \
		nobody '.protocol == "253"')"
	refuses "a process" 1 "^weir: --pid: .*not by the process" tcp drop --pid 1
	refuses "an unknown word" 1 "'--stacks' is not expected" tcp drop --stacks
	refuses "--pinned with nothing pinned" 2 "'drop' does not collect" tcp drop --pinned
}

test_cgroup() {
	local log=$SCRATCH/log.deaf deaf summary
	if ! cgroup_make "$RUN/inner" 2>/dev/null; then
		skip "a cgroup" "no cgroup2"
		return
	fi
	cgroup_background "$RUN/inner" nsenter --net="/run/netns/$host" \
		timeout 300 python3 "$DROP" listen 90 --deaf >"$log" 2>&1
	deaf=$!
	await 30 grep -q ready "$log"
	trace cgroup -s --cgroup "$(cgroup_path "$RUN")"
	summary=$tracing
	trace cgroup_lines --cgroup "$(cgroup_path "$RUN")"
	segments 10.9.0.2 90 8
	segments 10.9.0.2 81 3
	untrace "$summary" $tracing
	equal "a cgroup: the drops of its sockets" "8 8" "$(summed cgroup true) $(summed cgroup \
		'.reason == "SOCKET_FILTER"')"
	check "those of no socket cannot be told, and are counted" jq -es '.[0].lost.unknown >= 3' \
		"$SCRATCH/cgroup"
	check "lines end with that number, too" jq -es 'length == 9 and .[-1].lost.unknown >= 3' \
		"$SCRATCH/cgroup_lines"
	check "of which people are told" grep -q "drops are left out" "$SCRATCH/cgroup_lines.errors"
	kill "$deaf"
	wait "$deaf" 2>/dev/null
	cgroups_remove
}

no_tracer_pins() {
	! find "$(pins_of "$host")/tcp" 2>/dev/null | grep .
}

test_pinned() {
	local victim shown
	says "pin" "collecting in the background" weir tcp drop --pin --stack
	refuses "pin again" 2 "collects in the background already" tcp drop --pin
	trace victim -s
	victim=$tracing
	segments 10.9.0.2 81 11
	kill -KILL "$victim"
	wait "$victim" 2>/dev/null
	segments fd09::2 81 12
	segments 10.9.0.2 85 13
	arrived
	holds "what was collected, also after another weir was killed" '
		([.drops[] | select(.reason == "NO_SOCKET") | .packets] | add) == 23 and
		([.drops[] | select(.source == "xdp eth0") | .packets] | add) == 13 and
		all(.drops[]; .source != "kernel" or (.stack | length) > 0)' weir -j tcp drop --pinned
	trace intervals --pinned -i 0.3
	await 30 more_than 0 lines intervals .drops
	segments 10.9.0.2 81 7
	arrived
	shown=$(lines intervals .drops)
	await 30 more_than $((shown + 1)) lines intervals .drops
	untrace "$tracing"
	equal "intervals of what is pinned have what came in them" "7 0" "$(summed intervals \
		'.reason == "NO_SOCKET"') $(summed intervals '.source == "xdp eth0"')"
	check "unpin" weir tcp drop --unpin
	check "nothing is left" no_tracer_pins
}

test_overhead() {
	trace cost -s --overhead
	segments 10.9.0.2 82 500 --bad
	untrace "$tracing"
	check "what it costs is told" jq -es '.[1].overhead.programs[0] | .program == "weir_drops" and
		.runs >= 500 and .ns_per_run >= 0' "$SCRATCH/cost"
	jq -r '.overhead | select(.) | "# \(.programs[0].ns_per_run) ns a run"' "$SCRATCH/cost"
}

check "attach" weir attach eth0 --xdp-only
check "a rule of weir's own" weir rule add drop proto tcp dport 85
test_reasons
test_names
test_numbers
test_accept_queue
test_benign
test_stack
test_filters
test_cgroup
test_pinned
test_overhead
says "people are told where refused SYNs show" "weir tcp queue" weir tcp drop -s -d 0.2
check "detach" weir detach eth0
