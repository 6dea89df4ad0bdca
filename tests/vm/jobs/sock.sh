#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# sock.sh [BINARY]
# Local sockets on another kernel: across veth and through DNAT and source NAT, IPv4 and IPv6, every
# byte checked; what FIONREAD, splice() and sleeping readers see where the stream verdict is not
# needed; and the way back to TCP. Kernels without what it takes must refuse with one line. Meant
# for tests/vm/run.sh: the kernel must know nftables' NAT.
#
#   client ---- host (forwards, NAT) ---- server       topology.sh: line
WEIR=$(realpath "${1:-build/weir}")
export WEIR WEIR_TIMEOUT=60 SOCK_TIMEOUT=120
# shellcheck source=tests/vm/jobs/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tests/sock/lib.sh
. tests/sock/lib.sh

SMALL=(stress --conns 6 --seconds 6 --think 4 --bulk 60000 --hang 30)

nothing_of_sockets() {
	no_pins "$host" && ! bpftool prog show | grep weir &&
		! bpftool map show | grep -E 'name (ends|pairs|births|sockets|totals)'
}

refused() {
	local group
	refuses "attach is refused: what is missing, since when it is there, what that means" 2 \
		'^weir: sockets: this kernel, 6\.[0-9.]+[^,]*, lacks tracepoints .*\(since Linux 6\.3\).*: nothing was attached, all goes by TCP$' \
		sock attach "$GROUP"
	group=$(cgroup_path "$GROUP")
	check "no program is attached to the cgroup" test -z "$(bpftool cgroup show "$group")"
	check "nothing of it is left" nothing_of_sockets
	holds "show has nothing" '.cgroups == []' weir -j sock show
	check "traffic" sock_in "$client" "$GROUP" "${SMALL[@]}"
	check "detach --all is no error" weir sock detach --all
}

nat() {
	inside "$host" nft -f - <<-EOF
		table ip weir {
			chain in {
				type nat hook prerouting priority dstnat
				ip daddr 10.9.1.2 tcp dport 7777 dnat to 10.9.2.1:5555
			}
			chain out {
				type nat hook postrouting priority srcnat
				oifname eth1 masquerade
			}
		}
		table ip6 weir {
			chain in {
				type nat hook prerouting priority dstnat
				ip6 daddr fd09:1::2 tcp dport 7777 dnat to [fd09:2::1]:5556
			}
			chain out {
				type nat hook postrouting priority srcnat
				oifname eth1 masquerade
			}
		}
	EOF
}

# What weir counts at a port, of pairs that live and of those that are gone.
shown() { # PORT FIELD
	value "[.cgroups[].by_port[] | select(.port == $1) | .$2] | add // 0" sock show
}

stress() { # NAME PORT SERVER-NAMESPACE ARGUMENTS...
	sock_start "$SCRATCH/$1" "$client" "$GROUP" "${SMALL[@]}" --port "$2" \
		--client-netns "$client" --server-netns "$3" "${@:4}"
}

# The bytes that TCP did not send are those that weir says it has short-cut. TCP may send some twice.
stress_is_right() { # NAME PORT
	local counted
	told "$1: every byte right, most of the streams short-cut" \
		'.right == .streams and .short_cut_streams * 2 > .streams' "$SCRATCH/$1"
	counted=$(shown "$2" bytes)
	between "$1: weir counted what TCP did not send" \
		"$(jq '.bytes - .bytes_by_tcp' "$SCRATCH/$1")" \
		"$(jq '.bytes - .bytes_by_tcp + 10000' "$SCRATCH/$1")" "$counted"
}

everywhere() {
	check "nft has NAT" nat
	stress loopback 5001 "$client"
	stress loopback6 5002 "$client" --family 6
	sock_wait
	stress veth 5003 "$host" --listen 10.9.1.2
	stress veth6 5004 "$host" --family 6 --listen fd09:1::2
	sock_wait
	stress nat 5555 "$server" --listen 10.9.2.1 --to 10.9.1.2,7777
	stress nat6 5556 "$server" --family 6 --listen fd09:2::1 --to fd09:1::2,7777
	sock_wait
	stress_is_right loopback 5001
	stress_is_right loopback6 5002
	stress_is_right veth 5003
	stress_is_right veth6 5004
	stress_is_right nat 5555
	stress_is_right nat6 5556
	between "conntrack saw the NAT" 1 1000 \
		"$(inside "$host" nft -j list ruleset | jq '[.. | .chain? | objects] | length')"
}

warm_trap() { # FILE NAME ARGUMENTS...
	sock_in "$client" "$GROUP" trap "$2" --warm 3000 --warm-pause 5000 "${@:3}" \
		>"$SCRATCH/$1" 2>"$SCRATCH/$1.errors"
}

one_socket() {
	sock_in "$client" "$GROUP" trap fionread >"$SCRATCH/fionread" 2>"$SCRATCH/fionread.errors"
	told "FIONREAD on TCP" '.right' "$SCRATCH/fionread"
	warm_trap fionread-short fionread
	told "FIONREAD of short-cut bytes" '.right and .warm.short_cut' "$SCRATCH/fionread-short"
	warm_trap splice splice
	told "a reader that splices: everything arrives, by TCP" '.right and .bytes_by_tcp > 0' \
		"$SCRATCH/splice"
	warm_trap splice-late splice-late
	told "one that splices later: short-cut bytes are not there for it, and stay for recv" \
		'.warm.short_cut and .spliced == 0 and .left_for_recv.bytes == .sent and
			.left_for_recv.wrong_at == -1' "$SCRATCH/splice-late"
	warm_trap blocking blocking --blocking late
	told "a reader that sleeps in recv later" '.right and .warm.short_cut' "$SCRATCH/blocking"
	# The stream verdict makes MSG_WAITALL return what is there, whichever way it came.
	if [ "$verdict" = 0 ]; then
		warm_trap waitall waitall
		told "a reader that sleeps for MSG_WAITALL later" '.right and .warm.short_cut' \
			"$SCRATCH/waitall"
	fi
	warm_trap slow slow-reader
	told "a slow reader: memory is bounded, the sender is stopped" \
		'.right and .warm.short_cut and .stopped_by == "EAGAIN" and .reader_memory < 2000000' \
		"$SCRATCH/slow"
	warm_trap edge edge
	told "EPOLLET" '.right and .warm.short_cut' "$SCRATCH/edge"
}


# What is sent while the pair is switched back and forth is neither lost nor out of order.
flapping() {
	stress flapping 5007 "$host" --listen 10.9.1.2 --seconds 24
	for _ in 1 2; do
		check "attach under load" weir sock attach "$GROUP"
		check "some connections are short-cut" await 8 some_short_cut 5007
		sleep 0.5
		check "detach under load" weir sock detach "$GROUP"
		check "nothing is left" nothing_of_sockets
	done
	sock_wait
	told "flapping: every byte right" '.right == .streams and .bytes > .bytes_by_tcp' \
		"$SCRATCH/flapping"
}

some_short_cut() { # PORT
	connections "select(.state == \"shortcut\" and .port == $1)" | grep -q .
}

tender() {
	weir -j sock show | jq -e '.tender_process // empty'
}

# Connections from before the attach, and what they do when the tender is killed.
older() {
	local pid
	sock_start "$SCRATCH/older" "$client" "$GROUP" pairs --conns 5 --rate 20 --seconds 30 \
		--client-netns "$client" --server-netns "$server" --listen 10.9.2.1 --port 6001
	sleep 1
	check "attach" weir sock attach "$GROUP"
	check "connections that are older are short-cut" \
		await 15 connections_are 5 shortcut '.port == 6001'
	pid=$(tender)
	kill -KILL "$pid"
	check "its tender is killed" await 5 test ! -e "/proc/$pid"
	says "show says so" 'nobody tends|no process tends' weir sock show
	check "attach starts another one" weir sock attach "$GROUP"
	check_not "which is not the same" test "$(tender)" = "$pid"
	equal "what was short-cut is so still" 5 \
		"$(connections 'select(.state == "shortcut" and .port == 6001)' | wc -l)"
	holds "detach gives all of them back to TCP" \
		'.sockets_released == 10 and .sockets_kept == 0 and .sockets_forced == 0' \
		weir -j sock detach "$GROUP"
	check "nothing is left, though they are open" nothing_of_sockets
	sock_wait
	told "they go on by TCP" '.right and .exchanges_short_cut > 0 and .bytes_by_tcp > 0' \
		"$SCRATCH/older"
}

# A socket that has short-cut bytes unread, or a reader asleep, must stay; one whose unread bytes came
# by TCP may go where these are TCP's own still, which is so without the stream verdict.
left_in_any_state() {
	local released=6 pid
	check "attach" weir sock attach "$GROUP"
	[ "$verdict" = 0 ] || released=5
	cgroup_background "$GROUP" nsenter --net="/run/netns/$client" timeout 120 \
		python3 tests/vm/jobs/sock_left.py "$SCRATCH/ready" "$SCRATCH/go" \
		>"$SCRATCH/left" 2>"$SCRATCH/left.errors"
	pid=$!
	check "one connection in each state" await 60 test -e "$SCRATCH/ready"
	holds "detach releases what may go" ".sockets_released == $released and
		.sockets_kept == $((10 - released)) and .sockets_forced == 0" \
		weir -j sock detach "$GROUP"
	touch "$SCRATCH/go"
	wait "$pid"
	for state in idle unread unread_of_tcp unread_of_both asleep; do
		told "$state: every byte is read, what follows goes by TCP" \
			".$state.right and .$state.bytes_by_tcp >= 35" "$SCRATCH/left"
	done
	check "nothing is left" await 5 nothing_of_sockets
}

line
if [[ $(uname -r) = 6.1.* ]]; then
	cgroup_make "$GROUP"
	refused
	exit
fi
sock_begin
check "attach" weir sock attach "$GROUP"
verdict=$(bpftool -j prog show | jq '[.[] | select(.name == "weir_received")] | length')
echo "# FIONREAD $([ "$verdict" = 0 ] && echo is right without || echo needs) the stream verdict"
everywhere
one_socket
check "detach" weir sock detach "$GROUP"
check "nothing is left" nothing_of_sockets
older
flapping
left_in_any_state
