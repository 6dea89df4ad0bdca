#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir.sh [BINARY]
# weir among others on one device, where the kernel can share it: XDP programs in libxdp's
# dispatcher, TC filters in clsact, or TCX links. Meant for tests/vm/run.sh: the kernel must
# know freplace.
export WEIR=${1:-build/weir} WEIR_TIMEOUT=60
# shellcheck source=tests/netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../netns/lib.sh"

objects=$(echo /usr/lib/*/bpf/xdpfilt_alw_tcp.o)
objects=${objects%/*}
tc_way=clsact
if grep -qw tcx_link_attach /proc/kallsyms; then
	tc_way='link'
fi

ping_some() { # COUNT
	inside "$client" busybox ping -q -i 0.02 -W 1 -c "$1" 10.9.0.2
}

# One "priority name id" a line, in the order in which they run.
chain() {
	inside "$host" xdp-loader status eth0 | awk '$1 == "=>" { print $2, $3, $4 }'
}

names_in_chain() {
	chain | awk '{ printf "%s%s", sep, $2; sep = " " }'
}

id_in_chain() { # NAME
	chain | awk -v name="$1" '$2 == name { print $3 }'
}

# Packets that one of xdp-filter's programs has let through. The values' BTF has two fields for
# one number, so bpftool's bytes are read.
seen_by() { # PROGRAM-ID
	local map
	for map in $(bpftool -j prog show id "$1" | jq -r '.map_ids[]'); do
		[ "$(bpftool -j map show id "$map" | jq -r .name)" = xdp_stats_map ] || continue
		bpftool -j map dump id "$map" | jq 'def number: ltrimstr("0x") | explode |
			reduce .[] as $digit (0; . * 16 + $digit - if $digit > 96 then 87 else 48 end);
			[.[].values[].value[:3] | (.[0] | number) + 256 * (.[1] | number) +
				65536 * (.[2] | number)] | add'
	done
}

# Packets that the user's filter of that priority has seen.
filter_packets() { # PRIORITY
	inside "$host" tc -s -j filter show dev eth0 ingress |
		jq --argjson pref "$1" '[.[] | select(.pref == $pref) |
			.options.actions[]?.stats.packets] | add'
}

user_filters() {
	inside "$host" tc -j filter show dev eth0 ingress |
		jq -c '[.[] | select(.kind == "matchall") | .pref] | unique'
}

# Runs a command while packets flow. What replaces must not interrupt: from the first reply to the
# last each has come, once, whatever is still on its way at the end.
without_loss() { # TEXT COMMAND...
	local pinging replies=$SCRATCH/replies
	nsenter --net="/run/netns/$client" busybox ping -i 0.02 10.9.0.2 >"$replies" 2>&1 &
	pinging=$!
	await 5 grep -q seq=5 "$replies"
	check "$1" "${@:2}"
	sleep 0.5
	kill -INT "$pinging"
	wait "$pinging"
	sed -n 's/.* seq=\([0-9]*\) .*/\1/p' "$replies" | awk '
		$1 != NR - 1 && !bad { bad = 1; print "reply " NR " is of packet " $1 }
		END { print NR " replies"; exit bad || NR < 20 }' >"$OUTPUT"
	report $? "$1: no packet lost"
}

nothing_of_ours() {
	! find /sys/fs/bpf -path '*weir*' | grep . && ! bpftool prog show | grep weir &&
		! bpftool map show | grep -E 'name (counters|rules|rule_counters|handshakes|weir)'
}

served() { # PORT: the client fetches something from the host
	inside "$client" busybox wget -q -T 5 -O /dev/null "http://10.9.0.2:$1/"
}

in_the_dispatcher() {
	local before after first seen
	check "a program is there first" inside "$host" xdp-loader load -m native eth0 \
		"$objects/xdpfilt_alw_tcp.o"
	before=$(id_in_chain xdpfilt_alw_tcp)
	says "weir attaches beside it" "dispatcher.*TC $tc_way" \
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

pair
in_the_dispatcher
by_a_link
among_filters
