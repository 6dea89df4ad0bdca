#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A backend is marked dead: from that moment no new connection goes there, what it had breaks, and
# nobody else's connection does. Brought back it gets its share again.
#
#   client -- router -- balancer, 4 backends       topology.sh: site
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../churn/lib.sh
. tests/churn/lib.sh
IDLE=60

begin() { # SHAPE
	local i
	site "$1" 4
	host=${balancers[0]}
	far_ends_take_xdp
	add_services 1 || return
	for i in 1 2 3 4; do
		add_backend 1 $i || return
	done
	attach_all && serve_all && await 60 reaches_all 1
}

state() { # NUMBER STATE
	local family
	for family in 4 6; do
		weir backend set tcp "$(vip $family)" "$(backend_name $family "$1")" state "$2" || return
	done
}

# Connections that the backend has accepted so far.
accepted() { # NUMBER
	inside "${backends[$1 - 1]}" nstat -saz TcpPassiveOpens | awk '/Passive/ { print $2 }'
}

# What was on its way to it when it was marked has come.
rests() { # NUMBER
	local before
	before=$(accepted "$1")
	sleep 0.5
	[ "$(accepted "$1")" = "$before" ]
}

# Clients' ports of connections that broke before any server's name was heard, but for those that the
# backend knows: these were begun with it, and it was marked before they had their handshake.
nobodys() { # NUMBER
	inside "${backends[$1 - 1]}" ss -Htan | awk '{ sub(/.*:/, "", $5); print $5 }' | sort -u >"$SCRATCH/known"
	sed -n 's/.* port \([0-9]*\) server -,.*/\1/p' "$outcome.broken" | sort -u | comm -23 - "$SCRATCH/known"
}

whole() { # MODE SHAPE
	local before lost
	mode=$1
	check "$mode: a site" begin "$2"
	check "$mode: load" load_begin -c 300 -l 100
	await 10 more_than 30 accepted 2
	sleep 1.5
	check "$mode: a backend is marked dead" state 2 dead
	await 10 rests 2
	before=$(accepted 2)
	sleep 3
	equal "$mode: no connection goes there any more" "$before" "$(accepted 2)"
	load_end
	lost=$(nobodys 2)
	{ cat "$outcome"; echo "of nobody: $lost"; head -n 20 "$outcome.broken"; } >"$OUTPUT"
	[ "$(told '[.servers | to_entries[] | select(.key != "b2") | .value.broken] | add')" = 0 ] && [ -z "$lost" ]
	report $? "$mode: of the others' $(told '[.servers | to_entries[] | select(.key != "b2") |
		.value.connections] | add') connections none broke"
	check "$mode: those it had, did" [ "$(told .servers.b2.broken)" -gt 0 ]
	check "$mode: it comes back" state 2 up
	check "$mode: load" load_begin -c 300 -l 100
	sleep 2
	load_end
	unbroken "$mode: all are up"
	check "$mode: it has its share" [ "$(told .servers.b2.connections)" -gt 30 ]
	rest
}

whole dsr-l2 lan
whole nat inner
