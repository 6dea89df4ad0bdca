#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# deps.sh [GROUP...]: installs the packages of these groups, where some are missing and apt is there to do
# it: build run tests, unless told otherwise.
set -euo pipefail

declare -A group=(
	[build]="clang llvm gcc make bpftool libbpf-dev libxdp-dev libelf-dev zlib1g-dev linux-libc-dev
		libmnl-dev libjansson-dev libncurses-dev"
	[run]="iproute2 procps util-linux ethtool"
	[tests]="libcmocka-dev xdp-tools nginx-light wrk curl iputils-ping python3 jq tmux nftables"
	[vm]="qemu-system-x86 busybox-static cpio kmod" # other kernels
	# The containers' demo, as far as the machine has no Docker, no compose, no registry.
	[demo]="python3 iproute2 util-linux procps ethtool"
	[engine]="docker.io"
	[compose]="docker-compose"
	[base]="mmdebstrap"
)
[ $# != 0 ] || set -- build run tests ${WEIR_VM:+vm}
packages=
for name; do
	[ -n "${group[$name]:-}" ] || { echo "deps.sh: no group $name; there are ${!group[*]}" >&2; exit 2; }
	packages+=" ${group[$name]}"
done

if ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: this is no Debian. weir needs these packages or what they are called here:" >&2
	# shellcheck disable=SC2086
	echo " " $packages >&2
	exit 0
fi

missing=
for package in $packages; do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
		missing+=" $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: missing:$missing; run 'sudo tests/deps.sh $*'" >&2
	exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
# What is installed must not start as a service on the machine of somebody who only wants a demo.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi
# A mirror may fail once, or another apt have the lock.
patient=(-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
for pause in 5 20 0; do
	# shellcheck disable=SC2086
	if apt-get "${patient[@]}" update -qq &&
		apt-get "${patient[@]}" install -y -qq --no-install-recommends $missing >/dev/null; then
		exit
	fi
	sleep $pause
done
exit 1
