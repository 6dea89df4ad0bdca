#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The way to backends on one link: neighbours that are kept, far ends that take XDP frames or do not,
# VLAN tags.
#
#   $client                $switch, a bridge
#   eth0 10.9.0.1/24 ----- client -+- lb --- eth0 10.9.0.2/24  $host
#        fd09::1/64                +- b1 --- eth0 10.9.0.11/24 $backend, VIPs on lo
#
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=100

PORT=7000 VIP4=10.9.100.1 VIP6=fd09:100::1
backend=$RUN-b1 switch=$RUN-switch client=$RUN-client host=$RUN-host

topology() {
	local at i=0
	namespace "$client" "$switch" "$host" "$backend"
	ip -n "$switch" link add lan type bridge forward_delay 0 mcast_snooping 0
	ip -n "$switch" link set lan up
	for at in "$client" "$host" "$backend"; do
		i=$((i + 1))
		link "$switch" p$i "$at" eth0
		ip -n "$switch" link set p$i master lan
		ip -n "$at" link set eth0 address 02:00:00:00:00:0$i
	done
	address "$client" eth0 10.9.0.1/24 fd09::1/64
	address "$host" eth0 10.9.0.2/24 fd09::2/64 fe80::2/64
	address "$backend" eth0 10.9.0.11/24 fd09::11/64 fe80::11/64
	address "$backend" lo $VIP4/32 $VIP6/128
	inside "$backend" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 \
		net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
	ip -n "$client" route add $VIP4 via 10.9.0.2
	ip -n "$client" route add $VIP6 via fd09::2
}

services() {
	weir service add tcp $VIP4:$PORT mode dsr-l2 &&
		weir service add tcp "[$VIP6]:$PORT" mode dsr-l2 &&
		weir backend add tcp $VIP4:$PORT 10.9.0.11 &&
		weir backend add tcp "[$VIP6]:$PORT" fd09::11
}

answers() {
	inside "$client" timeout 60 python3 "$SCRATCH/ask.py" "${WAIT:-20}" $PORT $VIP4 $VIP6
}

scripts() {
	cat >"$SCRATCH/ask.py" <<-'EOF'
		import socket, sys
		for vip in sys.argv[3:]:
		    s = socket.create_connection((vip, int(sys.argv[2])), int(sys.argv[1]))
		    s.sendall(b"x" * 5000 + b"\n")
		    assert s.makefile("rb").readline() == b"x" * 5000 + b"\n"
	EOF
	cat >"$SCRATCH/echo.py" <<-'EOF'
		import socketserver, sys
		class Echo(socketserver.StreamRequestHandler):
		    def handle(self):
		        self.wfile.write(self.rfile.readline())
		class Server(socketserver.ThreadingTCPServer):
		    address_family = 10
		    allow_reuse_address = True
		Server(("::", int(sys.argv[1])), Echo).serve_forever()
	EOF
}

listening() {
	inside "$backend" ss -Hltn "sport = :$PORT" | grep -q .
}

tag_offload() { # of the far end
	inside "$switch" ethtool -k p2 | awk '/^tx-vlan-offload/ { print $2 }'
}

neighbour_is() { # ADDRESS WORD
	ip -n "$host" neigh show "$1" | grep -qw "$2"
}

neighbours() {
	check "the neighbour of a backend is kept" neighbour_is 10.9.0.11 managed
	check "in IPv6 too" neighbour_is fd09::11 managed
	check "a backend that is gone" weir backend del tcp $VIP4:$PORT 10.9.0.11 now
	check_not "its neighbour is let go" neighbour_is 10.9.0.11 managed
	check "a backend that does not answer" weir backend add tcp $VIP4:$PORT 10.9.0.77
	check "is asked for until it does" neighbour_is 10.9.0.77 managed
	holds "and shown as out of reach" '.. | objects | select(.backend? == "10.9.0.77") | true' \
		weir -j backend list
	address "$backend" eth0 10.9.0.77/24
	check "the kernel finds it" await 30 neighbour_is 10.9.0.77 lladdr
	check "and so does the next command" weir attach eth0
	check "then it answers" answers
	inside "$host" sysctl -qw net.ipv4.conf.eth0.forwarding=1
	check "another that does not answer yet" weir backend add tcp $VIP4:$PORT 10.9.0.78
	check "only that one" weir backend del tcp $VIP4:$PORT 10.9.0.77 now
	address "$backend" eth0 10.9.0.78/24
	check "the kernel finds it too" await 30 neighbour_is 10.9.0.78 lladdr
	check "with forwarding on, packets ask the kernel themselves" answers
	inside "$host" sysctl -qw net.ipv4.conf.eth0.forwarding=0
	check "back to the first" weir backend add tcp $VIP4:$PORT 10.9.0.11
	check "the other leaves" weir backend del tcp $VIP4:$PORT 10.9.0.78 now
}

# By TC; by redirects, as the far end polls; with a program there.
ways_out() {
	local tx redirected
	check "through TC while the far end does not poll" answers
	inside "$switch" ethtool -K p2 gro on
	check "an update notices that it does" weir attach eth0
	redirected=$(counted eth0 verdicts.redirect.packets) tx=$(counted eth0 verdicts.tx.packets)
	check "by XDP then" answers
	between "counted as sent" $((tx + 8)) $((tx + 100)) "$(counted eth0 verdicts.tx.packets)"
	equal "none through TC" "$redirected" "$(counted eth0 verdicts.redirect.packets)"
	inside "$switch" ethtool -K p2 gro off
	check "an update notices that it does not any more" weir attach eth0
	check "through TC again" answers
	inside "$switch" ethtool -K p2 gro on
	check "and by XDP again" weir attach eth0
}

# What the balancer gets is in VLAN 10, and only what comes back in it goes on. The tag is pushed where
# bridges and OVS do it, so it lies beside the frame until a device puts it in.
tag_object() {
	printf '%s\n' '#include <linux/bpf.h>' \
		'static long (*push)(void *, __u16, __u16) = (void *)18;' \
		'static long (*pop)(void *) = (void *)19;' \
		'__attribute__((section("push"), used)) int tag(struct __sk_buff *s) {' \
		'	push(s, 0x0081, 10); return 0; }' \
		'__attribute__((section("pop"), used)) int untag(struct __sk_buff *s) {' \
		'	if (s->vlan_present && (s->vlan_tci & 0xfff) == 10) { pop(s); return 0; }' \
		'	return 2; }' \
		'__attribute__((section("license"), used)) char gpl[] = "GPL";' |
		clang -target bpf -O2 -idirafter "/usr/include/$(gcc -print-multiarch)" -x c -c - \
			-o "$SCRATCH/tag.o"
}

# The balancer's host has no device for that VLAN, so its neighbours are static.
static_neighbours() {
	ip -n "$host" neigh replace 10.9.0.11 lladdr 02:00:00:00:00:03 nud permanent dev eth0
	ip -n "$host" neigh replace fd09::11 lladdr 02:00:00:00:00:03 nud permanent dev eth0
	ip -n "$client" neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 nud permanent dev eth0
	ip -n "$client" neigh replace fd09::2 lladdr 02:00:00:00:00:02 nud permanent dev eth0
}

tag_filters() {
	inside "$switch" tc qdisc add dev p2 clsact &&
		inside "$switch" tc filter add dev p2 egress bpf da obj "$SCRATCH/tag.o" sec push &&
		inside "$switch" tc filter add dev p2 ingress bpf da obj "$SCRATCH/tag.o" sec pop
}

vlan() {
	static_neighbours
	if ! tag_object || ! tag_filters; then
		skip "VLAN tags" "no clang, or no TC filters here"
		return
	fi
	equal "the far end puts tags into frames" off "$(tag_offload)"
	check "tags stay on what XDP transmits" answers
	inside "$switch" ethtool -K p2 txvlan on
	WAIT=3 check_not "else they are lost" answers
	check "an update mends it" weir attach eth0
	check "tags stay again" answers
	inside "$switch" ethtool -K p2 gro off
	check "the far end polls no more" weir attach eth0
	check "tags stay through TC" answers
	inside "$switch" ethtool -K p2 gro on
	inside "$switch" tc qdisc del dev p2 clsact
}

bring_back() {
	weir service del tcp $VIP4:$PORT
	check "the last service goes" weir service del tcp "[$VIP6]:$PORT"
	equal "the far end is as it was" on "$(tag_offload)"
	check "services again" services
	equal "the far end is told again" off "$(tag_offload)"
	check "detached" weir detach eth0
	equal "the far end is as it was" on "$(tag_offload)"
}

topology
scripts
background "$backend" python3 "$SCRATCH/echo.py" $PORT
await 20 listening
check "attach" weir attach eth0
equal "counting leaves the far end alone" on "$(tag_offload)"
check "services" services
neighbours
ways_out
vlan
bring_back
