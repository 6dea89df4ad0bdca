#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kill -9 at any moment of any change: traffic goes on, the next command works and finds a state
# that is either the one before or the one after, and detach --all leaves nothing.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here, and killed
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
pair

ROUNDS=${ROUNDS:-5}

mkfifo "$SCRATCH/never"
exec {never}<>"$SCRATCH/never"

milliseconds() {
	date +%s%3N
}

# Runs weir and kills it up to that many milliseconds later. To start a sleep may take as long as weir.
killed_weir() { # MOST_MS WEIR-ARGUMENTS...
	local pid delay=$(($1 * 1000 * RANDOM / 32768))
	printf -v delay '%d.%06d' $((delay / 1000000)) $((delay % 1000000))
	"$WEIR" -n "$host" "${@:2}" >/dev/null 2>&1 &
	pid=$!
	read -rt "$delay" -u "$never"
	kill -KILL $pid 2>/dev/null && killed=$((killed + 1))
	wait $pid 2>/dev/null
}

# The state is one that a person can go on with.
sound() {
	weir status && pings "$client" 10.9.0.2 1
}

# A change that meets none of the packets here.
change() {
	weir rule add pass dst "192.0.2.$((RANDOM % 250 + 1))" sport $((RANDOM + 1)) proto tcp
}

# Whether what `rule list` shows is what happens to packets: drop of port 5000.
obeyed() {
	local listed got
	listed=$(value '[.rules[] | select(.destination_ports == [5000, 5000])] | length' rule list)
	: "${listed:?}"
	start "$host" sink 5000 --wanted $((listed ? 0 : 5))
	traffic "$client" send 10.9.0.2 5000 5
	stop "$started"
	got=$said
	echo "drop rules of port 5000 listed: $listed, datagrams that passed: $got of 5"
	[ "$got" = $((listed ? 0 : 5)) ]
}

# How long the command takes, undisturbed; then in every round: kill it on its way, look, go on with
# a change, look again. Until two were killed: where it gets through it takes less than it was given. On
# a slow machine that is enough: there are other changes to come.
survives() { # BEFORE WEIR-ARGUMENTS...
	local round begin takes before late=$((SECONDS + 30))
	killed=0
	for round in $(seq 0 $((ROUNDS * 6))); do
		{ [ "$round" -le "$ROUNDS" ] && [ $SECONDS -lt $late ]; } || [ $killed -lt 2 ] || break
		echo "--- round $round"
		$1 >/dev/null 2>&1
		if [ "$round" = 0 ]; then
			begin=$(milliseconds)
			weir "${@:2}" || return
			takes=$(($(milliseconds) - begin))
			continue
		fi
		before=$killed
		killed_weir "$takes" "${@:2}"
		[ $killed != "$before" ] || takes=$((takes * 3 / 4))
		sound && ${then:-change} && sound && ${after:-:} || return
	done
	echo "$killed were killed, within $takes ms"
	[ "$killed" -ge 2 ]
}

nothing_left() {
	weir detach --all && no_pins "$host" && [ -z "$(xdp_program "$host" eth0)" ] &&
		[ -z "$(inside "$host" bpftool -j net show dev eth0 | jq -r '.[0].tc[]?.name')" ] &&
		[ -z "$(inside "$host" tc qdisc show dev eth0 clsact)" ]
}

detached() { weir detach --all; }
attached() { weir attach eth0; }
without_rules() { attached && weir rule flush; }
with_list() { attached && weir rule load "$SCRATCH/list" name block; }

then=attached check "attach" survives detached attach eth0
check "detach --all leaves nothing" nothing_left
check "attach that exchanges programs" survives attached attach eth0
then=attached check "detach" survives attached detach eth0
then=attached check "detach --all" survives attached detach --all
after=obeyed check "rule add that exchanges programs" \
	survives without_rules rule add drop proto udp dport 5000
after=obeyed check "rule flush" survives change rule flush
check "detach --all leaves nothing" nothing_left

python3 - >"$SCRATCH/list" <<'EOF'
for i in range(20000):
    print("198.%d.%d.%d" % (18 + i % 2, i >> 8 & 255, i & 255))
EOF
{ cat "$SCRATCH/list"; echo 10.9.0.1; } >"$SCRATCH/with_client"
after=obeyed check "rule load" survives without_rules \
	rule load "$SCRATCH/with_client" name block drop proto udp dport 5000
check "rule load that replaces" survives with_list rule load "$SCRATCH/list" name block
holds "the list is there, whole" '[.rules[] | select(.list == "block")] | length == 1' \
	weir -j rule list
holds "and complete" '.rules[] | select(.list == "block") | .prefixes == 20000' weir -j rule list

for _ in 1 2 3 4 5; do
	killed_weir 300 rule flush
	killed_weir 300 detach eth0
	killed_weir 300 attach eth0
	killed_weir 200 detach --all
done
check "detach --all after five times everything leaves nothing" nothing_left
check "ping passes" pings "$client" 10.9.0.2
