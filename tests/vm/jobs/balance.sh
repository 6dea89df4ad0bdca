#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# balance.sh [BINARY [PART]...]: parts are dsr_l2, dsr_ipip, nat and shared; all, if none is named.
# The balancer where kernels differ. Modes: connections that carry checked data through each of them,
# both families at once, while a backend drains, another one comes and weir is upgraded; by TC where
# the far ends take no frames from XDP. shared: beside another program in libxdp's dispatcher, where
# that takes programs that move packet data; where it does not, one line says so and nothing changes.
# Meant for tests/vm/run.sh: the kernel must know freplace.
export WEIR=${1:-build/weir} WEIR_TIMEOUT=90
shift
# shellcheck source=tests/vm/jobs/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tests/churn/lib.sh
. tests/churn/lib.sh

tc_way=clsact
grep -qw tcx_link_attach /proc/kallsyms && tc_way='link'
source4='' source6=''

# By somebody else's program: does the dispatcher take one that moves packet data?
dispatcher_takes_movers() {
	local answer=1
	printf '%s\n' '#include <linux/bpf.h>' \
		'static long (*move)(void *, int) = (void *)54;' \
		'__attribute__((section("xdp"), used)) int mover(struct xdp_md *c) {' \
		'	return move(c, 0) ? XDP_ABORTED : XDP_PASS; }' \
		'__attribute__((section("license"), used)) char gpl[] = "GPL";' |
		clang -target bpf -O2 -g -idirafter "/usr/include/$(gcc -print-multiarch)" -x c -c - \
			-o "$SCRATCH/mover.o"
	namespace "$RUN-probe"
	ip -n "$RUN-probe" link add probe0 type veth peer name probe1
	inside "$RUN-probe" xdp-loader load -m native probe0 "$objects/xdpfilt_alw_tcp.o" &&
		inside "$RUN-probe" xdp-loader load -m native probe0 "$SCRATCH/mover.o" &&
		[ "$(inside "$RUN-probe" xdp-loader status probe0 | grep -c '=>')" = 2 ] && answer=0
	return $answer
} >"$OUTPUT" 2>&1

begin() { # SHAPE
	local i
	site "$1" 3
	host=${balancers[0]}
	[ "$far" != xdp ] || foreign_program "$router" lb1
	serve_all && add_services 1 && add_backend 1 1 && add_backend 1 2
}

attach() {
	weir attach eth0 || return
	[ "$mode" = dsr-ipip ] || return 0
	for i in "${!backends[@]}"; do
		timeout 90 "$WEIR" -n "${backends[i]}" attach eth0 --decap || return
	done
}

drain_first() {
	weir backend drain tcp "$(vip 4)" "$(backend_name 4 1)" &&
		weir backend drain tcp "$(vip 6)" "$(backend_name 6 1)"
}

sent() { # VERDICT
	counted eth0 "verdicts.$1.packets"
}

# The kernel keeps backends' addresses by itself: two backends, each by one or two of its addresses.
managed() {
	local n
	n=$(ip -n "$host" neigh show | grep -c managed)
	[ "$mode" = dsr-ipip ] || [ "$n" -ge 4 ]
}

under_load() { # TEXT
	check "$1: load" load_begin -c 60 -l 20 -t 95
	sleep 1
	check "$1: a backend drains" drain_first
	sleep 1
	check "$1: another one comes" add_backend 1 3
	check "$1: an upgrade" weir attach eth0
	sleep 2
	check "$1: all the while under load" kill -0 $loading
	load_end
	unbroken "$1: a drain, an add, an upgrade"
	equal "$1: all backends were used" '["b1","b2","b3"]' "$(told '.servers | keys | tojson')"
}

# Where the kernel does not tell whether a veth's far end takes frames, TC transmits as well.
through() { # MODE SHAPE WAY
	local text="$1, $3" way=tx
	mode=$1 far=$3
	check "$text: services, backends, servers" begin "$2"
	check "$text: attached" attach
	check "$text: neighbours are managed" managed
	holds "$text: TC is there" ".devices[0].tc == \"$tc_way\" and .devices[0].mode == \"native\"" \
		weir -j status
	under_load "$text"
	if [ "$far" = tc ] || ! grep -qw netdev_nl_dev_get_doit /proc/kallsyms; then
		way=redirect
	fi
	between "$text: by $way" 200 9999999 "$(sent $way)"
	check "$text: detached" weir detach --all
	rest
}

status_and_services() {
	weir -j status | jq -c '[.devices[] | {device, mode, xdp, tc, decap}]'
	weir -j service list | jq -c .
	bpftool -j prog show | jq -c '[.[] | select(.type == "xdp" or .type == "ext") | .name] | sort'
}

unchanged() { # TEXT
	equal "$1: nothing has changed" "$before" "$(status_and_services)"
	check "$1: packets pass" inside "$router" busybox ping -q -i 0.02 -W 1 -c 10 10.9.2.1
}

in_the_dispatcher() {
	check "one of them balances beside another program" weir attach eth0
	equal "both run, in order" "xdpfilt_alw_tcp weir_balance" "$(names_in_chain)"
	under_load "shared device"
	equal "both still run" "xdpfilt_alw_tcp weir_balance" "$(names_in_chain)"
	says "unpacking tunnels as well" 'dispatcher.*unpacks' weir attach eth0 --decap
	equal "both still run" "xdpfilt_alw_tcp weir_balance" "$(names_in_chain)"
	check "the services go" weir service del tcp "$(vip 4)"
	check "both" weir service del tcp "$(vip 6)"
	check "attached anew" eval "weir detach eth0 && weir attach eth0"
	equal "it only counts" "xdpfilt_alw_tcp weir_xdp" "$(names_in_chain)"
	check "services on an attached device" add_services 1
	equal "it balances" "xdpfilt_alw_tcp weir_balance" "$(names_in_chain)"
}

not_in_the_dispatcher() {
	local says="libxdp's dispatcher.* moves? packet data.*weir attach eth0 --exclusive"
	local before
	before=$(status_and_services)
	refuses "with services there is no place beside another program" 2 \
		"$says.*once other XDP programs are off" attach eth0
	unchanged "not attached"
	check "the other one goes" inside "$host" xdp-loader unload eth0 --all
	says "alone weir takes a link by itself" 'native \(link\)' weir attach eth0
	check "detached" weir detach eth0
	check "the services go" weir service del tcp "$(vip 4)"
	check "both" weir service del tcp "$(vip 6)"

	says "counting goes by the dispatcher" dispatcher weir attach eth0
	before=$(status_and_services)
	refuses "services do not, then" 2 "$says" service add tcp "$(vip 4)" mode dsr-l2
	unchanged "no service"
	refuses "nor do tunnels' ends" 2 "$says --decap" attach eth0 --decap
	unchanged "no --decap"
	check "what is advised" eval "weir detach eth0 && weir attach eth0 --exclusive"
	check "makes services possible" add_services 1
	check "with backends" add_backend 1 1
	check "and tunnels' ends" weir attach eth0 --decap
	holds "all by one link" '.devices[0] | .xdp == "link" and .decap' weir -j status
}

shared() {
	local takes=1
	mode=dsr-l2 far=tc
	dispatcher_takes_movers && takes=0
	check "services, backends, servers" begin lan
	check "another program is there first" inside "$host" xdp-loader load -m native eth0 \
		"$objects/xdpfilt_alw_tcp.o"
	if [ $takes = 0 ]; then
		in_the_dispatcher
	else
		not_in_the_dispatcher
	fi
	check "detached" weir detach --all
	rest
}

dsr_l2() {
	through dsr-l2 lan tc
	through dsr-l2 lan xdp
}

dsr_ipip() {
	through dsr-ipip routed xdp
}

nat() {
	source4=$SOURCE4 source6=$SOURCE6 through nat lan xdp
}

[ $# != 0 ] || set -- dsr_l2 dsr_ipip nat shared
for part; do
	$part
done
