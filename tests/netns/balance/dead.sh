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

begin() { # SHAPE
	local i
	site "$1" 4
	host=${balancers[0]}
	far_ends_take_xdp
	add_services 1 || return
	for i in 1 2 3 4; do
		add_backend 1 $i || return
	done
	attach_all && serve_all
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

whole() { # MODE SHAPE
	local before
	mode=$1
	check "$mode: a site" begin "$2"
	check "$mode: load" load_begin -c 300 -l 100 -w 4
	sleep 1.5
	check "$mode: a backend is marked dead" state 2 dead
	before=$(accepted 2)
	sleep 3
	equal "$mode: no connection goes there any more" "$before" "$(accepted 2)"
	load_end
	{ cat "$outcome"; head -n 20 "$outcome.broken"; } >"$OUTPUT"
	[ "$(told '[.servers | to_entries[] | select(.key != "b2") | .value.broken] | add')" = 0 ] &&
		[ "$(told .unopened)" = 0 ]
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
