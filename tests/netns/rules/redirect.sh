#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Redirect rules: frames cross the host as if its two devices were one wire, in bulk, with GSO, GRO
# and checksum offload left as they are, and a target that cannot work is refused with a remedy.
#
#   client                     host                     server
#   eth0 10.9.3.1/24 ------ eth0    eth1 ------ eth0 10.9.3.2/24
#        fd09:3::1/64        redirect rules          fd09:3::2/64
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
TRAFFIC_TIMEOUT=500
client=$RUN-client host=$RUN-host server=$RUN-server
namespace "$client" "$host" "$server"
link "$client" eth0 "$host" eth0
link "$server" eth0 "$host" eth1
address "$client" eth0 10.9.3.1/24 fd09:3::1/64
address "$server" eth0 10.9.3.2/24 fd09:3::2/64

head -c 100000000 /dev/urandom >"$SCRATCH/file"
SUM=$(sha256sum <"$SCRATCH/file" | cut -d ' ' -f 1)

bad_checksums() {
	local name
	for name in "$client" "$server"; do
		inside "$name" nstat -asz TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors
	done | awk '/Csum/ { n += $2 } END { print n + 0 }'
}

# The file, whole, in each direction and family; and what a datagram's checksum says.
bulk() { # TEXT
	local there back begin
	await 20 pings "$client" 10.9.3.2
	await 20 pings "$client" fd09:3::2
	begin=$(bad_checksums)
	start "$server" serve 9000 "$SCRATCH/file" && there=$started
	start "$client" serve 9000 "$SCRATCH/file" && back=$started
	equal "$1: bulk TCP to the client" "$SUM" "$(traffic "$client" fetch 10.9.3.2 9000)"
	equal "$1: bulk TCP to the server over IPv6" "$SUM" "$(traffic "$server" fetch fd09:3::1 9000)"
	stop "$there"
	stop "$back"
	start "$server" sink 9001 --wanted 200
	traffic "$client" send 10.9.3.2 9001 100 >/dev/null
	traffic "$client" send fd09:3::2 9001 100 --size 1400 >/dev/null
	stop "$started"
	equal "$1: datagrams" 200 "$said"
	equal "$1: no checksum was wrong" 0 $(($(bad_checksums) - begin))
}

# Rules see ARP only where they name it.
wire() { # [NAME-OF-ETH1]
	weir rule flush >/dev/null
	weir rule add redirect "${1:-eth1}" dev eth0 && weir rule add redirect eth0 dev eth1 &&
		weir rule add redirect "${1:-eth1}" dev eth0 proto arp &&
		weir rule add redirect eth0 dev eth1 proto arp
}

test_veth() {
	check_not "without rules nothing crosses" pings "$client" 10.9.3.2 1
	check "attach" weir attach eth0
	check "attach the other" weir attach eth1
	check "redirect both ways" wire
	check "ping crosses" pings "$client" 10.9.3.2
	bulk "veth, defaults"
	holds "the device counts redirects" \
		'.verdicts.redirect.packets > 1000 and .reasons.redirect.packets == 0' \
		weir -j stats eth0 -i 0.05 -c 1
	inside "$client" ethtool -K eth0 gro on
	inside "$server" ethtool -K eth0 gro on
	check "redirect again, now that the far ends poll" wire
	bulk "veth, GRO at the far ends"
	inside "$client" ethtool -K eth0 gro off
	inside "$server" ethtool -K eth0 gro off
	check "after they stopped, attach looks at the targets again" weir attach eth0
	check "ping crosses" pings "$client" 10.9.3.2
	foreign_program "$client" eth0
	foreign_program "$server" eth0
	check "redirect again, with XDP programs at the far ends" wire
	bulk "veth, programs at the far ends"
	ip -n "$client" link set eth0 xdp off
	ip -n "$server" link set eth0 xdp off
	check "after they are gone, so does any change of the rules" wire
	check "ping crosses" pings "$client" 10.9.3.2
	check "detach --all" weir detach --all
}

test_generic() {
	weir attach eth0 --mode generic >/dev/null 2>&1
	weir attach eth1 --mode generic >/dev/null 2>&1
	check "redirect in generic mode" wire
	bulk "generic"
	weir detach --all >/dev/null
}

# The server's link is a port of a bridge: frames are redirected to the bridge.
test_bridge() {
	ip -n "$host" link add br0 type bridge
	ip -n "$host" link set br0 up
	ip -n "$host" link set eth1 master br0
	weir attach eth0 >/dev/null
	weir attach eth1 >/dev/null
	check "redirect to a bridge, and back from its port" wire br0
	bulk "bridge"
	weir detach --all >/dev/null
	ip -n "$host" link del br0
}

transmitted() { # DEVICE
	ip -n "$host" -s -j link show "$1" | jq '.[0].stats64.tx.packets'
}

test_plain() {
	local tap
	weir attach eth0 >/dev/null
	start "$host" tun tap tap0 --wanted 100
	tap=$started
	ip -n "$host" link set tap0 up
	check "redirect to a tap device" weir rule add redirect tap0 dev eth0 proto udp
	ip -n "$client" neigh replace 10.9.3.9 lladdr 02:00:00:00:00:09 dev eth0
	traffic "$client" send 10.9.3.9 9 100 --rate 2000 >/dev/null
	stop "$tap"
	equal "every datagram comes out of it" 100 "$said"
	weir rule flush >/dev/null
	if ip -n "$host" link add dummy0 type dummy 2>/dev/null; then
		ip -n "$host" link set dummy0 up
		check "redirect to a dummy device" weir rule add redirect dummy0 dev eth0 proto udp
		traffic "$client" send 10.9.3.9 9 100 >/dev/null
		await 10 more_than 99 transmitted dummy0
		between "it transmits them" 100 120 "$(transmitted dummy0)"
		ip -n "$host" link del dummy0
	else
		skip "redirect to a dummy device" "the kernel has none"
	fi
	weir detach --all >/dev/null
}

test_refusals() {
	weir attach eth0 >/dev/null
	ip -n "$host" tuntap add tun0 mode tun
	ip -n "$host" link set tun0 up
	ip -n "$host" link add down0 type bridge
	ip -n "$host" link add small0 type bridge
	ip -n "$host" link set small0 up mtu 1400
	ip -n "$host" link add br0 type bridge
	ip -n "$host" link set br0 up
	refuses "to lo" 2 "lo: .*drop or pass instead" rule add redirect lo
	refuses "to a tun device" 2 "tun0: it has no Ethernet header.*route" rule add redirect tun0
	refuses "to a device that is down" 2 "down0: it is down; 'ip link set down0 up'" \
		rule add redirect down0
	refuses "to a smaller MTU" 2 "MTU 1500.*MTU 1400.*ip link set small0 mtu 1500" \
		rule add redirect small0
	refuses "to itself" 2 "eth0 to itself" rule add redirect eth0 dev eth0
	refuses "to a device that does not exist" 2 "nodev" rule add redirect nodev
	refuses "to nothing" 1 "redirect" rule add redirect
	equal "no rule was made" 0 "$(value '.rules | length' rule list)"
	weir detach eth0 >/dev/null
	weir attach eth0 --xdp-only >/dev/null
	refuses "to a device that needs TC, with --xdp-only" 2 "br0: .*without --xdp-only" \
		rule add redirect br0
	weir detach --all >/dev/null
	for dev in tun0 down0 small0 br0; do
		ip -n "$host" link del $dev
	done
}

test_veth
test_generic
test_bridge
test_plain
test_refusals
check "no pins are left" no_pins
