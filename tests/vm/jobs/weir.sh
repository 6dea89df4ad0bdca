#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir.sh [BINARY]
# weir among others on one device, where the kernel can share it: XDP programs in libxdp's
# dispatcher, TC filters in clsact, or TCX links. Meant for tests/vm/run.sh: the kernel must
# know freplace.
export WEIR=${1:-build/weir} WEIR_TIMEOUT=60
# shellcheck source=tests/vm/jobs/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tc_way=clsact tc_said=clsact
if grep -qw tcx_link_attach /proc/kallsyms; then
	tc_way='link' tc_said=TCX
fi

in_the_dispatcher() {
	local before after first seen
	check "a program is there first" inside "$host" xdp-loader load -m native eth0 \
		"$objects/xdpfilt_alw_tcp.o"
	before=$(id_in_chain xdpfilt_alw_tcp)
	says "weir attaches beside it" "dispatcher.*TC $tc_said" \
		weir attach eth0
	check "another comes later, behind it" inside "$host" xdp-loader load -m native -P 90 eth0 \
		"$objects/xdpfilt_alw_udp.o"
	after=$(id_in_chain xdpfilt_alw_udp)
	equal "all three run, in order" "xdpfilt_alw_tcp weir_xdp xdpfilt_alw_udp" "$(names_in_chain)"
	holds "status names the ways" ".devices | length == 1 and .[0].xdp == \"dispatcher\" and
		.[0].tc == \"$tc_way\" and .[0].mode == \"native\" and .[0].state == \"attached\"" \
		weir -j status

	seen=$(seen_by "$after")
	check "packets pass" ping_some 20
	between "weir counts them" 20 60 "$(value '.devices[0].verdicts.pass.packets' stats eth0)"
	between "so does the program behind it" 20 60 $(($(seen_by "$after") - seen))

	check "a rule that drops" weir rule add drop src 10.9.0.1 proto icmp
	equal "still all three" "xdpfilt_alw_tcp weir_xdp xdpfilt_alw_udp" "$(names_in_chain)"
	seen=$(seen_by "$after")
	check_not "drops" ping_some 5
	between "and counts what it drops" 5 5 "$(value '.rules[0].packets' rule list)"
	between "which the program behind does not see" 0 4 $(($(seen_by "$after") - seen))
	check "the rule goes" weir rule flush
	check "packets pass again" ping_some 5

	without_loss "a second attach is an upgrade" weir attach eth0
	equal "the others were not touched" "$before $after" \
		"$(id_in_chain xdpfilt_alw_tcp) $(id_in_chain xdpfilt_alw_udp)"
	between "the counters went on" 60 3000 \
		"$(value '.devices[0].verdicts.pass.packets' stats eth0)"

	without_loss "detach" weir detach eth0
	equal "leaves the others in place" "xdpfilt_alw_tcp xdpfilt_alw_udp" "$(names_in_chain)"
	seen=$(seen_by "$after")
	check "and running" ping_some 10
	between "in every packet's way" 10 30 $(($(seen_by "$after") - seen))
	check "nothing of weir is left" nothing_of_ours
	says "the other can leave, weir stays" dispatcher weir attach eth0
	check "the others go" inside "$host" xdp-loader unload eth0 -i "$(id_in_chain xdpfilt_alw_udp)"
	check "one by one" inside "$host" xdp-loader unload eth0 -i "$(id_in_chain xdpfilt_alw_tcp)"
	equal "weir is alone in the chain" weir_xdp "$(names_in_chain)"
	check "packets pass" ping_some 5
	check "detach --all" weir detach --all
	check "nothing of weir is left" nothing_of_ours
	equal "the device has no program" "" "$(xdp_program "$host" eth0)"
}

by_a_link() {
	local program link
	link=$(pins_of "$host")/devices/eth0/xdp
	inside "$host" xdp-loader load -m native eth0 "$objects/xdpfilt_alw_tcp.o"
	refuses "--exclusive does not push others away" 2 'another XDP program' attach eth0 --exclusive
	equal "they stay" xdpfilt_alw_tcp "$(names_in_chain)"
	check "and weir leaves nothing" nothing_of_ours
	inside "$host" xdp-loader unload eth0 --all

	says "attach --exclusive" 'native.*link' weir attach eth0 --exclusive
	program=$(xdp_program "$host" eth0)
	holds "its link is pinned" ".type == \"xdp\" and .prog_id == $program" \
		bpftool -j link show pinned "$link"
	check_not "no other program can take its place" inside "$host" xdp-loader load -m native eth0 \
		"$objects/xdpfilt_alw_tcp.o"
	equal "and none has" "$program" "$(xdp_program "$host" eth0)"
	without_loss "upgrade of the link" weir attach eth0 --exclusive
	check "the program is a new one" test "$program" != "$(xdp_program "$host" eth0)"
	check "a rule that drops" weir rule add drop dst 10.9.0.2 proto icmp
	check_not "drops" ping_some 3
	between "and counts" 3 3 "$(value '.rules[0].packets' rule list)"
	check "detach" weir detach eth0
	equal "the device has no program" "" "$(xdp_program "$host" eth0)"
	check "the rules go" weir rule flush
	check "nothing of weir is left" nothing_of_ours
}

among_filters() {
	local first last
	inside "$host" tc qdisc add dev eth0 clsact
	inside "$host" tc filter add dev eth0 ingress pref 1 protocol all matchall action continue
	inside "$host" tc filter add dev eth0 ingress pref 65000 protocol all matchall action ok
	check "weir attaches among the user's filters" weir attach eth0 --tc-only
	equal "they are there" "[1,65000]" "$(user_filters)"
	first=$(filter_packets 1) last=$(filter_packets 65000)
	check "packets pass" ping_some 10
	between "the filter before it sees them" 10 30 $(($(filter_packets 1) - first))
	between "the filter behind it sees them" 10 30 $(($(filter_packets 65000) - last))
	without_loss "upgrade" weir attach eth0 --tc-only
	check "detach" weir detach eth0
	equal "the user's filters survive" "[1,65000]" "$(user_filters)"
	inside "$host" tc qdisc del dev eth0 clsact
	check "attach where no qdisc is" weir attach eth0 --tc-only
	check "detach" weir detach eth0
	equal "takes its qdisc along" 0 "$(inside "$host" tc qdisc show dev eth0 | grep -c clsact)"
	check "nothing of weir is left" nothing_of_ours
}

handshakes() {
	echo hello >"$SCRATCH/index.html"
	serve "$host" 8080
	serve "$client" 8081
	check "attach" weir attach eth0
	check "somebody connects to the host" fetch "$client" http://10.9.0.2:8080/
	check "the same by IPv6" fetch "$client" 'http://[fd09::2]:8080/'
	check "the host connects to somebody" fetch "$host" http://10.9.0.1:8081/
	check_not "and is refused elsewhere" fetch "$host" http://10.9.0.1:8082/
	says "handshakes of the host's server" true endpoint server 8080 \
		'.syn == 2 and .established == 2 and .syn_to_synack_us_p50 > 0'
	says "of the host as a client" true endpoint client 8081 \
		'.syn == 1 and .established == 1 and .synack_to_ack_us_p50 > 0'
	says "and the refused one" true endpoint client 8082 '.refused == 1 and .established == 0'
	check "detach" weir detach eth0
	check "nothing of weir is left" nothing_of_ours
}

pair
in_the_dispatcher
by_a_link
among_filters
handshakes
