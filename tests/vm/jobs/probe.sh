#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the kernel that runs this can do, one "name: value" a line. It loads and attaches each
# thing rather than asking the version. Meant for a VM: it leaves its devices behind.
set -u

objects=$(echo /usr/lib/*/bpf/xdpfilt_alw_tcp.o)
objects=${objects%/*}
scratch=$(mktemp -d)

# try NAME COMMAND...: "yes", or the first line of the complaint.
try() {
	local name=$1 complaint

	shift
	if complaint=$("$@" 2>&1); then
		echo "$name: yes"
	else
		echo "$name: no ($(head -1 <<<"$complaint"))"
	fi
}

dispatcher() {
	ip link add probe0 type veth peer name probe1
	ip link set probe0 up
	ip link set probe1 up
	xdp-loader load -m native probe0 "$objects/xdpfilt_alw_tcp.o" &&
		xdp-loader load -m native probe0 "$objects/xsk_def_xdp_prog.o" || return 1
	[ "$(xdp-loader status probe0 | grep -c '=>')" = 2 ] || {
		echo "two programs were accepted, but they are not in one chain"
		return 1
	}
}

tracepoint() {
	cat >"$scratch/tp.bpf.c" <<-'END'
		#include <linux/bpf.h>
		#include <bpf/bpf_helpers.h>
		SEC("tp_btf/sched_switch") int switched(void *ctx) { return 0; }
		char _license[] SEC("license") = "GPL";
	END
	clang -O2 -g -target bpf -idirafter "/usr/include/$(gcc -print-multiarch)" \
		-c "$scratch/tp.bpf.c" -o "$scratch/tp.o" &&
		bpftool prog load "$scratch/tp.o" "/sys/fs/bpf/probe$$"
}

tcx() {
	grep -qw tcx_link_attach /proc/kallsyms || {
		echo "needs kernel 6.6"
		return 1
	}
}

native_virtio() {
	local device

	modprobe virtio_net
	udevadm settle 2>/dev/null || sleep 0.5
	device=$(basename "$(dirname "$(grep -lsx 'DRIVER=virtio_net' /sys/class/net/*/device/uevent |
		head -1 | xargs -r dirname)")")
	[ -n "$device" ] || {
		echo "no such device"
		return 1
	}
	ip link set "$device" up && xdp-loader load -m native "$device" "$objects/xdpfilt_alw_tcp.o"
}

echo "kernel: $(uname -r)"
try "libxdp dispatcher with two programs on veth, native" dispatcher
try "tp_btf" tracepoint
try "clsact" tc qdisc add dev probe0 clsact
try "TCX" tcx
try "native XDP on virtio-net" native_virtio
try "BTF of the kernel" test -r /sys/kernel/btf/vmlinux
try "BTF of modules" test -r /sys/kernel/btf/veth
echo "seconds since boot: $(cut -d' ' -f1 /proc/uptime)"
rm -r "$scratch"
