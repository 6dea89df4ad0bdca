#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Every byte of many connections is known beforehand and checked while weir is attached, detached,
# killed and flapped under them: none lost, doubled or moved, nobody hangs, and every sum is exact. What
# was short-cut is told by the kernel's own count of bytes that went by TCP, and by weir's.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     most of it is host's own, over lo
#
# SOCK_SEEDS=20 SOCK_CONNS=200 is the long form, of half an hour. SOCK_ONLY="flap kill" names cases.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../sock/lib.sh
. tests/sock/lib.sh
pair
sock_begin

SEEDS=${SOCK_SEEDS:-1} CONNS=${SOCK_CONNS:-120}
second=$RUN-second
cgroup_make "$second"
killed=0 seed=1 tends=''
stretch=1 too_slow=0 # on a slow machine all is done again, for so many times as long

attach() { # CGROUP SETTINGS...
	weir sock attach "$@" >/dev/null 2>"$SCRATCH/attach" || { cat "$SCRATCH/attach"; return 1; }
}

detach() {
	tends=$(tender)
	weir sock detach --all >/dev/null 2>"$SCRATCH/detach" || { cat "$SCRATCH/detach"; return 1; }
}

tender() {
	value '.sockets[0].tender_process // empty' status 2>/dev/null
}

# The kernel takes them off a moment after the last reference to their link.
no_programs() { # CGROUP
	! bpftool cgroup show "$(cgroup_path "$1")" | grep -E 'sock_ops|setsockopt'
}

# Nothing of it is left: no pins, no process that tends, no program on a cgroup.
clean() {
	local group found=0
	if find "$(pins_of "$host")/sock" 2>/dev/null | grep .; then found=1; fi
	for group in "$GROUP" "$second"; do
		await 30 no_programs "$group" || { echo "programs are on $group"; found=1; }
	done
	if [ -n "$tends" ] && ! await 30 gone "$tends"; then
		echo "process $tends still tends"
		found=1
	fi
	return $found
}

# Ends a process that is ours, at any moment of what it does.
killed_weir() { # MOST_MS ARGUMENTS...
	local pid
	"$WEIR" -n "$host" "${@:2}" >/dev/null 2>&1 &
	pid=$!
	sleep "$(awk -v m="$1" -v r=$RANDOM 'BEGIN { printf "%.4f", m * r / 32768000 }')"
	kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
	wait $pid 2>/dev/null
}

kill_tender() {
	local pid
	pid=$(tender)
	[ -n "$pid" ] && kill -KILL "$pid" && killed=$((killed + 1))
}

# ---- what happens in mid-run ----

nothing() { :; }

# Some of the connections is short-cut before anything happens to them.
is_under_way() {
	[ "$(value '.sockets[0].pairs' status)" -ge $((CONNS / 8)) ]
}

under_way() {
	await $((4 * stretch)) is_under_way && return
	echo "hardly anything is short-cut"
	too_slow=1
	return 1
}

late() {
	sleep 0.6
	attach "$GROUP"
}

off() {
	under_way && detach
}

flap() {
	local i
	under_way || return
	for i in $(seq 20); do
		if [ $((i % 2)) = 1 ]; then
			detach
		else
			attach "$GROUP"
		fi
		sleep 0.2
	done
}

# One of two cgroups stays, so that what is known of sockets does.
flap_one() {
	local i
	under_way || return
	for i in $(seq 20); do
		if [ $((i % 2)) = 1 ]; then
			weir sock detach "$GROUP" >/dev/null || return
		else
			attach "$GROUP"
		fi
		sleep 0.2
	done
}

upgrade() {
	local i
	under_way || return
	for i in 1 2 3 4 5 6 7 8; do
		attach "$GROUP" --limit $((64 << (i % 5)))K
		sleep 0.25
	done
}

tender_dies() {
	local i
	under_way || return
	for i in 1 2 3 4 5 6; do
		sleep "$(awk -v r=$RANDOM 'BEGIN { printf "%.4f", 0.1 + r / 65536 }')"
		kill_tender
		attach "$GROUP"
	done
}

commands_die() {
	local i
	under_way || return
	for i in 1 2 3 4 5 6 7 8; do
		killed_weir 300 sock detach --all
		killed_weir 200 sock attach "$GROUP"
		kill_tender
	done
	attach "$GROUP"
}

# ---- a run ----

# A sum of weir's over all cgroups, from attach to detach.
shown() { # JQ-FILTER
	weir -j sock show -c 1 -i 0.05 | jq -s "map($1) | add"
}

# Every stream is right and has its exact length; at least this much of all was short-cut.
right() { # LEAST-SHARE FILE
	jq -e --argjson least "$1" '.wrong == 0 and .hung == 0 and .right == .streams and
		.bytes > 1000000 and (.bytes - .bytes_by_tcp) / .bytes >= $least' "$2"
}

run_seed() { # LEAST-SHARE DISTURBANCE ARGUMENTS...
	local file=$SCRATCH/stress seconds=" --seconds 4 ${*:3} "
	seconds=${seconds##* --seconds }
	sock_start "$file" "$host" "$GROUP" stress --conns "$CONNS" --seed "$seed" "${@:3}" \
		--seconds $((${seconds%% *} * stretch))
	"$2" || { echo "$2 failed"; sock_wait; return 1; }
	sock_wait
	{ cat "$file" "$file.errors"; } 2>/dev/null
	right -1 "$file" >/dev/null || return
	right "$1" "$file" >/dev/null && return
	too_slow=1
	return 1
}

# weir counts what the kernel did not. What was on its way to a socket just then closed it counts too, and
# the kernel a FIN that waits as a byte.
agrees() {
	local cut seen more
	cut=$(jq '.bytes - .bytes_by_tcp' "$SCRATCH/stress")
	more=$(jq '2 * .streams + .refused_bytes' "$SCRATCH/stress")
	seen=$(shown .bytes)
	echo "short-cut: $cut bytes by the kernel's count, $seen by weir's"
	[ $((seen - cut)) -ge 0 ] && [ $((seen - cut)) -le $((cut / 1000 + more)) ]
}

wanted() { # CASE
	[ -z "${SOCK_ONLY:-}" ] || [[ " $SOCK_ONLY " = *" $1 "* ]]
}

attempt() { # BEFORE LEAST-SHARE DISTURBANCE AFTER ARGUMENTS...
	too_slow=0
	echo "--- seed $seed"
	$1 && run_seed "$2" "$3" "${@:5}" && $4 && detach && clean
}

# All seeds of one case, each from attach to detach.
stressed() { # CASE TEXT BEFORE LEAST-SHARE DISTURBANCE AFTER ARGUMENTS...
	local result=0
	wanted "$1" || return
	killed=0
	for seed in $(seq "$SEEDS"); do
		until attempt "${@:3}" >"$OUTPUT" 2>&1; do
			if [ $too_slow = 0 ] || [ $stretch -gt 3 ]; then
				result=1
				break 2
			fi
			detach >/dev/null 2>&1
			stretch=$((stretch * 3))
		done
	done
	[ $result = 0 ] || detach
	report $result "$2"
}

attached() { attach "$GROUP"; }
narrow() { attach "$GROUP" --limit 64K; }
few() { attach "$GROUP" --pairs 4; }
both() { attach "$GROUP" && attach "$second"; }
other_stays() { attach "$second" && attach "$GROUP"; }

refused_for_room() {
	local refused
	refused=$(shown .refused_by_reason.full)
	echo "refused for want of room: $refused"
	[ "$refused" -gt 0 ]
}

stressed steady4 "IPv4, and the sums of weir and the kernel agree" attached 0.03 nothing agrees
stressed steady6 "IPv6, likewise" attached 0.03 nothing agrees --family 6
stressed mapped "an IPv4 client of a dual-stack listener, likewise" attached 0.03 nothing agrees \
	--family mapped
stressed veth "two namespaces across veth, likewise" attached 0.03 nothing agrees \
	--client-netns "$client" --server-netns "$host" --listen 10.9.0.2
stressed cgroups "the ends in two cgroups, likewise" both 0.03 nothing agrees \
	--client-cgroup "$(cgroup_path "$second")"
stressed small "readers that leave part of what came, and little room" narrow 0.01 nothing nothing \
	--slow 60 --exchanges 9 --bulk 400000 --rcvbuf 16K --sndbuf 16K
stressed full "room for 4 pairs" few 0.001 nothing refused_for_room
stressed late "attached in mid-run" nothing 0.001 late nothing --seconds 6
stressed off "detached in mid-run" attached 0.001 off nothing
stressed flap "detached and attached twenty times" attached 0.001 flap nothing --seconds 5
stressed flap_one "so with one of two cgroups" other_stays 0.001 flap_one \
	nothing --seconds 5
stressed upgrade "attached again, with another limit each time" attached 0.01 upgrade nothing
stressed tender "the tender is killed and another one started" attached 0.001 tender_dies nothing
stressed commands "attach, detach and the tender are killed at any moment" attached 0.001 \
	commands_die nothing
stressed after "and all is as before" attached 0.03 nothing agrees
