#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The life of what is attached: what is there, what detach leaves (nothing), what becomes of connections
# and of what their readers have not read, and that a second command puts right what a killed one
# has left. All of it over the loopback device of a namespace.
# shellcheck disable=SC2016 # for eval
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../sock/lib.sh
. tests/sock/lib.sh
namespace "$host"
sock_begin
second=$RUN-second
cgroup_make "$second" "$RUN-gone"
PINS=$(pins_of "$host")/sock

tender() {
	value '.sockets[0].tender_process // empty' status
}

programs() { # on the cgroups of this test
	local group
	for group in "$GROUP" "$second"; do
		bpftool cgroup show "$(cgroup_path "$group")" | grep -E 'sock_ops|setsockopt'
	done
}

# The kernel takes them off a moment after the last reference to their link.
no_programs() {
	! programs
}

nothing_left() {
	! find "$PINS" 2>/dev/null | grep . && await 30 no_programs
}

detach_all() {
	weir sock detach --all && nothing_left
}

# Connections that say a little, for so long; the cgroup is in their file's name.
talk() { # CGROUP SECONDS
	sock_start "$SCRATCH/talk.$1" "$host" "$1" pairs --conns 10 --rate 60 --seconds "$2"
}

whole() { # CGROUP
	[ -s "$SCRATCH/talk.$1" ] && jq -e '.right and .wrong == 0 and .reset == 0 and .ended == 0 and
		.exchanges > 500' "$SCRATCH/talk.$1"
}

shortcut() { # COUNT CGROUP
	connections_are "$1" shortcut ".cgroup == \"/$2\""
}

# ---- one of two ----

check "attached to two cgroups" eval 'weir sock attach "$GROUP" && weir sock attach "$second"'
equal "two programs on each" 4 "$(programs | wc -l)"
tends=$(tender)
check "one process tends both" kill -0 "$tends"
check "which attaching again does not change" eval 'weir sock attach "$GROUP" && [ "$(tender)" = $tends ]'
talk "$GROUP" 500
talk "$second" 500
check "connections of one are short-cut" await 60 shortcut 10 "$GROUP"
check "and those of the other" await 60 shortcut 10 "$second"
check "detached from one" weir sock detach "$GROUP"
check "its connections are on TCP" shortcut 0 "$GROUP"
check "those of the other are short-cut" shortcut 10 "$second"
sleep 4
check "and so it is four seconds later" eval 'shortcut 0 "$GROUP" && shortcut 10 "$second"'
check "somebody tends" kill -0 "$(tender)"
check "attached again" weir sock attach "$GROUP"
check "the same connections are short-cut" await 60 shortcut 10 "$GROUP"

# ---- one of two, which has the clients of the other ----

apart() {
	connections_are "$1" "$2" ".port == 6000"
}

check "attached with --local" weir sock attach "$GROUP" --local 127.0.0.0/8
sock_start "$SCRATCH/apart" "$host" "$OUTSIDE" pairs --conns 10 --rate 60 --seconds 500 --port 6000 \
	--client-cgroup "$(cgroup_path "$GROUP")" --server-cgroup "$(cgroup_path "$second")"
check "clients in one, servers in the other: short-cut" await 60 apart 10 shortcut
holds "the clients' is detached: sockets of both are back on TCP" '.sockets_released >= 20' \
	weir -j sock detach "$GROUP"
check "so they are" apart 0 shortcut
equal "its networks are forgotten" 0 "$(bpftool -j map dump pinned "$PINS/local" | jq length)"
await 60 connections_are 10 unpaired '.port == 6000'
says "why says so" "cgroup /$GROUP is not attached" weir sock why \
	"$(connections 'select(.port == 6000) | .client' | head -n 1 | tr -d '"')" 127.0.0.1:6000
check "attached again" weir sock attach "$GROUP"
check "the same connections are short-cut" await 60 shortcut 10 "$GROUP"
holds "and are counted from the beginning" '.cgroups[0].pairs_total == 10' weir -j sock show "$GROUP"
check "those between the two are short-cut again" await 60 apart 10 shortcut
kill -TERM "${traffic_pids[-1]}"
wait "${traffic_pids[-1]}"
unset 'traffic_pids[-1]'
told "they went on through all of it" '.right and .reset == 0 and .ended == 0' "$SCRATCH/apart"

# ---- the tender ----

tends=$(tender)
kill -KILL "$tends"
check "the tender is killed" await 30 gone "$tends"
check "what is short-cut stays so" eval 'shortcut 10 "$GROUP" && shortcut 10 "$second"'
check "attach starts another one" eval 'weir sock attach "$GROUP" && [ -n "$(tender)" ] && [ "$(tender)" != $tends ]'
tends=$(tender)
cp "$WEIR" "$SCRATCH/weir"
check "that of another build does too, where one is there" \
	timeout -k 5 120 "$SCRATCH/weir" -n "$host" sock attach "$GROUP"
check "the other one ends" await 30 gone "$tends"
tends=$(tender)
check "somebody tends" kill -0 "$tends"
check "what is short-cut stays so" eval 'shortcut 10 "$GROUP" && shortcut 10 "$second"'

# ---- the last one ----

check "detach --all leaves no pins and no programs" detach_all
check "nobody tends" await 30 gone "$tends"
sleep 1
sock_end
check "connections of one went on through all of it" whole "$GROUP"
check "and those of the other" whole "$second"
check "detach --all with nothing there succeeds" detach_all

# ---- what is unread ----

# A connection that weir has short-cut, until it is let go; then in the state that the trap is about,
# until there is LABEL.on.
prepare() { # LABEL TRAP ARGUMENTS...
	sock_start "$SCRATCH/$1" "$host" "$GROUP" trap "$2" --warm 200 --warm-pause 5000 \
		--until "$SCRATCH/$1.go" --announce "$SCRATCH/$1.at" --delay-until "$SCRATCH/$1.on" "${@:3}"
}

let_go() { # LABEL...
	local label
	for label; do
		: >"$SCRATCH/$label.go"
	done
	for label; do
		await 60 test -e "$SCRATCH/$label.on.there" || echo "# $label: is not in its state"
	done
}

go_on() { # LABEL...
	local label
	for label; do
		: >"$SCRATCH/$label.on"
	done
}

check "attached" weir sock attach "$GROUP"
prepare slow slow-reader
prepare late late-reader
prepare asleep blocking --blocking late
prepare writer blocking-writer
check "four connections are short-cut" await 60 shortcut 4 "$GROUP"
let_go slow late asleep writer
check "detached with bytes unread, a reader and a writer asleep" weir -j sock detach --all
check "which says that some stay until they close" jq -e '.kept >= 2 and .lost == 0' "$OUTPUT"
check "nothing is left" nothing_left
check "attached again, with these still there" weir sock attach "$GROUP"
go_on slow late asleep writer
sock_wait
for label in slow late asleep writer; do
	check "$label: whole" jq -e '.right' "$SCRATCH/$label"
done
check "slow: most of it was short-cut before" jq -e '.bytes_by_tcp < .accepted' "$SCRATCH/slow"
check "detached" detach_all

check "attached" weir sock attach "$GROUP"
prepare forced slow-reader
check "a connection is short-cut" await 60 shortcut 1 "$GROUP"
let_go forced
check "detach --force with bytes unread" weir -j sock detach --all --force
check "says what it took out" jq -e '.lost >= 1' "$OUTPUT"
check "nothing is left" nothing_left
# Its stream has a hole now: nobody is to read on.
pkill -KILL -P "${traffic_pids[0]}"
sock_wait

# ---- left by who was killed ----

check "attached" weir sock attach "$GROUP"
tends=$(tender)
kill -KILL "$tends"
for pin in control totals pairs sockets; do
	rm -r "${PINS:?}/$pin" "$PINS/cgroups"
	check "detach --all, of which $pin is gone already" detach_all
	check "attached" weir sock attach "$GROUP" --no-tend
done
check "detached" detach_all

# Whether it was killed before its end.
kill_one() { # MOST_MS ARGUMENTS...
	local pid
	"$WEIR" -n "$host" "${@:2}" >/dev/null 2>&1 &
	pid=$!
	sleep "$(awk -v m="$1" -v r=$RANDOM 'BEGIN { printf "%.4f", m * r / 32768000 }')"
	kill -KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	[ $? = 137 ]
}

# At a moment that is chosen for what the machine takes, so that about half of them are.
storm() { # MOST_MS BEFORE COMMAND AFTER
	local i most=$1 killed=0 rounds=${ROUNDS:-8}
	for i in $(seq $((rounds * 6))); do
		[ "$i" -le "$rounds" ] || [ $killed -lt 2 ] || break
		$2 >/dev/null || return
		# shellcheck disable=SC2086
		if kill_one "$most" $3; then
			killed=$((killed + 1))
			most=$((most + most / 4))
		else
			most=$((most - most / 4))
		fi
		$4 || { echo "round $i"; return 1; }
	done
	echo "$killed were killed"
	[ "$killed" -ge 2 ]
}

attach_it() { weir sock attach "$GROUP"; }
attach_detach() { attach_it && detach_all; }
check "attach is killed, then detach --all leaves nothing" \
	storm 150 detach_all "sock attach $GROUP" detach_all
check "attach is killed, then attach and detach --all" \
	storm 150 detach_all "sock attach $GROUP" attach_detach
check "detach is killed, then detach --all leaves nothing" \
	storm 60 attach_it "sock detach --all" detach_all
check "detach is killed, then attach and detach --all" \
	storm 60 attach_it "sock detach --all" attach_detach

# ---- cgroups go ----

check "attached to a cgroup" weir sock attach "$RUN-gone"
cgroup_remove "$RUN-gone"
check "it is removed, and another one attached" weir sock attach "$GROUP"
talk "$GROUP" 500
check "connections are short-cut" await 60 shortcut 10 "$GROUP"
sock_end
check "whole" jq -e '.right' "$SCRATCH/talk.$GROUP"
check "detach --all leaves nothing" detach_all
