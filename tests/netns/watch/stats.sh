#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What shows: status, stats, drop, rule list, handshake, doctor, top. The documents are JSON, streams
# a line each, rates are right, and an interrupt leaves everything as it was.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here
#   eth1 -------------------- eth1                 and here
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=100
pair
link "$client" eth1 "$host" eth1

valid_json() {
	weir -j "$@" >"$SCRATCH/document"
	cat "$SCRATCH/document"
	jq -e . "$SCRATCH/document" >/dev/null && python3 -m json.tool <"$SCRATCH/document" >/dev/null
}

json_lines() { # COUNT WEIR-ARGUMENTS...
	weir -j "${@:2}" >"$SCRATCH/document"
	cat "$SCRATCH/document"
	[ "$(wc -l <"$SCRATCH/document")" = "$1" ] &&
		while read -r line; do jq -e .time <<<"$line" || return; done <"$SCRATCH/document"
}

test_documents() {
	for words in status "stats" "stats eth0" "rule list" "rule" "handshake show" "handshake" \
		"drop show" "drop show eth0" doctor "doctor eth0"; do
		# shellcheck disable=SC2086
		check "-j $words: a document" valid_json $words
	done
	check "-j -p status: indented" bash -c "'$WEIR' -n '$host' -j -p status | grep -q '^  '"
	check "-j stats -i: a line each" json_lines 4 stats -i 0.1 -c 2
	check "-j drop watch: a line each" json_lines 2 drop watch eth1 -i 0.1 -c 2
	for words in "attach eth0" "rule add drop proto 200" "rule del 1" "rule flush" "detach eth1" \
		"attach eth1"; do
		# shellcheck disable=SC2086
		check "-j $words: a document" valid_json $words
	done
	says "shortened: st is refused, stat too" "status or stats|may be" \
		bash -c "! '$WEIR' -n '$host' sta 2>&1"
	says "shortened as far as unique" "eth0" weir statu
}

# The sender keeps to its rate on the whole, but where the machine is busy not in each second.
rates_are_right() {
	weir -j stats eth0 -i 1 -c 2 >"$SCRATCH/document" && cat "$SCRATCH/document" &&
		jq -es 'length == 2 and all(.[].verdicts.pass.packets_per_second; . > 350 and . < 450) and
			(.[0].bits_per_second | . > 296000 and . < 382000)' "$SCRATCH/document"
}

test_rates() {
	local sender
	start "$host" sink 5000
	background "$client" timeout 80 python3 "$TRAFFIC" send 10.9.0.2 5000 32000 --rate 400 >/dev/null
	sender=$!
	check "stats -i 1: 400 packets/s, two times, and the bit rate of 106-byte frames" \
		await 50 rates_are_right
	kill $sender
	check "classes add up to the whole" jq -es 'all(.[]; .packets == ([.classes[].packets] | add) and
		.packets == ([.verdicts[].packets] | add))' "$SCRATCH/document"
	stop "$started"
}

# The command gets SIGINT in the middle; what it watches does not notice.
interrupted() { # WEIR-ARGUMENTS...
	local status
	timeout -k 100 -s INT 0.7 "$WEIR" -n "$host" "$@"
	status=$?
	[ $status = 124 ] && pings "$client" 10.9.0.2 && [ "$(xdp_program "$host" eth0)" = "$program" ]
}

test_interrupts() {
	program=$(xdp_program "$host" eth0)
	for words in "stats -i 0.1" "-j stats -i 0.1" "drop watch -i 0.1" "handshake watch" \
		"drop show" "stats"; do
		# shellcheck disable=SC2086
		check "$words, interrupted" interrupted $words
	done
	check "stats into a pipe that closes" bash -c "timeout 60 '$WEIR' -n '$host' stats -i 0.1 | head -n 3"
	check "status as before" bash -c "'$WEIR' -n '$host' -j status | jq -e '.devices | length == 2'"
}

top_ended() {
	! pgrep -f "^$WEIR -n $host top"
}

test_top() {
	local socket=$SCRATCH/tmux sender
	if ! command -v tmux >/dev/null; then
		skip "top" "there is no tmux"
		return
	fi
	picture() { # PATTERN
		tmux -S "$socket" capture-pane -p >"$OUTPUT" && grep -qE "$1" "$OUTPUT"
	}
	weir rule add drop proto udp dport 5001 >/dev/null
	tmux -S "$socket" -f /dev/null new-session -d -x 120 -y 40 "'$WEIR' -n '$host' top -i 0.2; sleep 1"
	background "$client" timeout 60 python3 "$TRAFFIC" send 10.9.0.2 5001 18000 --rate 300 >/dev/null
	sender=$!
	await 20 picture "eth0"
	check "top shows the devices" picture "eth0"
	await 20 picture "drop proto udp"
	check "and the rules" picture "drop proto udp"
	kill $sender
	tmux -S "$socket" send-keys q
	check "q ends it" await 20 top_ended
	tmux -S "$socket" kill-server 2>/dev/null
	check "status as before" bash -c "'$WEIR' -n '$host' -j status | jq -e '.devices | length == 2'"
	check "ping passes" pings "$client" 10.9.0.2
}

lines_of() { # DEVICE FILE
	jq -s "map(select(.device == \"$1\")) | length" "$2"
}

# Devices that go while they are watched.
test_vanishing() {
	local one all before
	timeout 100 "$WEIR" -n "$host" stats eth1 -i 0.1 >"$SCRATCH/one" 2>&1 &
	one=$!
	timeout 100 "$WEIR" -n "$host" -j stats -i 0.1 >"$SCRATCH/all" 2>"$SCRATCH/all.err" &
	all=$!
	await 20 test -s "$SCRATCH/one" -a -s "$SCRATCH/all"
	ip -n "$host" link del eth1
	wait $one
	equal "stats of a device that vanishes ends with an error" 2 $?
	check "and says so" grep -qE "eth1.*(no longer|gone)|no device is left" "$SCRATCH/one"
	check "stats of all says so, too" await 20 grep -q "eth1" "$SCRATCH/all.err"
	before=$(lines_of eth1 "$SCRATCH/all")
	check "and goes on" await 20 more_than "$(lines_of eth0 "$SCRATCH/all")" lines_of eth0 "$SCRATCH/all"
	kill -INT $all
	wait $all
	equal "until it is interrupted" 0 $?
	equal "without the one" "$before" "$(lines_of eth1 "$SCRATCH/all")"
}

check "attach" weir attach eth0
check "attach the other" weir attach eth1
pings "$client" 10.9.0.2 >/dev/null
test_documents
test_rates
test_interrupts
test_top
test_vanishing
check "detach --all" weir detach --all
check "no pins are left" no_pins
