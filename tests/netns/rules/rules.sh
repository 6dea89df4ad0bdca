#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir rule: what each kind of match and action does to real packets, and that counts are exact.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here
#        fd09::1/64                fd09::2/64
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
pair
address "$client" eth0 10.9.0.5/24

V4=10.9.0.2 V6=fd09::2

rule() { # RULE...: adds it, its id is $id
	id=$(weir -j rule add "$@" | jq .id)
}

# Datagrams from the client: how many of COUNT reach the host, and how many milliseconds that took at most.
# So many are waited for, if it is known how many there will be.
arrives() { # WANTED|'' ADDRESS PORT COUNT [OPTION...]
	local sink begun
	start "$host" sink "$3" ${1:+--wanted "$1"}
	sink=$started
	begun=${EPOCHREALTIME/[.,]/}
	traffic "$client" send "${@:2}" >/dev/null
	stop "$sink"
	took=$(((${EPOCHREALTIME/[.,]/} - begun) / 1000 + 1))
}

sends() { # TEXT ARRIVING ADDRESS PORT COUNT [OPTION...]
	arrives "${@:2}"
	equal "$1" "$2" "$said"
}

# 14 + 20 + 8 + 64 bytes are an IPv4 frame of ours, 14 + 40 + 8 + 64 an IPv6 one.
test_counts() {
	rule drop src 10.9.0.1 proto udp dport 5000
	sends "drop: no IPv4 packet passes" 0 $V4 5000 100
	sends "another port passes" 100 $V4 5001 100
	sends "another source passes" 100 $V4 5000 100 --source 10.9.0.5
	holds "the rule counts packets and bytes exactly" \
		".rules[0] | .packets == 100 and .bytes == 10600" weir -j rule list
	holds "the device counts them as dropped by a rule" \
		'.verdicts.drop.packets == 100 and .reasons.rule.bytes == 10600' \
		weir -j stats eth0 -i 0.05 -c 1
	rule drop dst fd09::2/127 proto udp
	sends "drop: no IPv6 packet passes" 0 $V6 5000 100
	holds "the rule counts packets and bytes exactly" \
		".rules[1] | .packets == 100 and .bytes == 12600" weir -j rule list
	equal "the first rule kept its count" 100 "$(matched 1)"
	rule pass proto udp dport 5000 before 1
	holds "before ID puts a rule there" '[.rules[].id] == [3, 1, 2]' weir -j rule list
	sends "the first match wins" 100 $V4 5000 100
	holds "only the first match counts" '[.rules[].packets] == [100, 100, 100]' weir -j rule list
	check "del" weir rule del "$id"
	sends "without it the next rule decides" 0 $V4 5000 10
	holds "and counts" '.rules[0].packets == 110' weir -j rule list
	rule drop proto 132
	check "an id is never used again" test "$id" -gt 3
	says "flush" "3 rules deleted" weir rule flush
	sends "without rules everything passes" 100 $V4 5000 100
}

# Of both, since who asks for a neighbour makes itself known; and a neighbour may have been given up.
forget_neighbours() {
	ip -n "$client" neigh flush all
	ip -n "$host" neigh flush all
}

test_matches() {
	rule drop proto udp dport 6000-6009
	for port in 5999 6010; do
		sends "port $port is outside of the range 6000-6009" 20 $V4 $port 20
	done
	for port in 6000 6005 6009; do
		sends "port $port is inside" 0 $V4 $port 20
	done
	sends "and for IPv6" 0 $V6 6009 20
	weir rule flush >/dev/null
	rule drop sport 700 proto udp
	sends "source port" 0 $V4 6000 20 --sport 700
	sends "another source port" 20 $V4 6000 20 --sport 701
	weir rule flush >/dev/null
	rule drop proto icmp
	check_not "proto icmp stops ping" pings "$client" $V4
	check "but not ping for IPv6" pings "$client" $V6
	sends "nor UDP" 20 $V4 6000 20
	rule drop proto 58
	check_not "proto 58 stops ping for IPv6" pings "$client" $V6
	weir rule flush >/dev/null
	forget_neighbours
	start "$host" listen 80
	rule drop proto tcp dport 80 src 10.9.0.0/30
	equal "proto tcp: connections from the prefix fail" 0 \
		"$(traffic "$client" connect $V4 80 1 --wait 0.5)"
	equal "over IPv6 they succeed" 3 "$(traffic "$client" connect $V6 80 3 --wait 20)"
	stop "$started"
	weir rule flush >/dev/null
	refuses "a device that does not exist" 2 "eth1" rule add drop dev eth1
	ip -n "$host" link add eth1 type bridge
	rule drop dev eth1
	sends "dev: a rule for another device" 20 $V4 6000 20
	rule drop dev eth0 proto udp
	sends "dev: a rule for this device" 0 $V4 6000 20
	ip -n "$host" link del eth1
	weir rule flush >/dev/null
	rule drop proto arp
	forget_neighbours
	check_not "proto arp: the host is not found" pings "$client" $V4 1
	check "IPv6 finds it" pings "$client" $V6
	check "some ARP was dropped" test "$(matched "$id")" -gt 0
	weir rule flush >/dev/null
	forget_neighbours
	check "ping passes again" pings "$client" $V4
}

# What passes at most follows from the time taken. A sender that is held up goes on later, and at no time
# faster, so that no less passes.
test_limits() {
	rule limit 100/s burst 20 proto udp dport 5000
	arrives '' $V4 5000 600 --gap 0.00333
	between "limit 100/s burst 20: 2 s at 300/s let about 220 pass" 150 $((21 + took / 10)) "$said"
	equal "all were counted" 600 "$(matched "$id")"
	equal "those over the rate by reason" $((600 - said)) "$(counted eth0 reasons.limit.packets)"
	weir rule flush >/dev/null
	rule limit 1/s burst 20 proto udp dport 5000
	arrives '' $V4 5000 200 --source 10.9.0.1 --source 10.9.0.5
	between "each source has its own 20" 40 $((2 * (21 + took / 1000))) "$said"
	arrives '' $V6 5000 100
	between "an IPv6 source as well" 20 $((21 + took / 1000)) "$said"
	weir rule flush >/dev/null
}

# The sender keeps to its rate on the whole, but where the machine is busy not in each second.
is_about_500() { # FIELD WEIR-ARGUMENTS...
	value "$@" | jq -e '. > 425 and . < 575'
}

shown_as_about_500() {
	weir rule list | grep -qE " (4[3-9][0-9]|5[0-6][0-9]) pps"
}

test_rates() {
	local sender
	rule drop proto udp dport 5000
	background "$client" timeout 300 python3 "$TRAFFIC" send $V4 5000 1000000 --rate 500 >/dev/null
	sender=$!
	check "rule list shows the rate: 500 packets/s" \
		await 60 is_about_500 '.rules[0].packets_per_second' rule list
	check "so does stats" \
		await 60 is_about_500 '.verdicts.drop.packets_per_second' stats eth0 -i 1 -c 1
	check "and people can read it" await 60 shown_as_about_500
	kill $sender
	wait $sender 2>/dev/null
	weir rule flush >/dev/null
	rule drop proto udp dport 5000
	traffic "$client" send $V4 5000 2000 >/dev/null
	equal "every packet is counted" 2000 "$(matched "$id")"
	weir rule flush >/dev/null
}

test_changes() {
	rule drop proto udp dport 5000
	refuses "the same rule twice" 2 "exists already: id $id" rule add drop proto udp dport 5000
	refuses "del of an unknown rule" 2 "no rule 999" rule del 999
	refuses "del of a known and an unknown rule" 2 "no rule 999" rule del "$id" 999
	equal "deletes neither" 1 "$(value '.rules | length' rule list)"
	refuses "before an unknown rule" 2 "no rule 999" rule add pass before 999
	check "rules outlive a detach of the device" weir detach eth0
	sends "without the program nothing is dropped" 20 $V4 5000 20
	check "attach" weir attach eth0
	sends "the rule is in force at once" 0 $V4 5000 20
	check "detach --all" weir detach --all
	check "rules can come before the device" weir rule add drop proto udp dport 5000
	check "attach" weir attach eth0
	sends "and are in force when it comes" 0 $V4 5000 20
	for n in $(seq 1 200); do echo "192.0.2.$n"; done >"$SCRATCH/list"
	check "many rules" weir rule load "$SCRATCH/list" pass
	check "flush" weir rule flush
	equal "list is empty" 0 "$(value '.rules | length' rule list)"
}

# Each kind of rule changes the program's switches, and so exchanges the program.
test_uninterrupted() {
	local echo pulse
	start "$host" echo 7
	echo=$started
	start "$client" pulse $V4 7
	pulse=$started
	for _ in 1 2 3; do
		weir rule add drop src 192.0.2.1 >/dev/null
		weir rule add limit 10 dst 192.0.2.0/24 proto tcp >/dev/null
		weir rule add drop src 2001:db8::/32 sport 1-9 >/dev/null
		weir rule add drop dev eth0 src 192.0.2.0/25 dport 9 proto udp >/dev/null
		weir rule flush >/dev/null
	done
	stop "$pulse"
	equal "no packet is lost while rules come and go" 0 "$said"
	stop "$echo"
}

check "attach" weir attach eth0
test_counts
test_matches
test_limits
test_rates
test_changes
test_uninterrupted
check "detach --all" weir detach --all
check "no pins are left" no_pins
