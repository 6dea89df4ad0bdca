#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What short cuts between sockets are known to break. Each trap has a number and is tried on plain TCP and
# on a connection that weir has seen for a while, and what comes of it is one of
#
#   same as TCP                  the program sees what it would see without weir
#   stays on TCP: REASON         weir saw what the program does, and leaves it alone
#   differs, documented: WHAT    weir(8) says so: "What is different for the programs at the ends"
#
#    1  bytes cross between namespaces          pairing.sh
#    2  bytes overtake those sent before        13  killed, switched off or on in mid-stream
#    3  FIONREAD is 0                           14  netfilter sees nothing
#    4  no backpressure                         15  counters see nothing
#    5  splice()                                16  IPv4-mapped addresses    pairing.sh
#    6  MSG_ZEROCOPY                            17  NAT, proxies             pairing.sh
#    7  urgent data                             18  the map is full
#    8  MSG_WAITALL, SO_RCVLOWAT, MSG_PEEK...   19  other programs attached  input.sh
#    9  close() with bytes unread, resets       20  keepalive, kernel TLS
#   10  sendfile()                              21  compilers merge reads of the context
#   11  taking out a socket destroys bytes      22  a sum that a traffic program lost
#   12  detached, but still short-cut
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../sock/lib.sh
. tests/sock/lib.sh
pair
sock_begin
expected=() # LABEL STATE, of what stays on TCP LABEL tcp/REASON

# On plain TCP, and with a connection that weir may judge until it is let go.
try() { # LABEL STATE TRAP OPTIONS...
	expected+=("$1 $2")
	sock_start "$SCRATCH/$1.plain" "$client" "$OUTSIDE" trap "$3" --warm 50 "${@:4}"
	sock_start "$SCRATCH/$1" "$host" "$GROUP" trap "$3" --warm 200 --warm-pause 8000 \
		--until "$SCRATCH/$1.go" --announce "$SCRATCH/$1.at" "${@:4}"
	sleep 0.03
}

let_go() { # LABEL...
	local label
	for label; do
		touch "$SCRATCH/$label.go"
		sleep 0.1
	done
}

at() { # LABEL client|server
	jq -r ".$2" "$SCRATCH/$1.at"
}

state_of() { # LABEL
	connections "select(.client == \"$(at "$1" client)\") | .state" | jq -r .
}

is_in_state() { # LABEL STATE
	[ "$(state_of "$1")" = "$2" ]
}

# What may differ from run to run is left out.
SEEN='(if has("small") then del(.read) else . end) | del(.client, .server, .warm, .bytes_by_tcp, .talk,
	.small, .large, .calm, .spinning, .spinning_cpu_seconds, .read_in_vain)'

same() { # TEXT LABEL [CONDITION]
	local plain short
	plain=$(jq -cS "$SEEN" <"$SCRATCH/$2.plain")
	short=$(jq -cS "$SEEN" <"$SCRATCH/$2")
	{ echo "plain TCP: $plain"; cat "$SCRATCH/$2" "$SCRATCH/$2.errors"; } >"$OUTPUT" 2>&1
	[ -n "$plain" ] && [ "$plain" = "$short" ] &&
		jq -e "${3:-.warm.short_cut} and .right" <"$SCRATCH/$2" >/dev/null
	report $? "$1: same as TCP"
}

stays() { # TEXT LABEL REASON: as it was seen before it was let go, and all went as on TCP
	{ echo "wanted $3, found${judged[$2]:-}"; cat "$SCRATCH/$2" "$SCRATCH/$2.errors"; } >"$OUTPUT" 2>&1
	[ -s "$SCRATCH/$2" ] && [[ "${judged[$2]:-} " == *" tcp/$3 "* ]] &&
		jq -e '.right and (.warm.short_cut | not)' <"$SCRATCH/$2" >/dev/null
	report $? "$1: stays on TCP: $3"
}

differs() { # TEXT LABEL WHAT CONDITION: plain TCP is right, and this is seen instead
	cat "$SCRATCH/$2.plain" "$SCRATCH/$2" "$SCRATCH/$2.errors" >"$OUTPUT" 2>&1
	[ -s "$SCRATCH/$2.plain" ] && [ -s "$SCRATCH/$2" ] &&
		jq -e '.right' <"$SCRATCH/$2.plain" >/dev/null &&
		jq -e ".warm.short_cut and ($4)" <"$SCRATCH/$2" >/dev/null
	report $? "$1: differs, documented: $3"
}

check "trap 21: the kernel takes the programs as this compiler made them: attached" \
	weir sock attach "$GROUP"

# ---- uses of sockets ----

try defer-accept shortcut defer-accept
try server-first shortcut server-first
try late-reader shortcut late-reader
try fionread shortcut fionread
try fionread-both shortcut fionread --size 40000 --count 27
try slow shortcut slow-reader
try slow-back shortcut slow-reader --from-server
try slow-small shortcut slow-reader --size 1 --sndbuf 65536 --rcvbuf 65536
try slow-buffers shortcut slow-reader --sndbuf 16384 --rcvbuf 16384
try blocking-writer shortcut blocking-writer
try splice tcp/other_reads splice
try splice-asleep tcp/blocking splice --blocking start
try splice-late shortcut splice-late
try zerocopy tcp/zerocopy zerocopy --when start
try zerocopy-late shortcut zerocopy
try urgent tcp/urgent oob --port 21
try urgent-late shortcut oob
try waitall tcp/blocking waitall --blocking start
try waitall-late shortcut waitall
try lowat tcp/lowat rcvlowat --when start
try lowat-late shortcut rcvlowat --hold-until "$SCRATCH/lowat-late.seen"
try trunc-late shortcut trunc
try peek shortcut peek
try edge shortcut edge
try fd-passing shortcut fd-passing
try blocking tcp/blocking blocking --blocking start
try blocking-late shortcut blocking
try spin-late shortcut spin
try close-unread shortcut close-unread
try write-after-close shortcut write-after-close
try half-close shortcut half-close
try close-after-send shortcut close-after-send
try rst shortcut rst
try sendfile shortcut sendfile
try killed shortcut exit
try keepalive shortcut keepalive
try ulp tcp/ulp ulp --when start
try ulp-late shortcut ulp

# The kernel of these tests may be without TLS.
await 30 test -s "$SCRATCH/ulp.plain"
if [ "$(jq -r .error "$SCRATCH/ulp.plain" 2>/dev/null)" = ENOENT ]; then
	expected=("${expected[@]/#ulp tcp*/ulp shortcut}")
fi

# What was refused is looked at again after a while: each counts from when it was once as expected.
declare -A judged
all_judged() {
	local line client state
	local -A states
	weir -j sock list >"$SCRATCH/list" 2>/dev/null || return
	while read -r client state; do
		states[$client]=$state
	done < <(jq -r '.connections[] | .client + " " + .state +
		(if .state == "tcp" then "/" + .reason else "" end)' "$SCRATCH/list")
	while read -r line client; do
		judged[${line##*/}]+=" ${states[$client]:-}"
	done < <(jq -r '"\(input_filename | rtrimstr(".at")) \(.client)"' "$SCRATCH"/*.at)
	for line in "${expected[@]}"; do
		[[ "${judged[${line% *}]:-} " == *" ${line#* } "* ]] || return
	done
}

await 60 all_judged
report $? "what is fit is short-cut, what is not stays on TCP"
for line in "${expected[@]}"; do
	[[ "${judged[${line% *}]:-} " == *" ${line#* } "* ]] && continue
	echo "# $line wanted:${judged[${line% *}]:-}"
	weir sock why "$(at "${line% *}" client)" "$(at "${line% *}" server)" | sed 's/^/#   /'
done

let_go keepalive lowat-late
await 30 is_in_state lowat-late tcp
lowat_state=$(state_of lowat-late)
: >"$SCRATCH/lowat-late.seen"
let_go "${expected[@]% *}"
sock_wait

same "trap 2: TCP_DEFER_ACCEPT" defer-accept
same "trap 2: a server that speaks first" server-first
same "trap 2: more is sent while a reader is late" late-reader

same "trap 3: FIONREAD" fionread
# So many do not fit into a socket of plain TCP.
told "trap 3: FIONREAD of short-cut bytes and bytes of TCP behind them: exact" \
	'.warm.short_cut and .right and .bytes_by_tcp > 0' "$SCRATCH/fionread-both"

# TCP's own share differs a little from run to run.
slow_reader() { # TEXT LABEL
	local plain
	plain=$(jq .accepted "$SCRATCH/$2.plain")
	differs "$1" "$2" "at most 1 MB more than TCP takes, EAGAIN, all read, writable again" \
		".right and .stopped_by == \"EAGAIN\" and .accepted - .bytes_by_tcp <= 1048576 and
		.bytes_by_tcp <= 1.15 * ${plain:-0} + 65536 and
		.reader_memory + .sender_memory <= 1.2 * ${plain:-0} + 1300000"
}
slow_reader "trap 4: a slow reader" slow
slow_reader "trap 4: a slow reader that connected" slow-back
slow_reader "trap 4: a slow reader of messages of one byte" slow-small
slow_reader "trap 4: a slow reader with small buffers" slow-buffers
same "trap 4: a sender asleep in send() is woken" blocking-writer

stays "trap 5: a reader that splices" splice other_reads
stays "trap 5: a reader asleep in splice()" splice-asleep blocking
differs "trap 5: a reader that begins to splice later" splice-late \
	"splice() finds nothing, recv() has all" \
	'.spliced == 0 and .left_for_recv.bytes == .sent and .left_for_recv.wrong_at < 0'

stays "trap 6: MSG_ZEROCOPY" zerocopy zerocopy
differs "trap 6: SO_ZEROCOPY later" zerocopy-late "EOPNOTSUPP, so the sender copies" \
	'.right and .refused == "EOPNOTSUPP" and .read == .sent'

stays "trap 7: urgent data at a port of a protocol that has it" urgent urgent
differs "trap 7: urgent data later" urgent-late "it comes in line" \
	'(.urgent + .in_line) == "abc!def"'

stays "trap 8: MSG_WAITALL" waitall blocking
differs "trap 8: MSG_WAITALL later" waitall-late "returns what is there" \
	'.returned == 50 and (.hung | not)'
stays "trap 8: SO_RCVLOWAT" lowat lowat
differs "trap 8: SO_RCVLOWAT later" lowat-late "readable before, until weir has seen it" \
	'(.readable_at_half or .bytes_by_tcp == 100) and .readable_at_whole and .read.bytes == 100'
equal "trap 8: SO_RCVLOWAT later: back on TCP then" tcp "$lowat_state"
differs "trap 8: MSG_TRUNC later" trunc-late "it throws nothing away" \
	'.thrown_away == -1 and .read.bytes == .sent and .read.wrong_at < 0'
same "trap 8: MSG_PEEK" peek
same "trap 8: EPOLLET, EPOLLRDHUP" edge
same "trap 8: a socket that is passed to another process" fd-passing
stays "a reader asleep in recv()" blocking blocking
same "a reader asleep in recv() later" blocking-late
same "a reader that spins later" spin-late

differs "trap 9: close() with bytes unread" close-unread "EOF, not ECONNRESET" \
	'.recv == "EOF" and .pollrdhup'
same "trap 9: a writer whose reader has closed" write-after-close
same "trap 9: half-closed, and answered afterwards" half-close
same "trap 9: closed right behind a send" close-after-send
same "trap 9: reset right behind a send" rst

differs "trap 10: sendfile()" sendfile "copied when sent: later changes are not seen" \
	'.right and .read.bytes == .sent and (.sees_change | not)'
equal "trap 10: plain TCP sees them" true "$(jq .sees_change "$SCRATCH/sendfile.plain")"

same "trap 13: a sender that is killed" killed

same "trap 20: keepalive and TCP_USER_TIMEOUT, idle" keepalive
if [ "$(jq -r .error "$SCRATCH/ulp.plain")" = ENOENT ]; then
	skip "trap 20: a socket with kernel TLS" "this kernel has no TLS"
else
	stays "trap 20: a socket with kernel TLS" ulp ulp
fi
differs "trap 20: kernel TLS later" ulp-late "ENOENT, as of a kernel without it" \
	'.right and .error == "ENOENT"'

# ---- a proxy whose backend is elsewhere ----

mkdir -p "$SCRATCH/www"
head -c 65536 /dev/urandom >"$SCRATCH/www/64K"
head -c 1048576 /dev/urandom >"$SCRATCH/www/1M"

nginx_conf() { # NAME LISTEN LOCATION
	local at
	echo "daemon off; worker_processes 1; user root; pid $SCRATCH/nginx.$1.pid;"
	echo "error_log $SCRATCH/nginx.$1.log; events { worker_connections 1000; }"
	echo "http { access_log off; sendfile on; keepalive_requests 1000000; proxy_buffering on;"
	for at in client_body proxy fastcgi uwsgi scgi; do
		echo "${at}_temp_path $SCRATCH;"
	done
	echo "upstream far { server 10.9.0.1:8081; keepalive 16; }"
	echo "server { listen $2 backlog=1024; location / { $3 } } }"
}

nginx_start() { # NAMESPACE CGROUP NAME LISTEN LOCATION
	nginx_conf "${@:3}" >"$SCRATCH/nginx.$3.conf"
	cgroup_background "$2" nsenter --net="/run/netns/$1" nginx -e "$SCRATCH/nginx.$3.log" \
		-c "$SCRATCH/nginx.$3.conf" >/dev/null 2>&1
}

nginx_start "$client" "$OUTSIDE" far 10.9.0.1:8081 "root $SCRATCH/www;"
nginx_start "$host" "$GROUP" front 127.0.0.1:8080 \
	'proxy_pass http://far; proxy_http_version 1.1; proxy_set_header Connection "";'
await 30 inside "$host" curl -fs -o /dev/null http://127.0.0.1:8080/64K

clients_are_short_cut() {
	weir -j sock list 8080 >"$SCRATCH/front" 2>&1
	jq -e '[.connections[] | select(.state == "shortcut")] | length >= 4' "$SCRATCH/front"
}

has_carried() { # BYTES
	connections 'select(.port == 8080) | .bytes + .tcp_bytes' |
		awk -v most="$1" '{ sum += $1 } END { exit sum < most }'
}

for size in 64K 1M; do
	cgroup_background "$GROUP" nsenter --net="/run/netns/$host" \
		wrk -t1 -c8 -d180s --timeout 60s "http://127.0.0.1:8080/$size" >"$SCRATCH/wrk" 2>&1
	load=$!
	await 60 has_carried 20000000
	[ $size = 1M ] || await 60 clients_are_short_cut
	short_cut=$?
	weir -j sock list 8081 >"$SCRATCH/far" 2>&1
	kill -INT $load
	wait $load
	cp "$SCRATCH/wrk" "$OUTPUT"
	awk '/requests in/ { n = $1 } /Socket errors|Non-2xx/ { bad = 1 } END { exit !(n > 8 && !bad) }' \
		"$SCRATCH/wrk"
	report $? "trap 3: nginx, backend in no attached cgroup: bodies of $size flow"
	# The large one comes in many small parts, one way.
	if [ $size = 64K ]; then
		cp "$SCRATCH/front" "$OUTPUT"
		report $short_cut "trap 3: its clients are short-cut"
	fi
	cp "$SCRATCH/far" "$OUTPUT"
	# Those that are passed over as short ones are not known at all.
	[ -s "$SCRATCH/far" ] && jq -e 'all(.connections[]; .state == "unpaired")' \
		"$SCRATCH/far" >/dev/null
	report $? "trap 3: its connections to the backend are in no map, with $size"
	inside "$host" curl -fs "http://127.0.0.1:8080/$size" | cmp - "$SCRATCH/www/$size" >"$OUTPUT" 2>&1
	report $? "trap 3: the bodies of $size are whole"
done
kill "$(cat "$SCRATCH/nginx.front.pid")" "$(cat "$SCRATCH/nginx.far.pid")"

# ---- the map is full ----

cgroup_make "$RUN-full"
full() {
	timeout 120 "$WEIR" --instance "$RUN-full" "$@"
}
full sock attach "$RUN-full" --pairs 3 >/dev/null 2>&1

is_full() {
	full -j sock show | jq -e '.cgroups[0] | .refused_by_reason.full >= 9 and .messages > 300' >/dev/null
}

sock_start "$SCRATCH/full" "$host" "$RUN-full" pairs --conns 12 --rate 50 --seconds 500
await 60 is_full
sock_end
told "trap 18: more pairs than there is room for: all bytes right" \
	'.right and .opened == 12 and .exchanges_short_cut > 100' "$SCRATCH/full"
holds "trap 18: what found no room stays on TCP: full, and is counted" \
	'.cgroups[0] | .refused_by_reason.full >= 9 and .pairs_total <= 3' full -j sock show
full sock detach --all >/dev/null 2>&1
rm -rf "$(pins_of "$RUN-full")"

# ---- what others see ----

dark=$RUN-dark
namespace "$dark"
hold() { # LABEL NAMESPACE CGROUP [TRAP OPTIONS]: a connection that exchanges until it is let go
	sock_start "$SCRATCH/$1" "$2" "$3" trap "${@:4}" --warm 200 --warm-pause 5000 \
		--until "$SCRATCH/$1.go" --announce "$SCRATCH/$1.at"
}

device_bytes() {
	ip -n "$dark" -j -s link show lo | jq '.[0].stats64.tx.bytes'
}

own_bytes() {
	value '[.cgroups[].bytes] | add' sock show
}

hold dark "$dark" "$GROUP" peek
hold dark-detached "$dark" "$GROUP" peek
await 30 is_in_state dark shortcut
await 30 is_in_state dark-detached shortcut
own=$(own_bytes) device=$(device_bytes)
await 60 more_than $((own + 30000)) own_bytes
between "trap 15: the device counts nothing" 0 3000 $(($(device_bytes) - device))
between "trap 15: weir counts what was short-cut" 10000 1000000000 $(($(own_bytes) - own))
hold dark-plain "$dark" "$OUTSIDE" peek
await 30 test -e "$SCRATCH/dark-plain.at"
if inside "$dark" nft 'add table ip weir; add chain ip weir in { type filter hook input priority 0; };
	add rule ip weir in meta l4proto tcp drop' >"$SCRATCH/nft" 2>&1; then
	sleep 1
	own=$(own_bytes)
	check "trap 14: netfilter drops all: differs, documented: short-cut bytes go on" \
		await 60 more_than $((own + 5000)) own_bytes
	let_go dark
	await 60 test -s "$SCRATCH/dark"
	told "trap 14: and all of them are right" '.right and .warm.short_cut' "$SCRATCH/dark"
	check "detached" weir sock detach "$GROUP"
	let_go dark-plain dark-detached
else
	skip "trap 14: netfilter drops all" "nft: $(head -n 1 "$SCRATCH/nft")"
	weir sock detach "$GROUP" >/dev/null 2>&1
	let_go dark dark-plain dark-detached
fi

# ---- off ----

weir sock attach "$GROUP" >/dev/null 2>&1
hold unread "$host" "$GROUP" late-reader --delay-until "$SCRATCH/unread.on"
hold calm "$host" "$GROUP" peek
await 30 is_in_state unread shortcut
await 30 is_in_state calm shortcut
let_go unread
await 60 test -e "$SCRATCH/unread.on.there"
holds "trap 11: detach keeps what is unread whole" '.sockets_kept >= 1 and .sockets_forced == 0' \
	weir -j sock detach "$GROUP"
check "trap 12: nothing stays pinned" no_pins
let_go calm
: >"$SCRATCH/unread.on"
sock_wait
if grep -q . "$SCRATCH/nft"; then
	skip "trap 14: on plain TCP none do" "nft, as above"
else
	told "trap 14: on plain TCP none do" '.warm.hung' "$SCRATCH/dark-plain"
	told "trap 14: nor after detach" '.warm.hung and .warm.exchanges > 50' "$SCRATCH/dark-detached"
fi
told "trap 11: all of it is read, in order, and more behind it by TCP" \
	'.right and .warm.short_cut and .bytes_by_tcp >= .sent / 2' "$SCRATCH/unread"
told "trap 12: detached: same as TCP from there on" '.right and (.warm.short_cut | not)' "$SCRATCH/calm"

nobody_tends() {
	[ "$(value .tender_process sock show)" = null ]
}

weir sock attach "$GROUP" >/dev/null 2>&1
hold forced "$host" "$GROUP" late-reader --delay-until "$SCRATCH/forced.on" --wait 1000
hold orphan "$host" "$GROUP" peek
await 30 is_in_state forced shortcut
await 30 is_in_state orphan shortcut
kill -KILL "$(value .tender_process sock show)"
await 30 nobody_tends
hold late "$host" "$GROUP" peek
await 30 is_in_state late new
sleep 1
equal "trap 12: the tender is killed: what is short-cut stays so" shortcut "$(state_of orphan)"
equal "trap 12: and what is new stays on TCP" new "$(state_of late)"
check "trap 12: attached again" weir sock attach "$GROUP"
await 30 is_in_state late shortcut
equal "trap 12: it is short-cut then" shortcut "$(state_of late)"
let_go forced
await 60 test -e "$SCRATCH/forced.on.there"
let_go orphan late
weir -j sock detach "$GROUP" --force >"$SCRATCH/force" 2>"$SCRATCH/force.errors"
: >"$SCRATCH/forced.on"
told "trap 11: --force says how many it takes out" '.sockets_forced >= 1' "$SCRATCH/force"
sock_wait
told "trap 11: --force: differs, documented: what was unread is lost" \
	'.warm.short_cut and (.right | not) and .read < .sent' "$SCRATCH/forced"
for label in orphan late; do
	told "trap 12: $label: every byte right" '.right' "$SCRATCH/$label"
done

# ---- off and on in mid-stream ----

some_are_short_cut() {
	connections 'select(.state == "shortcut")' | grep -q .
}

# On a slow machine again and for longer, until they were short-cut at some time.
for seconds in 7 21 63; do
	sock_start "$SCRATCH/flap" "$host" "$GROUP" stress --conns 60 --seconds $seconds
	for _ in 1 2 3; do
		weir sock attach "$GROUP" >/dev/null 2>&1
		await $((seconds / 7)) some_are_short_cut
		sleep 0.7
		weir sock detach "$GROUP" >/dev/null 2>&1
	done
	sock_wait
	jq -e '.right == .streams and .bytes_by_tcp >= .bytes' "$SCRATCH/flap" >/dev/null || break
done
told "traps 2, 13: attached and detached three times in mid-stream: every byte right, in order" \
	'.right == .streams and .hung == 0 and .bytes_by_tcp < .bytes' "$SCRATCH/flap"

# ---- the traffic program ----

for i in 1 2 3; do
	sock_in "$host" "$OUTSIDE" bulk --seconds 1 --ramp 0 --check >"$SCRATCH/bulk.$i" 2>>"$SCRATCH/bulk.errors"
done
cat "$SCRATCH"/bulk.[1-3] >"$SCRATCH/bulk"
told "trap 22: both ends of three streams have the same sum, on plain TCP" \
	'length == 3 and all(.right and .sent == .received)' "$SCRATCH/bulk" -s
