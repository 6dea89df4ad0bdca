#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Far ends of veths, which take no XDP frames as they are made: weir sees to them while it sends
# there, and puts back what it changed. The client's namespace has no name.
#
#   client                       host                      server
#   eth0 10.9.1.1/24 ------ eth0    eth1 ------ eth0 10.9.2.1/24
#        fd09:1::1/64                                fd09:2::1/64
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=100
line
VIP4=10.9.100.1 VIP6=fd09:100::1
web "$server" s1 10.9.2.1:80 '[fd09:2::1]:80'
await 20 inside "$server" curl -sf --max-time 1 http://10.9.2.1/

# The namespace lives on by a process.
hide_client() {
	local here
	here=$(readlink /proc/self/ns/net)
	background "$client" sleep 1000
	hidden=$!
	until [ "$(readlink /proc/$hidden/ns/net)" != "$here" ]; do
		sleep 0.05
	done
	ip netns del "$client"
}

at_client() {
	nsenter --net="/proc/$hidden/ns/net" "$@"
}

far_ends() {
	{
		at_client ethtool -k eth0
		inside "$server" ethtool -k eth0
	} | awk '/generic-receive-offload|tx-vlan-(stag-hw-insert|offload)/ { printf "%s ", $2 }'
}

held() {
	[ "$(far_ends)" = "$HELD" ]
}

# Not what is tested, but it has to be done.
quietly() { # COMMAND...
	"$@" >"$OUTPUT" 2>&1 || report 1 "$*"
}

seen_to() {
	[ "$(far_ends)" = "on off off on on on " ]
}

services() {
	weir service add tcp $VIP4:80 mode nat && weir backend add tcp $VIP4:80 10.9.2.1 &&
		weir service add tcp "[$VIP6]:80" mode nat &&
		weir backend add tcp "[$VIP6]:80" fd09:2::1
}

no_services() {
	weir service del tcp $VIP4:80 && weir service del tcp "[$VIP6]:80"
}

answers() {
	local vip
	for vip in $VIP4 "[$VIP6]"; do
		[ "$(at_client curl -sS --max-time 20 "http://$vip/")" = s1 ] || return 1
	done
}

# Packets that TC has sent for XDP on eth0 and eth1, and all that were sent.
sent_by_tc() {
	local pin
	for pin in "$(pins_of "$host")"/devices/eth?/tc_counters; do
		bpftool -j map dump pinned "$pin"
	done | jq -s '[.. | .redirected? // empty | tonumber] | add'
}

by_driver() { # TEXT
	local before
	before=$(sent_by_tc)
	check "$1: both families are served" answers
	equal "$1: not by TC" 0 $(($(sent_by_tc) - before))
	holds "$1: and weir says so" '[.services[].backends[].way] == ["eth1", "eth1"]' \
		weir -j backend list
}

weir_killed_after() { # SECONDS ARGUMENTS...
	timeout -s KILL "$1" "$WEIR" -n "$host" "${@:2}"
} >/dev/null 2>&1

hide_client
AS_MADE='off on on off on on '
HELD='on off off on off off '
equal "veths as they are made" "$AS_MADE" "$(far_ends)"
check "attach" weir attach eth0
check "attach the other" weir attach eth1
equal "is nobody's reason to change them" "$AS_MADE" "$(far_ends)"
check "services" services
equal "both far ends poll, and put tags into frames" "$HELD" "$(far_ends)"
by_driver "nat"
holds "status tells what was switched" \
	'[.offloads[] | select(.at == "its far end" and .offload == "rx-gro" and .now == "on").device] |
	sort == ["eth0", "eth1"]' weir -j status
says "doctor too" 'weir switched GRO on at its far end' weir doctor eth1

inside "$server" ethtool -K eth0 gro off
check "somebody switches it off: the next command" weir attach eth0
by_driver "on again"
at_client ethtool -K eth0 gro off
background "$host" timeout 200 "$WEIR" -n "$host" run -i 0.1
runs=$!
await 60 held
sleep 0.5
equal "and so does weir run" "$HELD" "$(far_ends)"
kill -INT $runs
wait $runs

check "the last service goes" no_services
equal "far ends are as they were" "$AS_MADE" "$(far_ends)"
check "services again" services
equal "held again" "$HELD" "$(far_ends)"
check "detach one" weir detach eth0
equal "one is put back" "off on on on off off " "$(far_ends)"
check "detach the other" weir detach eth1
equal "both are put back" "$AS_MADE" "$(far_ends)"

inside "$server" ethtool -K eth0 gro on
check "what polls by itself" weir attach eth0
check "on both sides" weir attach eth1
by_driver "as services were"
check "detach all" weir detach --all
equal "goes on to poll" "off on on on on on " "$(far_ends)"
inside "$server" ethtool -K eth0 gro off

quietly weir attach eth1
quietly services
for seconds in 0.05 0.1 0.15 0.2 0.25 0.3 0.4 0.6; do
	weir_killed_after $seconds attach eth0
done
check "attach after some that were killed" weir attach eth0
by_driver "killed"
check "detach all" weir detach --all
equal "put back all the same" "$AS_MADE" "$(far_ends)"

quietly weir attach eth1
quietly services
foreign_program "$host" eth0
check_not "an attach that fails" weir attach eth0
equal "changes nothing" "off on on on off off " "$(far_ends)"
ip -n "$host" link set eth0 xdp off
quietly weir detach --all

check "in generic mode" weir attach eth0 --mode generic
quietly weir attach eth1 --mode generic
quietly services
check "TC transmits" answers
equal "and far ends need nothing" "$AS_MADE" "$(far_ends)"
quietly weir detach --all

check "a redirect" weir attach eth0
check "to a device that is not attached" weir rule add redirect eth1 dev eth0 proto udp
equal "needs that one's far end" "off off off on on on " "$(far_ends)"
before=$(sent_by_tc) had=$(datagrams "$server")
start "$server" sink 9001
ip -n "$server" address add 10.9.1.9/24 dev eth0
at_client ip neigh replace 10.9.1.9 dev eth0 \
	lladdr "$(ip -n "$server" -j link show eth0 | jq -r '.[0].address')"
at_client python3 "$TRAFFIC" send 10.9.1.9 9001 100 >/dev/null
await 10 more_than $((had + 99)) datagrams "$server"
stop "$started"
equal "datagrams cross" 100 "$said"
equal "by the driver" 0 $(($(sent_by_tc) - before))
check "the rule goes" weir rule flush
equal "and all is as it was" "$AS_MADE" "$(far_ends)"
quietly weir detach --all
check "no pins are left" no_pins

# As in a container that does not see the host's processes.
unreachable() {
	timeout 100 unshare --pid --fork --mount-proc "$WEIR" -n "$host" "$@"
}

check "out of reach: attach" unreachable attach eth0
check "out of reach: a service" unreachable service add tcp $VIP4:80 mode nat
check "out of reach: a backend" unreachable backend add tcp $VIP4:80 10.9.2.1
holds "doctor says why TC transmits, and what to do" \
	'.findings[] | select(.subject == "eth0" and .check == "transmit" and
	(.found | test("cannot be reached")) and (.remedy | test("--pid host"))) | true' \
	unreachable -j doctor
equal "nothing was switched there" "on on" "$(far_ends | cut -d " " -f 2-3)"
check "within reach it is" weir attach eth0
equal "seen to" "on off off" "$(far_ends | cut -d ' ' -f 1-3)"
quietly weir detach --all
equal "as it was" "$AS_MADE" "$(far_ends)"
check "no pins are left" no_pins

quietly weir attach eth0
quietly services
check "out of reach: services go" unreachable service del tcp $VIP4:80
check "both" unreachable service del tcp "[$VIP6]:80"
equal "what cannot be put back stays" "on off off" "$(far_ends | cut -d ' ' -f 1-3)"
check "until a command reaches it" weir rule flush
equal "as it was" "$AS_MADE" "$(far_ends)"
quietly services
says "or gives up, and says so" 'stays on: that is out of reach' unreachable detach --all
check "no pins are left" no_pins
at_client ethtool -K eth0 gro off txvlan on tx-vlan-stag-hw-insert on

# Without TC: what a far end does not take now, it will.
quietly services
check "XDP alone" weir attach eth0 --xdp-only
check "on both sides" weir attach eth1 --xdp-only
equal "far ends are seen to" "$HELD" "$(far_ends)"
check "both families are served" answers
quietly weir detach --all
quietly weir attach eth0 --xdp-only
check "the other way round" services
equal "as well" "on off off on on on " "$(far_ends)"
quietly no_services
ip link add eth5 netns "$host" type veth peer name eth5 netns "$hidden"
ip -n "$host" link set eth5 up
ip -n "$host" address add 10.9.5.2/24 dev eth5
ip -n "$host" neigh replace 10.9.5.1 dev eth5 lladdr 02:00:00:00:00:09
quietly weir service add tcp $VIP4:80 mode nat
check_not "a far end that is down takes nothing" weir backend add tcp $VIP4:80 10.9.2.1 10.9.5.1
equal "which changes none" "on off off off on on " "$(far_ends)"
quietly weir detach --all
equal "as it was" "$AS_MADE" "$(far_ends)"

# Packets of the other instance come in by eth2.
other() {
	"$WEIR" -n "$host" --instance "$RUN-other" "$@"
}

others() {
	other -j status | jq -r '[.offloads[] | select(.offload == "rx-gro") | .device + " " + .now] | join(" ")'
}

other_holds() {
	[ "$(others)" = "eth1 on" ]
}

ip link add eth2 netns "$host" type veth peer name eth2 netns "$hidden"
ip -n "$host" link set eth2 up
at_client ip link set eth2 up
quietly weir attach eth0
quietly weir rule add redirect eth1 dev eth0 proto udp
check "another instance" other attach eth2
check "redirects there, too" other rule add redirect eth1 dev eth2 proto udp
equal "and relies on what the first one switched" "eth1 on" "$(others)"
quietly weir detach --all
equal "which stays while it does" on "$(far_ends | cut -d ' ' -f 4)"
inside "$server" ethtool -K eth0 gro off
equal "status tells what is" "eth1 off" "$(others)"
quietly other detach --all
inside "$server" ethtool -K eth0 gro on
quietly other attach eth2
quietly other rule add redirect eth1 dev eth2 proto udp
equal "what polls by itself is not weir's" "" "$(others)"
inside "$server" ethtool -K eth0 gro off
background "$host" timeout 200 "$WEIR" -n "$host" --instance "$RUN-other" run -i 0.1
runs=$!
await 60 other_holds
equal "until it ceases: weir run makes it go on" "eth1 on" "$(others)"
kill -INT $runs
wait $runs
quietly other detach --all
equal "as it was" "$AS_MADE" "$(far_ends)"

at_client ethtool -K eth0 gro on
quietly weir attach eth0
quietly services
at_client ethtool -K eth0 gro off
background "$host" timeout 200 "$WEIR" -n "$host" run -i 0.1
runs=$!
check "an attached device's own far end" await 60 seen_to
equal "is looked after, too" "on off off on on on " "$(far_ends)"
kill -INT $runs
check "by one that ends when told to" wait $runs
quietly weir detach --all
equal "as it was" "$AS_MADE" "$(far_ends)"

gro_of_q0() {
	at_client ethtool -k q0 | awk '/generic-receive-offload/ { print $2 }'
}

ip link add q0 netns "$host" numrxqueues 1 numtxqueues 1 type veth \
	peer name q0 netns "$hidden" numrxqueues 1 numtxqueues 4
ip -n "$host" link set q0 up
quietly weir attach eth0
quietly weir rule add redirect q0 dev eth0 proto udp
equal "a far end that is down is left alone" off "$(gro_of_q0)"
at_client ip link set q0 up
check "it is up: the next command" weir rule add pass proto tcp
equal "has it poll" on "$(gro_of_q0)"
holds "and take frames" \
	'.findings[] | select(.check == "redirect-target" and (.found | test("by the driver"))) | true' \
	weir -j doctor q0
quietly weir detach --all
equal "as it was" off "$(gro_of_q0)"
check "no pins are left" no_pins
