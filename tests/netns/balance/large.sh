#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Bulk TCP through a tunnel of dsr-ipip in generic mode, where XDP sees packets that the sender has not
# segmented and those that GRO has merged: weir switches that off while it matters, and on again.
#
#   client                     host                      server
#   eth0 10.9.3.1/24 ------ eth0    eth1 ------- eth0 10.9.4.11/24, 10.9.100.1 on lo
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=100
client=$RUN-client host=$RUN-host server=$RUN-server
namespace "$client" "$host" "$server"
link "$client" eth0 "$host" eth0
link "$host" eth1 "$server" eth0
address "$client" eth0 10.9.3.1/24
address "$host" eth0 10.9.3.2/24
address "$host" eth1 10.9.4.2/24
address "$server" eth0 10.9.4.11/24
address "$server" lo $VIP4/32
ip -n "$client" route add default via 10.9.3.2
ip -n "$server" route add default via 10.9.4.2 advmss 1400
inside "$host" sysctl -qw net.ipv4.ip_forward=1
for name in "$host" "$server"; do
	inside "$name" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
done

head -c 20000000 /dev/urandom >"$SCRATCH/file"
SUM=$(sha256sum <"$SCRATCH/file" | cut -d ' ' -f 1)

all_features() {
	inside "$client" ethtool -k eth0 | grep -E '(tx-tcp|tx-tcp6|tx-udp)-segmentation:'
	inside "$host" ethtool -k eth0 | grep generic-receive-offload:
}

upload() {
	TRAFFIC_TIMEOUT=150 traffic "$client" give $VIP4 9000 "$SCRATCH/file"
}

doctor_warns() {
	weir -j doctor 2>/dev/null | jq -e '.findings[] | select(.check == "large-packets")'
}

# As on NICs; on veth it is off until someone wants it.
inside "$host" ethtool -K eth0 gro on
before=$(all_features)
pings "$client" 10.9.3.2 1 >/dev/null
pings "$host" 10.9.4.11 1 >/dev/null
TRAFFIC_TIMEOUT=550 start "$server" take 9000
timeout 30 "$WEIR" -n "$server" attach eth0 --decap >/dev/null

check "generic mode" weir attach eth0 --mode generic
equal "leaves offloads alone without tunnels" "$before" "$(all_features)"
weir service add tcp $VIP4:9000 mode dsr-ipip >/dev/null 2>&1
weir backend add tcp $VIP4:9000 10.9.4.11 >/dev/null 2>&1
equal "with tunnels nothing large comes in" 0 "$(all_features | grep -c ': on')"
check_not "doctor is content" doctor_warns
equal "bulk TCP arrives" "$SUM" "$(upload)"
equal "no packet was too big" 0 "$(counted eth0 reasons.too_big.packets)"
check "attach again keeps it" weir attach eth0
equal "all of it" 0 "$(all_features | grep -c ': on')"

inside "$client" ethtool -K eth0 tso on
check "doctor sees what somebody switches on" doctor_warns
weir attach eth0 >/dev/null 2>&1
inside "$host" ethtool -K eth0 gro on
check "here and there" doctor_warns
weir attach eth0 >/dev/null 2>&1
check_not "the next attach switches it off" doctor_warns

weir service del tcp $VIP4:9000 >/dev/null 2>&1
equal "the last service puts offloads back" "$before" "$(all_features)"
weir service add tcp $VIP4:9000 mode dsr-ipip >/dev/null 2>&1
equal "the next switches them off" 0 "$(all_features | grep -c ': on')"
check "detach" weir detach eth0
equal "puts them back, too" "$before" "$(all_features)"
check "native mode" weir attach eth0 --mode native
equal "leaves GRO alone" 1 "$(all_features | grep -c 'receive-offload: on')"
weir detach --all >/dev/null
timeout 30 "$WEIR" -n "$server" detach --all >/dev/null
check "no pins are left" no_pins
