#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp queue: whose queue drops how many, as the kernel counts them itself, and what it costs clients.
#
#   client                     host (listens)           other (listens on the same port)
#   eth0 10.9.0.1/24 ------ eth0 10.9.0.2/24            lo
#        fd09::1/64              fd09::2/64
#   10.9.0.78 and fd09::78 are at the client too, but its kernel does not know
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen skb/kfree_skb skb/consume_skb tcp/tcp_send_reset \
	tcp/tcp_retransmit_synack tcp/tcp_retransmit_skb tcp/tcp_destroy_sock
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh

TCP=$HERE/tcp
MIBS=(ListenOverflows ListenDrops TCPReqQFullDrop TCPReqQFullDoCookies SyncookiesSent)
COUNTED=("${MIBS[@]}" EmbryonicRsts)
SHOWN=$SCRATCH/shown
declare -A noted
clients=0
WEIR_TIMEOUT=100

network() {
	local mac
	pair
	# It is no router, though new namespaces are where Docker runs: it would answer SYN-ACKs for who is
	# not there by ICMP, when it has looked for them long enough, and the requests would go.
	inside "$client" sysctl -qw net.ipv4.ip_forward=0
	other=$RUN-other
	namespace "$other"
	mac=$(ip -n "$client" -j link show eth0 | jq -r '.[0].address')
	ip -n "$host" neigh replace 10.9.0.78 lladdr "$mac" dev eth0
	ip -n "$host" neigh replace fd09::78 lladdr "$mac" dev eth0
	mac_of_host=$(ip -n "$host" -j link show eth0 | jq -r '.[0].address')
	inside "$host" sysctl -qw net.ipv4.tcp_synack_retries=6 net.core.somaxconn=1000
	cookies 1
}

cookies() { # 0, 1, or 2: always
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies="$1"
}

kernel_counts() { # NAME VALUE of each
	inside "$host" nstat -asz "${COUNTED[@]/#/TcpExt}" | awk '/^TcpExt/ { print substr($1, 7), $2 }'
}

note() {
	local name value
	while read -r name value; do
		noted[$name]=$value
	done < <(kernel_counts)
}

count_in() { # FILE COUNTER: since note()
	echo $(($(awk -v name="$2" '$1 == name { print $2 }' "$1") - noted[$2]))
}

since() { # COUNTER: until now
	count_in <(kernel_counts) "$1"
}

had() { # COUNTER: until what is shown
	count_in "$SHOWN.kernel" "$1"
}

accept_queue_is() { # NAMESPACE PORT COUNT
	[ "$(inside "$1" ss -Htln "sport = :$2" | awk '{ n += $2 } END { print n }')" = "$3" ]
}

# So many that connect one after the other are all in the accept queue before anything else comes.
# SYNs that come at once may all get into the SYN queue: then last ACKs are dropped instead.
fill() { # TEXT HOST PORT COUNT
	equal "$1: the accept queue is filled" "$4" \
		"$(traffic "$client" connect "$2" "$3" "$4" --keep --wait 15)"
	await 20 accept_queue_is "$host" "$3" "$4"
}

listener() { # NAMESPACE HOST PORT BACKLOG [OPTION...]
	local log=$SCRATCH/log.$((++starts))
	background "$1" python3 "$TCP/listener.py" "${@:2}" >"$log" 2>&1
	started=$!
	logs[started]=$log
	await 20 grep -q ready "$log"
}

# All at once. What they say is in $connecting.
connect() { # HOST PORT COUNT [OPTION...]
	connecting=$SCRATCH/clients.$((++clients))
	background "$client" timeout -k 2 120 python3 "$TCP/clients.py" "$@" --keep 60 >"$connecting"
}

# What it says is in $half_open, its orders come by file descriptor 7.
half_open() { # HOST PORT COUNT [OPTION...]
	local source=10.9.0.78 orders=$SCRATCH/orders.$((++clients))
	[[ $1 != *:* ]] || source=fd09::78
	half_open=$SCRATCH/half_open.$clients
	mkfifo "$orders"
	exec 7<>"$orders"
	nsenter --net="/run/netns/$client" timeout -k 2 120 python3 "$TCP/half_open.py" eth0 \
		"$mac_of_host" $source "$@" <"$orders" >"$half_open" 7>&- &
	await 20 grep -q answered "$half_open"
}

order() { # WORD OF-THE-ANSWER, WORDS...
	echo "${@:2}" >&7
	await 20 grep -q "$1" "$half_open"
}

told() { # WORD: what half_open.py says of it
	awk -v word="$1" '$1 == word { n = $2 } END { print n }' "$half_open"
}

show() {
	weir -j tcp queue --pinned >"$SHOWN" && kernel_counts >"$SHOWN.kernel"
}

# While the kernel counts nothing, so that its counters are those of the same moment.
show_at_rest() {
	local before
	for _ in {1..20}; do
		before=$(kernel_counts)
		show
		[ "$before" != "$(cat "$SHOWN.kernel")" ] || return 0
	done
}

counted() { # PORT FIELD: of the listener, as last shown
	jq -r ".listeners[] | select(.listener | endswith(\":$1\")) | .$2" "$SHOWN"
}

row_holds() { # TEXT PORT CONDITION
	jq ".listeners[] | select(.listener | endswith(\":$2\"))" "$SHOWN" >"$OUTPUT"
	jq -es "length == 1 and (.[0] | $3)" "$OUTPUT" >/dev/null
	report $? "$1"
}

# The sums of all classes, as weir and as nstat have them, and nothing unexplained.
agrees() { # TEXT
	local counter wanted=()
	for counter in "${MIBS[@]}"; do
		wanted+=("$(had "$counter")")
	done
	equal "$1: the kernel's counters are explained" "${wanted[*]}" "$(jq -r '[.kernel[].counters[] |
		select(.counter != "TCPSynRetrans") | .weir] | join(" ")' "$SHOWN")"
	explained "$1"
}

explained() { # TEXT
	jq -c '.kernel, .lost' "$SHOWN" >"$OUTPUT"
	jq -e '[.kernel[].counters[].unexplained] | length == 6 and all(. == 0)' "$SHOWN" >/dev/null
	report $? "$1: nothing is unexplained"
}

begin() {
	weir tcp queue --pin >"$OUTPUT" || report 1 "--pin"
	note
}

end() {
	weir tcp queue --unpin >"$OUTPUT" || report 1 "--unpin"
	exec 7>&-
}

at_least() { # NUMBER COMMAND...
	[ "$("${@:2}")" -ge "$1" ]
}

test_healthy() {
	begin
	listener "$host" 10.9.0.2 80 128 --accept
	connect 10.9.0.2 80 20
	await 20 test -s "$connecting"
	await 20 queues_empty 80
	row_holds "healthy: 20 SYNs, all admitted" 80 '.syns == 20 and .admitted == 20 and .dropped == 0'
	row_holds "healthy: nothing else is counted, nothing is advised" 80 '.cookies_sent == 0 and
		.syns_dropped_accept_queue + .syns_dropped_syn_queue + .syns_dropped_syn_reserve +
		.syns_dropped_other + .acks_dropped + .cookie_acks_dropped + .resets +
		.clients_delayed + .clients_waiting + .clients_gave_up == 0 and
		.delay_us_p50 == null and .delay_us_most == null and .advice == null'
	row_holds "healthy: one socket, its limit, no queue now" 80 \
		'.sockets == 1 and .queue_limit == 128 and .accept_queue == 0 and .syn_queue == 0'
	agrees "healthy"
	end
	stop "$started"
}

queues_empty() { # PORT
	show && [ "$(counted "$1" 'accept_queue + .syn_queue')" = 0 ]
}

# In microseconds, the longest connect() of the clients; it took at least, and at most.
longest() { # 0, or 1
	jq "map(.[$1] // 0) | max * 1e6" "$connecting"
}

test_accept_queue() { # HOST PORT
	local text="accept queue, $1"
	begin
	listener "$host" "$1" "$2" 2
	fill "$text" "$1" "$2" 3
	connect "$1" "$2" 3
	await 20 at_least 6 since ListenOverflows
	show
	row_holds "$text: 3 of 6 are in, the queue is full" "$2" '.accept_queue == 3 and
		.accept_queue_most == 3 and .queue_limit == 2 and .clients_waiting == 3'
	row_holds "$text: the advice names accept() and the limit of listen()" "$2" '.advice |
		test("does not call accept") and test("limit of 2 is what listen")'
	kill -USR1 "$started"
	await 20 test -s "$connecting"
	await 20 queues_empty "$2"
	row_holds "$text: in the end all 6 are admitted" "$2" '.admitted == 6 and .accept_queue == 0'
	equal "$text: as many SYNs dropped as the kernel says" "$(had ListenOverflows)" \
		"$(counted "$2" syns_dropped_accept_queue)"
	row_holds "$text: and by nothing else" "$2" '.dropped == .syns_dropped_accept_queue'
	row_holds "$text: 3 clients were delayed, none is any more" "$2" \
		'.clients_delayed == 3 and .clients_waiting == 0'
	between "$text: the longest delay is that of the longest connect()" \
		"$(jq -n "$(longest 0) - 500000")" "$(jq -n "$(longest 1) + 1000")" \
		"$(counted "$2" delay_us_most)"
	row_holds "$text: p50 and p99 lie below it" "$2" '.delay_us_p50 > 500000 and
		.delay_us_p50 <= .delay_us_p99 and .delay_us_p99 <= .delay_us_most'
	agrees "$text"
	stop "$started"
	equal "$text: the listener accepted 6" 6 "$said"
	end
}

half_open_at() { # HOST PORT: as the kernel has them, which forgets the oldest after 7 seconds
	local family=-4
	[[ $1 != *:* ]] || family=-6
	inside "$host" ss -Htn $family state syn-recv "sport = :$2" | wc -l
}

test_syn_queue() { # HOST PORT
	local text="SYN queue, no cookies, $1" before after
	begin
	cookies 0
	listener "$host" "$1" "$2" 8
	half_open "$1" "$2" 40
	before=$(half_open_at "$1" "$2")
	show
	after=$(half_open_at "$1" "$2")
	cookies 1
	equal "$text: as many admitted as were answered" "$(told answered)" "$(counted "$2" admitted)"
	equal "$text: the others dropped, as the kernel says" "$(had TCPReqQFullDrop)" \
		"$(counted "$2" syns_dropped_syn_queue)"
	row_holds "$text: 40 in all, by no other class" "$2" \
		'.syns == 40 and .admitted + .syns_dropped_syn_queue == 40'
	row_holds "$text: limit and high-water mark" "$2" '.queue_limit == 8 and
		.syn_queue_most == .admitted and .syn_queue <= .admitted and .accept_queue == 0'
	between "$text: its depth is that of ss" "$after" "$before" "$(counted "$2" syn_queue)"
	row_holds "$text: the advice names tcp_syncookies" "$2" '.advice | test("tcp_syncookies")'
	agrees "$text"
	end
	stop "$started"
}

test_cookies() { # HOST PORT
	local text="SYN queue, cookies, $1"
	begin
	listener "$host" "$1" "$2" 8
	half_open "$1" "$2" 40
	show
	equal "$text: all were answered" 40 "$(told answered)"
	equal "$text: those by cookie as the kernel says" "$(had SyncookiesSent)" \
		"$(counted "$2" cookies_sent)"
	row_holds "$text: 40 in all, none dropped" "$2" \
		'.admitted + .cookies_sent == 40 and .dropped == 0 and .cookies_sent > 20'
	row_holds "$text: the advice speaks of a flood" "$2" '.advice | test("flood")'
	agrees "$text"
	end
	stop "$started"
}

# Six are half-open, others fill the accept queue, then the six say that they are there, again and again:
# who is silent for 4 seconds has given up. With more than half of the SYN queue taken, the kernel would
# forget the oldest of them soon.
test_last_ack() { # HOST PORT
	local text="last ACK, $1"
	begin
	listener "$host" "$1" "$2" 16
	half_open "$1" "$2" 6
	fill "$text" "$1" "$2" 17
	echo insist >&7
	await 20 at_least 6 since ListenOverflows
	show
	row_holds "$text: 6 clients wait, and the advice says what they believe" "$2" \
		'.clients_waiting == 6 and (.advice | test("believe that they are connected"))'
	row_holds "$text: no SYN is dropped" "$2" \
		'.acks_dropped >= 6 and .dropped == .acks_dropped and .resets == 0 and .admitted == 23'
	kill -USR1 "$started"
	await 20 are_in 6 "$2"
	row_holds "$text: they came in later, with a delay" "$2" \
		'.clients_delayed == 6 and .clients_waiting == 0 and .delay_us_most > 0'
	equal "$text: as many dropped as the kernel says" "$(had ListenOverflows)" "$(counted "$2" acks_dropped)"
	agrees "$text"
	await 20 accept_queue_is "$host" "$2" 0
	end
	stop "$started"
	equal "$text: the listener accepted all" 23 "$said"
}

are_in() { # COUNT PORT
	show && [ "$(counted "$2" clients_delayed)" = "$1" ]
}

test_abort() { # HOST PORT
	local text="tcp_abort_on_overflow, $1"
	inside "$host" sysctl -qw net.ipv4.tcp_abort_on_overflow=1
	begin
	listener "$host" "$1" "$2" 16
	half_open "$1" "$2" 6
	fill "$text" "$1" "$2" 17
	order acked ack
	order reset wait 15
	await 20 at_least 6 since EmbryonicRsts
	show
	equal "$text: 6 RSTs came" 6 "$(told reset)"
	equal "$text: the kernel says the same" 6 "$(had EmbryonicRsts)"
	row_holds "$text: 6 last ACKs dropped, all answered by RST, nobody waits" "$2" \
		'.acks_dropped == 6 and .resets == 6 and .clients_waiting == 0'
	agrees "$text"
	end
	stop "$started"
	inside "$host" sysctl -qw net.ipv4.tcp_abort_on_overflow=0
}

test_cookie_ack() { # HOST PORT
	local text="last ACK with a cookie, $1"
	begin
	cookies 2
	listener "$host" "$1" "$2" 3
	half_open "$1" "$2" 5
	fill "$text" "$1" "$2" 4
	order acked ack
	await 20 at_least 5 since ListenOverflows
	show
	cookies 1
	row_holds "$text: all were answered by cookie, 5 came back in vain" "$2" \
		'.cookies_sent == 9 and .cookie_acks_dropped == 5 and .acks_dropped == 0 and .admitted == 0'
	equal "$text: as the kernel says" 5 "$(had ListenOverflows)"
	agrees "$text"
	end
	stop "$started"
}

test_stray() { # HOST PORT
	local text="stray ACKs, accept queue full, $1" resets
	begin
	listener "$host" "$1" "$2" 1
	fill "$text" "$1" "$2" 2
	resets=$(resets_sent)
	inside "$host" python3 "$TCP/stray.py" "$1" "$2" 9 200
	await 20 at_least $((resets + 400)) resets_sent
	show
	equal "$text: the kernel counts none" "0 0" "$(had ListenOverflows) $(had ListenDrops)"
	row_holds "$text: nor does weir" "$2" '.dropped == 0 and .resets == 0 and .syns == 2'
	explained "$text"
	end
	stop "$started"
}

resets_sent() {
	inside "$host" nstat -asz TcpOutRsts | awk 'END { print $2 + 0 }'
}

test_filter() { # HOST PORT
	refused "$1" "$2" 128
	refused "$1" "$2" 0
}

refused() { # HOST PORT BACKLOG
	local text="a filter of the socket, backlog $3, $1"
	begin
	listener "$host" "$1" "$2" "$3" --refuse
	connect "$1" "$2" 5 --wait 1.5
	await 20 test -s "$connecting"
	show
	row_holds "$text: SYNs are told apart from those that a queue drops" "$2" '.syns == 0 and
		.dropped == 0 and .clients_waiting == 0 and .syns_refused_by_filter >= 5'
	row_holds "$text: the advice names it" "$2" '.advice | test("filter on the socket")'
	equal "$text: the kernel counts none" "0 0" "$(had ListenOverflows) $(had ListenDrops)"
	explained "$text"
	end
	stop "$started"
}

# More than there is room for.
test_room() {
	begin
	inside "$host" timeout 100 python3 "$TCP/come_and_go.py" 10000 2300
	listener "$host" 127.0.0.1 98 5
	inside "$host" python3 "$TRAFFIC" connect 127.0.0.1 98 3 --keep >/dev/null
	show
	row_holds "closed listeners make room: the last one is counted" 98 '.syns == 3'
	check "closed listeners make room: nothing was without" jq -e '.lost.records_full == 0' "$SHOWN"
	between "closed listeners make room: most are shown still" 1900 2048 \
		"$(jq '[.listeners[] | select(.syns > 0)] | length' "$SHOWN")"
	end
	stop "$started"
}

test_group() {
	begin
	listener "$host" 10.9.0.2 90 2 --sockets 4
	connect 10.9.0.2 90 40 --wait 0.5
	await 20 test -s "$connecting"
	show_at_rest
	row_holds "SO_REUSEPORT: one row for 4 sockets, their queues summed" 90 '.sockets == 4 and
		.queue_limit == 2 and .accept_queue > 3 and .accept_queue_most == 3'
	equal "SO_REUSEPORT: drops of all of them" "$(had ListenOverflows)" \
		"$(counted 90 'syns_dropped_accept_queue + .acks_dropped')"
	agrees "SO_REUSEPORT"
	end
	stop "$started"
}

# The tracer sees all namespaces; these two listen on the same.
test_namespaces() {
	local shown=$SCRATCH/all here there
	here=$(inside "$host" stat -Lc %i /proc/self/ns/net)
	there=$(inside "$other" stat -Lc %i /proc/self/ns/net)
	listener "$host" 0.0.0.0 91 1
	listener "$other" 0.0.0.0 91 5 --accept
	trace_begin "$shown" -j tcp queue -s
	traffic "$client" connect 10.9.0.2 91 4 --keep --wait 0.3 >/dev/null
	inside "$other" python3 "$TRAFFIC" connect 127.0.0.1 91 3 --keep >/dev/null
	trace_finish "$tracing"
	holds "two namespaces, one port: each has its own" "[.listeners[] | select(.listener ==
		\"0.0.0.0:91\")] | (map(select(.netns_inode == $here)) | length == 1 and
		(.[0] | .admitted == 2 and .queue_limit == 1 and .syns_dropped_accept_queue >= 2)) and
		(map(select(.netns_inode == $there)) | length == 1 and
		(.[0] | .admitted >= 3 and .queue_limit == 5 and .dropped == 0))" cat "$shown"
	holds "and the kernel's counters of each are explained" "[.kernel[] | select(.netns_inode == $here
		or .netns_inode == $there)] | length == 2 and all(.[].counters[]; .unexplained == 0)" \
		cat "$shown"
}

test_filters() {
	listener "$host" 10.9.0.2 92 128 --accept
	listener "$host" fd09::2 92 128 --accept
	listener "$host" 10.9.0.2 93 128 --accept
	begin_with() { # OPTION...
		weir tcp queue --pin "$@" >"$OUTPUT"
		traffic "$client" connect 10.9.0.2 92 3 --keep --wait 15 >/dev/null
		traffic "$client" connect fd09::2 92 3 --keep --wait 15 >/dev/null
		traffic "$client" connect 10.9.0.2 93 3 --keep --wait 15 >/dev/null
		show
		weir tcp queue --unpin >"$OUTPUT"
	}
	begin_with --port 93
	holds "--port: that listener only" '[.listeners[].listener] == ["10.9.0.2:93"] and
		.listeners[0].syns == 3' cat "$SHOWN"
	holds "--port: the kernel's counters are not compared" '.kernel == null' cat "$SHOWN"
	begin_with -6
	holds "-6: no listener of IPv4" '[.listeners[].listener] == ["[fd09::2]:92"] and
		.listeners[0].syns == 3' cat "$SHOWN"
	begin_with -4
	holds "-4: no SYN of IPv6" 'all(.listeners[]; (.syns > 0) == (.listener | startswith("10.")))' \
		cat "$SHOWN"
	begin_with --peer 10.9.0.0/24 --port 92-93 -4
	holds "filters at once" '[.listeners[] | select(.syns > 0) | .listener] | sort ==
		["10.9.0.2:92", "10.9.0.2:93"]' cat "$SHOWN"
	begin_with --peer 10.9.1.0/24
	holds "--peer: nobody else" 'all(.listeners[]; .syns == 0)' cat "$SHOWN"
}

test_lines() {
	local lines=$SCRATCH/lines dropped
	listener "$host" 10.9.0.2 94 1
	trace_begin "$lines" -n "$host" -j tcp queue --lines
	note
	fill "--lines" 10.9.0.2 94 2
	connect 10.9.0.2 94 2
	await 20 at_least 4 since ListenOverflows
	kill -USR1 "$started"
	await 20 test -s "$connecting"
	dropped=$(since ListenOverflows)
	await 20 lines_are 2 "$lines" came_in
	trace_finish "$tracing"
	equal "--lines: one for each SYN that is dropped" "$dropped" \
		"$(grep -c syn_dropped_accept_queue "$lines")"
	check "--lines: each with listener, client, depth, limit" jq -es 'map(select(.verdict ==
		"syn_dropped_accept_queue")) | all(.listener == "10.9.0.2:94" and .local == .listener and
		(.client | startswith("10.9.0.1:")) and .accept_queue == 2 and .queue_limit == 1 and
		.syn_queue >= 0 and .drops >= 1 and .netns_inode > 0 and (.time | endswith("Z")))' "$lines"
	check "--lines: the first drop of a client is its first, the next one waited longer" jq -es '
		map(select(.verdict == "syn_dropped_accept_queue")) | group_by(.client) | length == 2 and
		all(.[0].drops == 1 and .[0].waited_us == 0 and .[1].drops == 2 and
		.[1].waited_us > 500000)' "$lines"
	# shellcheck disable=SC2016
	check "--lines: who comes in says how long it took" jq -es --argjson least "$(longest 0)" \
		--argjson most "$(longest 1)" 'map(select(.verdict == "came_in")) | length == 2 and
		all(.drops >= 2 and .accept_queue == null) and (map(.waited_us) | max |
		. > $least - 500000 and . < $most + 1000)' "$lines"
}

lines_are() { # COUNT FILE VERDICT
	[ "$(grep -c "\<$3\>" "$2")" -ge "$1" ]
}

# More than is told of: what is not is counted. Of each CPU the last one may wait for the next to be told of.
test_flood() {
	local lines=$SCRATCH/flood told lost missed
	cookies 0
	listener "$host" 10.9.0.2 95 8
	trace_begin "$lines" -n "$host" -j tcp queue --lines
	note
	half_open 10.9.0.2 95 9000 --gap 0 --patience 0
	await 20 nothing_comes
	# A busy machine loses some on their way.
	for times in {1..20}; do
		[ "$(since ListenDrops)" -le 8000 ] || break
		echo again >&7
		await 20 lines_are "$times" "$half_open" again
		await 20 nothing_comes
	done
	exec 7>&-
	trace_finish "$tracing"
	cookies 1
	told=$(grep -c syn_dropped "$lines")
	lost=$(jq -s 'map(.lost.events_lost // 0) | add' "$lines")
	missed=$(jq -s 'map(.lost.missed_runs // 0) | add' "$lines")
	between "a flood: what is not told of is counted as lost" \
		$(($(since ListenDrops) - missed - $(nproc))) "$(since ListenDrops)" $((told + lost))
	check "a flood: the kernel dropped more than 8000" at_least 8000 since ListenDrops
}

nothing_comes() {
	local before
	before=$(kernel_counts)
	sleep 0.3
	[ "$before" = "$(kernel_counts)" ]
}

test_pins() {
	listener "$host" 10.9.0.2 96 1
	weir tcp queue --pin >"$OUTPUT"
	note
	timeout 60 "$WEIR" -n "$host" -j tcp queue --pinned -i 0.2 >"$SCRATCH/intervals" 2>&1 &
	watching=$!
	await 20 test -s "$SCRATCH/intervals"
	kill -KILL "$(pgrep -P $watching)"
	wait $watching 2>/dev/null
	fill "pins" 10.9.0.2 96 2
	traffic "$client" connect 10.9.0.2 96 1 --wait 0.1 >/dev/null
	show
	drops=$(had ListenOverflows)
	row_holds "after kill -9 the pinned tracer goes on" 96 \
		".dropped == $drops and .dropped > 0 and .syns == 2 + .dropped"
	value '.listeners[] | select(.listener == "10.9.0.2:96") | .syns' tcp queue --pinned -i 0.2 -c 2 \
		>"$SCRATCH/intervals"
	equal "intervals: nothing came in them" "0 0" "$(paste -sd' ' "$SCRATCH/intervals")"
	holds "--overhead names the programs" '.overhead.programs | length >= 5' \
		overhead_of weir -j tcp queue --pinned -i 0.2 -c 1 --overhead
	says "for people: the listener, its advice, the kernel's counters" "10.9.0.2:96" \
		weir tcp queue --pinned
	says "for people: the remainder" "ListenOverflows +$drops +$drops +0" weir tcp queue --pinned
	refuses "a second --pin" 2 "collects in the background already" tcp queue --pin
	check "--unpin" weir tcp queue --unpin
	check "no pins are left" no_pins
	refuses "nothing pinned" 2 "does not collect" tcp queue --pinned
}

overhead_of() {
	"$@" | jq -s 'map(select(.overhead)) | .[0]'
}

test_input() {
	refuses "--pid" 1 "--pid: .*--port" tcp queue --pid 1
	refuses "--min" 1 "'--min'" tcp queue --min 1
	refuses "--lines and -i" 1 "--lines shows what happens" tcp queue --lines -i 1
	refuses "--lines and --pin" 1 "--lines shows what happens" tcp queue -l --pin
	refuses "no port" 1 "--port" tcp queue --port 0
	refuses "an unknown word" 1 "'depth'" tcp queue depth
}

network
for test in ${TESTS:-healthy accept_queue syn_queue cookies last_ack abort cookie_ack stray filter room group namespaces filters lines
	flood pins input}; do
	case $test in
	accept_queue | syn_queue | cookies | last_ack | abort | cookie_ack | stray | filter)
		"test_$test" 10.9.0.2 $((port = ${port:-80} + 1))
		"test_$test" fd09::2 $port
		;;
	*) "test_$test" ;;
	esac
done
