#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Checksums that senders leave to their devices, as all do behind veth: whoever sends for weir, in every
# mode, they are right at a receiver that looks. The last port on the way finishes what is unfinished,
# in software, from what the packet's field then holds.
#
#   client              switch: two bridges, ports without              server
#   eth0 10.9.1.1/24 -- c  offloads towards client and server  s -- eth0 10.9.2.11/24
#        fd09:1::1/64   |                                      |         fd09:2::11/64
#                       hc ------ eth0  host  eth1 ------------ hs
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=100
client=$RUN-client host=$RUN-host server=$RUN-server switch=$RUN-switch
VIP4=10.9.100.1 VIP6=fd09:100::1

port() { # BRIDGE PORT NAMESPACE DEVICE
	link "$switch" "$2" "$3" "$4"
	ip -n "$switch" link set "$2" master "$1"
}

topology() {
	local bridge
	namespace "$client" "$host" "$server" "$switch"
	for bridge in left right; do
		ip -n "$switch" link add $bridge type bridge forward_delay 0 mcast_snooping 0
		ip -n "$switch" link set $bridge up
	done
	port left c "$client" eth0
	port left hc "$host" eth0
	port right hs "$host" eth1
	port right s "$server" eth0
	inside "$switch" ethtool -K c tx off >/dev/null
	inside "$switch" ethtool -K s tx off >/dev/null
	address "$client" eth0 10.9.1.1/24 fd09:1::1/64
	address "$host" eth0 10.9.1.2/24 fd09:1::2/64 fe80::2/64
	address "$host" eth1 10.9.2.2/24 fd09:2::2/64 fe80::2/64
	address "$server" eth0 10.9.2.11/24 fd09:2::11/64 fe80::11/64
	address "$server" lo $VIP4/32 $VIP6/128
	inside "$host" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	inside "$server" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
	ip -n "$client" route add default via 10.9.1.2
	ip -n "$client" route add default via fd09:1::2
	ip -n "$server" route add default via 10.9.2.2 advmss 1400
	ip -n "$server" route add default via fd09:2::2 advmss 1380
}

bad_checksums() {
	local name
	for name in "$client" "$server"; do
		inside "$name" nstat -asz TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors
	done | awk '/Csum/ { n += $2 } END { print n + 0 }'
}

services() { # MODE
	local proto
	for proto in tcp udp; do
		weir service add $proto "$VIP4:any" mode "$1" &&
			weir service add $proto "[$VIP6]:any" mode "$1" &&
			weir backend add $proto "$VIP4:any" 10.9.2.11 &&
			weir backend add $proto "[$VIP6]:any" fd09:2::11 || return
	done
}

sent_by_tc() {
	local pin
	for pin in "$(pins_of "$host")"/devices/*/tc_counters; do
		bpftool -j map dump pinned "$pin"
	done | jq -s '[.. | .redirected? // empty | tonumber] | add'
}

# A file in each direction, and datagrams, by both families.
crosses() { # TEXT
	local bad before vip serve take
	bad=$(bad_checksums) before=$(datagrams "$server")
	start "$server" serve 9000 "$SCRATCH/file" && serve=$started
	start "$server" take 9002 && take=$started
	start "$server" sink 9001
	for vip in $VIP4 $VIP6; do
		equal "$1: TCP from $vip" "$SUM" "$(traffic "$client" fetch "$vip" 9000)"
		equal "$1: TCP to $vip" "$SUM" "$(traffic "$client" give "$vip" 9002 "$SCRATCH/file")"
		traffic "$client" send "$vip" 9001 100 --size 1200 >/dev/null
	done
	await 10 more_than $((before + 199)) datagrams "$server"
	stop "$started"
	equal "$1: datagrams" 200 "$said"
	stop "$serve"
	stop "$take"
	equal "$1: no checksum was wrong" 0 $(($(bad_checksums) - bad))
}

attach_all() { # OPTIONS
	local device
	for device in "${devices[@]}"; do
		weir attach "$device" "$@" || return
	done
}

tried() { # TEXT MODE TC OPTIONS
	local text="$1, $2" tc
	check "$text: attach" attach_all "${@:4}"
	check "$text: services" services "$2"
	crosses "$text"
	tc=$(sent_by_tc)
	equal "$text: TC has sent" "$3" $((tc > 100))
	weir detach --all >/dev/null
}

MTU() {
	local at
	for at in "$switch left" "$switch right" "$switch hc" "$switch hs" "$host eth0" "$host eth1"; do
		ip -n "${at% *}" link set "${at#* }" mtu "$1"
	done
}

# The host's devices become ports of bridges, which packets come in by then.
bridged() {
	local i
	for i in 0 1; do
		ip -n "$host" address flush dev eth$i
		ip -n "$host" link add br$i type bridge forward_delay 0 mcast_snooping 0
		ip -n "$host" link set br$i up
		ip -n "$host" link set eth$i master br$i
		in_service "$host" br$i
		address "$host" br$i 10.9.$((i + 1)).2/24 "fd09:$((i + 1))::2/64" fe80::2/64
	done
}

topology
TRAFFIC_TIMEOUT=150
head -c 2000000 /dev/urandom >"$SCRATCH/file"
SUM=$(sha256sum <"$SCRATCH/file" | cut -d ' ' -f 1)
devices=(eth0 eth1)
timeout 30 "$WEIR" -n "$server" attach eth0 --decap >/dev/null

tried native nat 0
tried native dsr-ipip 0
tried generic nat 1 --mode generic
tried generic dsr-ipip 1 --mode generic
MTU 4000
tried "native, jumbo frames" nat 1
MTU 1500
bridged
devices=(br0 br1)
tried "generic on bridges" nat 1 --mode generic
timeout 30 "$WEIR" -n "$server" detach --all >/dev/null
check "no pins are left" no_pins
