#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir attach, detach: modes, updates under traffic, neighbours on the same device, odd devices.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     and one device of each kind, when its turn comes
#        fd09::1/64                fd09::2/64
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
pair

# What a device looks like from outside: programs, filters, qdiscs, offloads.
device_state() { # DEVICE
	ip -n "$host" -j -d link show dev "$1" | jq -c '.[0] | [.xdp, .flags, .mtu, .linkinfo, .qdisc]'
	inside "$host" tc qdisc show dev "$1"
	inside "$host" tc filter show dev "$1" ingress 2>&1
	inside "$host" bpftool net show dev "$1" | grep -vE '^(xdp|tc|flow_dissector|netfilter):' | sort
	inside "$host" ethtool -k "$1" 2>/dev/null | md5sum
}

test_modes() {
	local before
	before=$(device_state eth0)
	for mode in native generic auto; do
		says "attach --mode $mode" "^eth0: attached, XDP ${mode/auto/native} " \
			weir attach eth0 --mode $mode
		holds "status tells the mode" ".devices[0].mode == \"${mode/auto/native}\"" \
			weir -j status
		check "ping passes" pings "$client" 10.9.0.2
		check "detach" weir detach eth0
		equal "detach leaves the device as it was ($mode)" "$before" "$(device_state eth0)"
		check "and no pins" no_pins
	done
	says "attach --xdp-only" "XDP native .*TC off" weir attach eth0 --xdp-only
	equal "no TC program is there" "" \
		"$(inside "$host" bpftool -j net show dev eth0 | jq -r '.[0].tc[]?.name')"
	refuses "another way of attaching is refused while attached" 2 "weir detach eth0" \
		attach eth0 --tc-only
	check "detach" weir detach eth0
	says "attach --tc-only" "XDP off, TC TCX|XDP off, TC clsact" weir attach eth0 --tc-only
	equal "no XDP program is there" "" "$(xdp_program "$host" eth0)"
	check "ping passes" pings "$client" 10.9.0.2
	says "attach --exclusive says link" "link|attached in another way" \
		bash -c "'$WEIR' -n '$host' detach eth0 && '$WEIR' -n '$host' attach eth0 --exclusive"
	equal "the device has the mode's flags: one XDP program" 1 \
		"$(xdp_program "$host" eth0 | wc -w)"
	check "detach --all" weir detach --all
	equal "detach --all leaves the device as it was" "$before" "$(device_state eth0)"
	check "and no pins" no_pins
}

# What is said of segmentation offload, which native XDP takes from the far end of a veth.
attach_tells() { # TEXT yes|no ARGUMENTS...
	local told=no
	check "attach ${*:3}" weir attach eth0 "${@:3}"
	! grep -q "note: eth0: native XDP on veth takes segmentation" "$OUTPUT" || told=yes
	equal "$1" "$2" $told
}

doctor_tells() { # TEXT LEVEL MODE
	holds "$1" ".findings[] | select(.subject == \"eth0\" and .check == \"mode\") |
		.level == \"$2\" and (.found | test(\"$3\"))" weir -j doctor eth0
}

test_segmentation() {
	attach_tells "native, which nobody named: attach tells what that takes" yes
	doctor_tells "the doctor as well" warn "native: .* segmentation"
	attach_tells "a second attach does not repeat it" no
	attach_tells "nor one that names native" no --mode native
	doctor_tells "after which the doctor is content" ok native
	check "detach" weir detach eth0
	attach_tells "who names native knows" no --mode native
	doctor_tells "so does the doctor" ok native
	check "detach" weir detach eth0
	attach_tells "generic mode takes nothing" no --mode generic
	doctor_tells "and is right on veth" ok generic
	check "detach" weir detach eth0
	inside "$client" ethtool -K eth0 tso off tx-udp-segmentation off
	attach_tells "there is nothing to take: no word of it" no
	doctor_tells "from the doctor neither" ok native
	check "detach" weir detach eth0
	inside "$client" ethtool -K eth0 tso on tx-udp-segmentation on
}

test_update() {
	local old new pinged packets lost pulse echo
	weir attach eth0 >/dev/null
	pings "$client" 10.9.0.2 >/dev/null
	await 20 more_than 2 counted eth0 classes.icmp4.packets
	pinged=$(counted eth0 classes.icmp4.packets)
	start "$host" echo 7 || return
	echo=$started
	start "$client" pulse 10.9.0.2 7
	pulse=$started
	await 30 more_than 100 counted eth0 packets
	packets=$(counted eth0 packets)
	old=$(xdp_program "$host" eth0)
	for _ in 1 2 3 4 5; do
		weir attach eth0 >/dev/null
	done
	says "a second attach updates in place" "^eth0: updated" weir attach eth0
	new=$(xdp_program "$host" eth0)
	check "the program is a new one" test "$old" != "$new"
	between "the counters were kept" "$packets" 99999999 "$(counted eth0 packets)"
	equal "also where nothing was added" "$pinged" "$(counted eth0 classes.icmp4.packets)"
	stop "$pulse"
	lost=$said
	equal "no packet was lost while it was replaced" 0 "$lost"
	stop "$echo"
	weir detach eth0 >/dev/null
}

test_neighbours() {
	local foreign
	foreign_program "$host" eth0
	foreign=$(xdp_program "$host" eth0)
	refuses "beside a foreign XDP program attach is refused" 2 "eth0: another XDP program" \
		attach eth0
	refuses "in generic mode too" 2 "eth0: " attach eth0 --mode generic
	equal "the foreign program is untouched" "$foreign" "$(xdp_program "$host" eth0)"
	check "nothing is left of the attempt" no_pins
	check "--tc-only does not mind it" weir attach eth0 --tc-only
	check "detach" weir detach eth0
	equal "the foreign program is still there" "$foreign" "$(xdp_program "$host" eth0)"
	ip -n "$host" link set dev eth0 xdp off

	foreign_filter "$host" eth0
	check_not "a foreign TC filter drops what comes in" pings "$client" 10.9.0.2 1
	check "beside it attach succeeds" weir attach eth0
	check_not "and it still drops" pings "$client" 10.9.0.2 1
	check "detach" weir detach eth0
	check_not "the foreign filter survives" pings "$client" 10.9.0.2 1
	inside "$host" tc qdisc del dev eth0 clsact
	ip -n "$client" neigh flush all # it may have been given up
	check "and only it was in the way" pings "$client" 10.9.0.2 1
}

test_states() {
	weir attach eth0 >/dev/null
	ip -n "$host" link set eth0 down
	check "status with the device down" weir status
	check "update with the device down" weir attach eth0
	ip -n "$host" link set eth0 up
	address "$host" eth0 fd09::2/64 2>/dev/null
	in_service "$client" eth0
	in_service "$host" eth0
	check "ping passes after down and up" pings "$client" 10.9.0.2
	ip -n "$host" link set eth0 down
	ip -n "$host" link set eth0 name lan
	ip -n "$host" link set lan up
	in_service "$client" eth0
	in_service "$host" lan
	check "ping passes after a rename" pings "$client" 10.9.0.2
	holds "status shows the new name" '[.devices[].device] == ["lan"]' weir -j status
	says "attach under the new name updates" "updated" weir attach lan
	check "a rule that exchanges its program" weir rule add drop proto icmp
	check_not "is obeyed" pings "$client" 10.9.0.2 1
	check "and deleted" weir rule flush
	ip -n "$host" link add eth0 type bridge
	refuses "the old name has another owner now" 2 "eth0: lan was attached under this name" \
		attach eth0
	refuses "who is not attached" 2 "eth0 is not attached" detach eth0
	ip -n "$host" link del eth0
	check "detach by the new name" weir detach lan
	equal "the renamed device has no program left" "" "$(xdp_program "$host" lan)"
	check "and no pins" no_pins
	check "attach under the new name" weir attach lan
	ip -n "$host" link set lan down
	ip -n "$host" link set lan name eth0
	ip -n "$host" link set eth0 up
	says "attach after renaming an attached device" "^eth0: (attached|updated)" weir attach eth0
	equal "status shows it once" 1 "$(value '.devices | length' status)"
	check "detach --all" weir detach --all
	equal "no program is left" "" "$(xdp_program "$host" eth0)"
	check "and no pins" no_pins
}

test_kinds() {
	local tun dev dummy=dummy0
	if ip -n "$host" link add link eth0 name eth0.100 type vlan id 100 2>/dev/null; then
		ip -n "$client" link add link eth0 name eth0.100 type vlan id 100
	else
		link "$client" eth0.100 "$host" eth0.100
	fi
	ip -n "$host" link add br0 type bridge
	ip -n "$host" link add dummy0 type dummy 2>/dev/null || dummy=''
	ip -n "$host" tuntap add tun0 mode tun
	ip -n "$host" tuntap add tap0 mode tap
	for dev in eth0.100 br0 $dummy tun0 tap0; do
		ip -n "$host" link set "$dev" up
	done
	address "$host" eth0.100 10.9.100.2/24
	ip -n "$client" link set eth0.100 up
	address "$client" eth0.100 10.9.100.1/24
	in_service "$client" eth0.100
	in_service "$host" eth0.100
	address "$host" tun0 10.9.7.1/24
	for dev in eth0.100 br0 $dummy tun0 tap0 lo; do
		says "attach $dev" "^$dev: attached" weir attach "$dev"
		holds "status names $dev" ".devices[] | select(.device == \"$dev\")" weir -j status
	done
	check "ping through the VLAN device passes" pings "$client" 10.9.100.2
	await 10 more_than 2 counted eth0.100 classes.icmp4.packets
	between "and is counted there" 3 99 "$(counted eth0.100 classes.icmp4.packets)"
	start "$host" tun tun tun0
	tun=$started
	await 20 ip -n "$host" route get 10.9.7.9
	inside "$host" ping -q -c 2 -i 0.01 -W 1 10.9.7.9 >/dev/null
	stop "$tun"
	for dev in eth0.100 br0 $dummy tun0 tap0 lo; do
		check "detach $dev" weir detach "$dev"
	done
	check "no pins are left" no_pins
}

test_altname() {
	ip -n "$host" link property add dev eth0 altname a-name-of-many-characters
	says "attach by another name" "^eth0: attached" weir attach a-name-of-many-characters
	says "a second time" "^eth0: updated" weir attach a-name-of-many-characters
	check "detach by it" weir detach a-name-of-many-characters
	check "no pins are left" no_pins
	ip -n "$host" link property del dev eth0 altname a-name-of-many-characters
}

filters() { # NAMESPACE DEVICE
	inside "$1" tc filter show dev "$2" ingress
	inside "$1" tc filter show dev "$2" egress
}

pretending() { # VARIABLES... -- WEIR-ARGUMENTS...
	local variables=()
	while [ "$1" != -- ]; do
		variables+=("$1")
		shift
	done
	timeout 60 env LD_PRELOAD="$SCRATCH/pretend.so" "${variables[@]}" "$WEIR" -n "$host" "${@:2}"
}

can_pretend() {
	cc -shared -fPIC -O2 -D_GNU_SOURCE -o "$SCRATCH/pretend.so" tests/netns/attach/pretend.c -ldl \
		2>"$OUTPUT"
}

# Two instances in one namespace: what TCX lets live side by side, clsact does not.
test_clsact() {
	local before ours program
	before=$(device_state eth0)
	says "without TCX attach takes clsact" "TC clsact" \
		pretending PRETEND_NO_TCX=1 -- attach eth0 --tc-only
	holds "status sees it" '.devices[0].state == "attached"' weir -j status
	check "a second attach updates" weir attach eth0 --tc-only
	ours=$(filters "$host" eth0)
	equal "two filters are there" 2 "$(grep -c direct-action <<<"$ours")"
	pretending PRETEND_NO_TCX=1 -- --instance "$RUN-other" attach eth0 --tc-only \
		>"$SCRATCH/stdout" 2>"$OUTPUT"
	equal "another instance is refused" 2 $?
	pretending PRETEND_NO_TCX=1 -- --instance "$RUN-other" attach eth0 --tc-only \
		2>"$SCRATCH/refusal"
	check "in one line that names the cause" \
		grep -qE "^weir: eth0: another instance" "$SCRATCH/refusal"
	equal "of one" 1 "$(wc -l <"$SCRATCH/refusal")"
	equal "and leaves the filters as they were" "$ours" "$(filters "$host" eth0)"
	check_not "and no pins" test -e "/sys/fs/bpf/weir/$RUN-other"
	program=$(bpftool -j prog show pinned "$(pins_of "$host")/devices/eth0/tc_ingress" | jq .id)
	rm "$(pins_of "$host")"/devices/eth0/tc_*gress
	check "what an interrupted attach left is found without its pins" weir attach eth0 --tc-only
	check "and replaced" await 30 bash -c "! bpftool prog show id $program"
	inside "$host" tc qdisc del dev eth0 clsact
	holds "its qdisc is deleted: status says that nothing is there" \
		'.devices[0].state == "device is gone"' weir -j status
	says "attach makes it anew" "^eth0: attached" \
		pretending PRETEND_NO_TCX=1 -- attach eth0 --tc-only
	check "detach" weir detach eth0
	equal "leaves the device as it was" "$before" "$(device_state eth0)"
	check "and no pins" no_pins
}

# XDP asks TC for what it cannot do itself: it may ask only while TC listens.
test_order() {
	local log=$SCRATCH/replaced
	link "$client" eth1 "$host" eth1
	: >"$log"
	weir attach eth0 >/dev/null
	weir rule add pass proto 99 >/dev/null
	check "a redirect" pretending PRETEND_LOG="$log" -- rule add redirect eth1 proto 200
	equal "TC is ready before XDP asks" "tc tc xdp " "$(cat "$log")"
	: >"$log"
	pretending PRETEND_LOG="$log" PRETEND_KILL=1 -- rule del 2 >/dev/null 2>&1
	equal "without it XDP ends first" "xdp " "$(cat "$log")"
	: >"$log"
	check "and a change after a crash in between" \
		pretending PRETEND_LOG="$log" -- rule add pass proto 98
	says "ends it in TC" "tc tc" cat "$log"
	check "detach" weir detach eth0
	check "flush" weir rule flush
	ip -n "$host" link del eth1
}

test_clock() {
	check "attach while the clock is an hour ahead" pretending PRETEND_LATER=3600 -- attach eth0
	holds "then it is set right" '.devices[0].attached_seconds | . >= 0 and . < 60' weir -j status
	holds "stats agree" '.attached_seconds | . >= 0 and . < 60' \
		weir -j stats -i 0.05 -c 1
	check "detach" weir detach eth0
}

test_wrong() {
	refuses "a device that does not exist" 2 "nodev.*does not exist" attach nodev
	refuses "a name that is too long" 2 "does not exist" attach abcdefghijklmnopqrst
	refuses "an empty name" 2 "does not exist" attach ""
	refuses "a path as a name" 2 "does not exist" attach ../eth0
	refuses "a mode that does not exist" 1 "mode 'fast'" attach eth0 --mode fast
	refuses "two devices" 1 "eth1" attach eth0 eth1
	refuses "--xdp-only with --tc-only" 1 "nothing to attach" attach eth0 --xdp-only --tc-only
	refuses "offload where the driver cannot" 2 "offload" \
		attach eth0 --mode offload --xdp-only
	refuses "detach of what is not attached" 2 "eth0 is not attached" detach eth0
	refuses "detach of nothing" 1 "detach: a device or --all is missing" detach
	check "nothing was made" no_pins
	equal "nothing was attached" "" "$(xdp_program "$host" eth0)"
	check "detach --all of nothing" weir detach --all
	check "and nothing is left" no_pins
}

test_modes
test_segmentation
test_update
test_neighbours
test_states
test_kinds
test_altname
if can_pretend; then
	test_clsact
	test_order
	test_clock
else
	skip "other kernels, crashes, clocks" "no compiler"
fi
test_wrong
