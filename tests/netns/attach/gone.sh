#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Devices and namespaces that disappear: it is said, cleaned up by the next change, and no error for
# ever.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here
#   eth1 -------------------- eth1                 and here, until it is gone
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
pair
link "$client" eth1 "$host" eth1

# A namespace's devices, and with them the far ends of its veths, go a while after its name.
devices_are_gone() {
	! ip -n "$client" link show eth0
}

test_device() {
	weir rule add drop dev eth1 proto udp >/dev/null
	weir rule add redirect eth1 proto 200 >/dev/null
	ip -n "$host" link del eth1
	holds "status says which device is gone" \
		'.devices[] | select(.device == "eth1") | .state == "device is gone"' weir -j status
	says "stats shows the other" "eth0" weir stats
	check "drop show as well" weir drop show
	check "handshake show as well" weir handshake show
	check "doctor has a word for it" bash -c "'$WEIR' -n '$host' doctor | grep eth1"
	check "a change succeeds" weir rule add drop proto 201
	holds "and has cleaned up" '[.devices[].device] == ["eth0"]' weir -j status
	check "its pins are gone" test ! -e "$(pins_of "$host")/devices/eth1"
	equal "the rules that name it stay" 3 "$(value '.rules | length' rule list)"
	check "ping passes" pings "$client" 10.9.0.2
	refuses "detach of it" 2 "eth1 is not attached" detach eth1
	link "$client" eth1 "$host" eth1
	address "$client" eth1 10.9.1.1/24
	address "$host" eth1 10.9.1.2/24
	check "another of this name is attached" weir attach eth1
	check "ping passes there" pings "$client" 10.9.1.2
	start "$host" sink 5000 --wanted 20
	traffic "$client" send 10.9.1.2 5000 20 >/dev/null
	traffic "$client" send 10.9.0.2 5000 20 >/dev/null
	stop "$started"
	equal "the rule that names it is in force for the new one" 20 "$said"
	ip -n "$host" link del eth1
	check "detach of a device that is gone" weir detach eth1
	ip -n "$host" link del eth0
	link "$client" eth0 "$host" eth0
	address "$client" eth0 10.9.0.1/24
	address "$host" eth0 10.9.0.2/24
	says "gone and back, attached anew in one step" "^eth0: attached" weir attach eth0
	check "ping passes" pings "$client" 10.9.0.2
	equal "its counters begin anew" true "$(value '.packets < 40' stats eth0 -i 0.05 -c 1)"
	ip -n "$host" link del eth0
	check "detach --all with every device gone" weir detach --all
	check "no pins are left" no_pins
}

test_namespace() {
	link "$client" eth0 "$host" eth0
	weir attach eth0 >/dev/null
	weir rule add drop proto udp >/dev/null
	ip netns del "$host"
	await 60 devices_are_gone
	namespace "$host"
	link "$client" eth0 "$host" eth0
	address "$client" eth0 10.9.0.1/24
	address "$host" eth0 10.9.0.2/24
	holds "a new namespace of the same name: nothing is attached there" '.devices == []' \
		weir -j status
	equal "no rule is left of the old one" 0 "$(value '.rules | length' rule list)"
	says "attach" "^eth0: attached" weir attach eth0
	check "ping passes" pings "$client" 10.9.0.2
	check "a rule" weir rule add drop proto icmp
	check_not "is obeyed" pings "$client" 10.9.0.2 1
	ip netns del "$host"
	await 60 devices_are_gone
	namespace "$host"
	check "detach --all in a new namespace of the same name" weir detach --all
	check "no pins are left" no_pins
}

# An ifindex and the inode of a namespace have other owners later.
test_namesakes() {
	local index inode
	link "$client" eth0 "$host" eth0
	link "$client" eth1 "$host" eth1
	check "attach" weir attach eth1
	index=$(ip -n "$host" -j link show eth1 | jq '.[0].ifindex')
	ip -n "$host" link del eth1
	ip -n "$host" link add eth1 index "$index" type bridge
	holds "another device of this name and index: the one that was attached is gone" \
		'.devices[0].state == "device is gone"' weir -j status
	says "attach" "^eth1: attached" weir attach eth1
	check "its program is there" test -n "$(xdp_program "$host" eth1)"
	bpftool link detach pinned "$(pins_of "$host")/devices/eth1/tc_ingress"
	says "attach of what was taken off in part" "^eth1: updated" weir attach eth1
	check "puts it back, or it could not be taken off again" \
		bpftool link detach pinned "$(pins_of "$host")/devices/eth1/tc_ingress"
	bpftool link detach pinned "$(pins_of "$host")/devices/eth1/xdp"
	check "so does any change" weir rule add drop proto udp
	check "the program is back" test -n "$(xdp_program "$host" eth1)"

	inode=$(stat -Lc %i "/run/netns/$host")
	ip netns del "$host"
	await 60 devices_are_gone
	namespace "$host"
	[ "$inode" = "$(stat -Lc %i "/run/netns/$host")" ] ||
		echo "# the new namespace has another inode"
	ip -n "$host" link add eth1 index "$index" type bridge
	holds "the same in a namespace after it: nothing is attached" '.devices == []' weir -j status
	equal "no rule is left" 0 "$(value '.rules | length' rule list)"
	says "attach" "^eth1: attached" weir attach eth1
	check "its program is there" test -n "$(xdp_program "$host" eth1)"
}

test_held_namespace() {
	local program
	program=$(xdp_program "$host" eth1)
	touch "$SCRATCH/held"
	mount --bind "/run/netns/$host" "$SCRATCH/held"
	ip netns del "$host"
	namespace "$host"
	refuses "a namespace that lost its name lives, and its pins" 2 "another network namespace" \
		attach lo
	equal "the program is still there" "$program" "$(nsenter --net="$SCRATCH/held" \
		ip -j -d link show dev eth1 | jq -r '.[0].xdp.prog.id // empty')"
	bpftool link detach pinned "$(pins_of "$host")/devices/eth1/xdp"
	for link in tc_ingress tc_egress; do
		bpftool link detach pinned "$(pins_of "$host")/devices/eth1/$link"
	done
	refuses "even with nothing attached in it" 2 "another network namespace" attach lo
	await 60 umount "$SCRATCH/held" # who looks for namespaces holds them for a moment
	# The inode of the one that is gone is given to the next one made: nobody must make one meanwhile.
	check "attach when it is gone" await 60 weir attach lo
	check "detach --all" weir detach --all
	check "no pins are left" no_pins
}

check "attach" weir attach eth0
check "attach the other" weir attach eth1
test_device
test_namespace
test_namesakes
test_held_namespace
