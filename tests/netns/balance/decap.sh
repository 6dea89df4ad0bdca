#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# attach --decap: what comes in tunnels to the host's own addresses reaches its sockets without any
# tunnel device, as behind a balancer in mode dsr-ipip.
#
#   $client                                       $host
#   eth0 10.9.0.1/24  ========================= eth0 10.9.0.2/24, VIPs on lo
#        fd09::1/64     client's packets to VIPs       fd09::2/64
#   tn0: what leads to the VIPs, in an outer header; answers come back without one
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
pair
VIPS=("$VIP4" "$VIP6")
MAC=$(ip -n "$host" -j link show eth0 | jq -r '.[0].address')
inside "$client" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
address "$host" lo $VIP4/32 $VIP6/128
# It looks for its neighbours from there, not from the VIP, to which the client has only the tunnel.
address "$host" eth0 fe80::2/64

head -c 3000000 /dev/urandom >"$SCRATCH/file"
WEIR_TIMEOUT=100
SUM=$(sha256sum <"$SCRATCH/file" | cut -d ' ' -f 1)
TRAFFIC_TIMEOUT=550 # as long as the whole test
start "$host" take 9000
start "$host" sink 9001
sink=$started
TRAFFIC_TIMEOUT=100

bad_checksums() {
	inside "$host" nstat -asz TcpInCsumErrors UdpInCsumErrors Udp6InCsumErrors |
		awk '/Csum/ { n += $2 } END { print n + 0 }'
}

# To the host's address of this family.
open_tunnel() { # FAMILY [OPTIONS]
	case $1 in
	4) start "$client" tunnel tn0 10.9.0.1 "${end:-10.9.0.2}" eth0 "$MAC" "${@:2}" ;;
	6) start "$client" tunnel tn0 fd09::1 "${end:-fd09::2}" eth0 "$MAC" "${@:2}" ;;
	esac
	tunnel=$started
	ip -n "$client" link set tn0 up mtu 1460
	ip -n "$client" route add $VIP4 dev tn0 src 10.9.0.1
	ip -n "$client" route add $VIP6 dev tn0 src fd09::1
}

close_tunnel() {
	stop "$tunnel"
}

connects() { # ADDRESS
	[ "$(traffic "$client" connect "$1" 9000 1 --wait 1)" = 1 ]
}

decapsulated() {
	counted eth0 decapsulated.packets
}

# What the client's device could not hand to the host's: its room is 256 packets where a CPU is late.
lost() {
	ip -n "$client" -s -j link show eth0 | jq '.[0].stats64.tx.dropped'
}

both_ways() { # TEXT FAMILY [OPTIONS]
	local vip before bad dropped
	before=$(decapsulated) bad=$(bad_checksums) dropped=$(lost)
	open_tunnel "${@:2}"
	for vip in "${VIPS[@]}"; do
		equal "$1: TCP to $vip" "$SUM" "$(traffic "$client" give "$vip" 9000 "$SCRATCH/file")"
		traffic "$client" send "$vip" 9001 100 --size 1300 >/dev/null
	done
	close_tunnel
	between "$1: the sender's packets" 2000 100000 "$said"
	equal "$1: no checksum was wrong" 0 $(($(bad_checksums) - bad))
	dropped=$(($(lost) - dropped))
	between "$1: all were unpacked" $((said - dropped)) 1000000 $(($(decapsulated) - before))
}

test_families() {
	open_tunnel 4
	check_not "without weir nothing ends the tunnel" connects $VIP4
	says "attach --decap" "unpacks tunnels" weir attach eth0 --decap
	check "now it does" await 30 connects $VIP4
	close_tunnel
	both_ways "in IPv4" 4
	both_ways "in IPv6" 6
	both_ways "in IPv4, unfinished checksums" 4 --unfinished
	both_ways "in IPv6, unfinished checksums" 6 --unfinished
	holds "frames are counted as what was in them" \
		'.classes.tcp4.packets > 1000 and .classes.tcp6.packets > 1000 and
		 .classes.udp4.packets > 200 and .reasons.bad_tunnel.packets == 0' \
		weir -j stats eth0 -i 0.05 -c 1
}

test_vlans() {
	ip -n "$host" link add link eth0 name eth0.100 type vlan id 100 2>/dev/null || {
		skip "in a VLAN" "the kernel has none"
		return
	}
	ip -n "$host" link set eth0.100 up
	open_tunnel 4 --tags 1
	check "in a VLAN" await 30 connects $VIP4
	close_tunnel
	ip -n "$host" link del eth0.100
}

test_stays() {
	holds "attach again keeps it" .decap weir -j attach eth0
	holds "status shows it" '.devices[0].decap' weir -j status
	open_tunnel 4
	check "and it works" await 30 connects $VIP4
	check "a rule comes" weir rule add drop proto tcp dport 9000 src fd09::1
	check "and it works, too" await 30 connects $VIP4
	check_not "rules see what is in the tunnel" connects $VIP6
	check "the rule goes" weir rule flush
	check "and it works still" await 30 connects $VIP6
	close_tunnel
}

# Whoever knows the host may send tunnels: they bring in nothing that could not come without.
test_strangers() {
	local before
	open_tunnel 4
	check "a rule against the tunnel's sender" weir rule add drop src 10.9.0.1
	check_not "holds for what is in the tunnel" connects $VIP4
	check "the rule goes" weir rule flush
	check "and it works" await 30 connects $VIP4
	await 20 all_ended "$client" "$host"
	before=$(decapsulated)
	ip -n "$client" route add 10.9.77.1 dev tn0 src 10.9.0.1
	traffic "$client" send 10.9.77.1 9001 10 >/dev/null
	close_tunnel
	equal "what is for another host is not unpacked" "$before" "$(decapsulated)"
}

test_addresses() {
	address "$host" eth0 10.9.0.3/24
	end=10.9.0.3 open_tunnel 4
	check_not "an address that came later" connects $VIP4
	check "is known after the next change" weir attach eth0
	check "and ends tunnels" await 30 connects $VIP4
	ip -n "$host" address del 10.9.0.3/24 dev eth0
	weir attach eth0 >/dev/null
	check_not "when it is gone it does not" connects $VIP4
	close_tunnel
	open_tunnel 4
	ip -n "$client" route add 10.9.100.77 dev tn0 src 10.9.0.1
	address "$host" lo 10.9.100.77/32
	check_not "an address that came later and is in the tunnel" connects 10.9.100.77
	check "is known after the next change, too" weir attach eth0
	check "and reached" await 30 connects 10.9.100.77
	ip -n "$host" address del 10.9.100.77/32 dev lo
	close_tunnel
}

test_generic() {
	weir detach eth0 >/dev/null
	check "generic mode" weir attach eth0 --decap --mode generic
	both_ways "generic, in IPv4" 4
	both_ways "generic, in IPv6, unfinished checksums" 6 --unfinished
}

test_off() {
	check "detach" weir detach eth0
	open_tunnel 4
	check_not "nothing ends the tunnel any more" connects $VIP4
	refuses "without XDP" 1 "decap needs the XDP program" attach eth0 --tc-only --decap
	check "attach without --decap" weir attach eth0
	check_not "no tunnel ends there" connects $VIP4
	check "--decap can come later" weir attach eth0 --decap
	check "and works" await 30 connects $VIP4
	close_tunnel
}

test_families
test_vlans
test_stays
test_strangers
test_addresses
test_generic
test_off
stop "$sink"
equal "every datagram arrived" 1200 "$said"
weir detach --all >/dev/null
check "no pins are left" no_pins
