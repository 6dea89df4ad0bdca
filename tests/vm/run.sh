#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# run.sh KERNEL JOB.sh [ARGUMENT...]
# Boots Debian's KERNEL (fetch.sh knows which) under QEMU without KVM and runs bash JOB.sh in it as root, in
# the directory of the repository. The guest sees the host's files, may write anywhere and
# changes nothing: writes end in its memory, but for $WEIR_VM_OUT, which is copied to
# the host's $WEIR_VM_OUT if that is set.
#
# Output and exit status are the job's. 2: the VM could not be started; 125: the guest died or
# hung before the job had ended (the last console lines follow); 124: WEIR_VM_TIMEOUT seconds.
#
# WEIR_VM_CACHE    where kernels are kept (build/vm)     WEIR_VM_TIMEOUT  seconds, boot included (540)
# WEIR_VM_CPUS     (2)                                   WEIR_VM_MEMORY   MiB (2048)
# WEIR_VM_ICOUNT   1: one CPU that spends one virtual nanosecond per instruction
set -euo pipefail

if [ $# -lt 2 ]; then
	sed -n '3,16s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
kernel=$1 job=$(readlink -f "$2")
shift 2
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin

for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio modprobe:kmod; do
	command -v "${tool%:*}" >/dev/null || {
		echo "run.sh: ${tool%:*} is missing: install ${tool#*:}" >&2
		exit 2
	}
done
[ -f "$job" ] || {
	echo "run.sh: no job $job" >&2
	exit 2
}

image=$("$here/fetch.sh" "$kernel")
image=$(readlink -f "$image")
version=$(cat "$image/version")
run=$(mktemp -d "${TMPDIR:-/tmp}/weir-vm.XXXXXX")
qemu=
# shellcheck disable=SC2317 # called by the traps
clean_up() {
	trap '' INT TERM HUP
	if [ -n "$qemu" ] && kill -0 "$qemu" 2>/dev/null; then
		kill "$qemu"
		wait "$qemu" || true
	fi
	rm -rf "$run"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The modules that lead to the root file system, in the order in which they can be loaded.
pack_modules() {
	local line path

	mkdir "$run/initramfs/modules"
	for module in virtio_pci 9pnet_virtio 9p overlay; do
		modprobe -d "$image" -S "$version" --show-depends "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
		while read -r path; do
			line=$(basename "$path")
			if [ "${line%.xz}" != "$line" ]; then
				line=${line%.xz}
				xz -dc "$path" >"$run/initramfs/modules/$line"
			else
				cp "$path" "$run/initramfs/modules/"
			fi
			echo "$line"
		done >"$run/order"
	mv "$run/order" "$run/initramfs/modules/order"
}

mkdir -p "$run"/initramfs/{bin,proc,sys,dev,lower,upper,root} "$run/vm/out"
cp "$(command -v busybox)" "$run/initramfs/bin/busybox"
install -m 755 "$here/init" "$run/initramfs/init"
pack_modules
(cd "$run/initramfs" && find . | cpio --quiet -o -H newc | gzip -1) >"$run/initramfs.gz"

{
	printf 'cd %q\n' "$repo"
	echo 'export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
	echo 'export LC_ALL=C.UTF-8 WEIR_VM_OUT=/run/vm/out'
	printf 'exec bash'
	printf ' %q' "$job" "$@"
	echo
} >"$run/vm/start"

append="console=ttyS0 quiet panic=-1 oops=panic nokaslr mitigations=off weir.image=$image"
if [ "${WEIR_VM_ICOUNT:-0}" = 1 ]; then
	cpus=1 clock=(-accel 'tcg,thread=single' -icount 'shift=0,sleep=off')
else
	cpus=${WEIR_VM_CPUS:-2} clock=(-accel 'tcg,thread=multi')
fi

# setpriv: not even kill -9 of this script leaves a VM behind.
setpriv --pdeathsig TERM timeout -k 5 "${WEIR_VM_TIMEOUT:-540}" \
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-machine pc -cpu max "${clock[@]}" -smp "$cpus" -m "${WEIR_VM_MEMORY:-2048}" \
	-kernel "$image/vmlinuz" -initrd "$run/initramfs.gz" -append "$append" \
	-serial "file:$run/console" -chardev stdio,id=job,signal=off -serial chardev:job \
	-virtfs local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap \
	-virtfs "local,path=$run/vm,mount_tag=vm,security_model=none" \
	-netdev user,id=net,restrict=on \
	-device virtio-net-pci,netdev=net,romfile=,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off \
	</dev/null 2>"$run/errors" &
qemu=$!
ended=0
wait "$qemu" || ended=$?
qemu=

if [ -n "${WEIR_VM_OUT:-}" ]; then
	mkdir -p "$WEIR_VM_OUT"
	cp -r "$run/vm/out/." "$WEIR_VM_OUT/"
fi
if [ -f "$run/vm/status" ]; then
	if grep -E 'WARNING: CPU|BUG:' "$run/console" >"$run/complaints"; then
		echo "run.sh: kernel $version complained:" >&2
		head -30 "$run/complaints" >&2
	fi
	exit "$(cat "$run/vm/status")"
fi
[ "$ended" = 124 ] || ended=125
{
	echo "run.sh: kernel $version ended without the status of $(basename "$job")"
	cat "$run/errors"
	grep -m 1 -A 2 -E 'Kernel panic|BUG:|Oops' "$run/console" || true
	tail -n 30 "$run/console" || true
} >&2
exit "$ended"
