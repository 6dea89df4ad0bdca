#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# fetch.sh KERNEL: prints a directory that holds Debian's newest KERNEL, unpacked and not installed:
#   vmlinuz   version (one line, as uname -r)   lib/modules/<version>/ with modules.dep
# It asks the archive once a day through an apt state of its own; without a network it uses
# what it has.
set -euo pipefail

die() {
	echo "fetch.sh: $*" >&2
	exit 2
}

repo=$(cd "$(dirname "$0")/../.." && pwd)
cache=${WEIR_VM_CACHE:-$repo/build/vm}
mirror=${WEIR_VM_MIRROR:-http://deb.debian.org}
kernel=${1:?usage: fetch.sh KERNEL}

case $kernel in
6.1) suite=bookworm ;;
6.12) suite=trixie ;;
*) die "no Debian suite is known for kernel $kernel: choose 6.1 or 6.12" ;;
esac

state=$cache/apt-$suite
images=$cache/$kernel
mkdir -p "$state"/{etc/apt.conf.d,etc/preferences.d,lists/partial,archives/partial} "$images"
exec 9>"$images/lock"
flock 9

apt_options=(
	-qq
	-o "Dir::Etc=$state/etc" -o Dir::Etc::main=none -o Dir::Etc::parts=apt.conf.d
	-o Dir::Etc::sourcelist=sources.list -o Dir::Etc::sourceparts=none
	-o Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d
	-o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o Dir::State::status=/dev/null
	-o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives"
	-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o Acquire::Languages=none
	-o APT::Sandbox::User=root -o Acquire::Retries=3 -o APT::Update::Error-Mode=any
)

# The meta package names the image package of the newest point release.
image_package() {
	apt-cache "${apt_options[@]}" depends --no-recommends --no-suggests linux-image-amd64 |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-[0-9]/ { print $2; exit }'
}

unpack() {
	local package=$1 directory=$2 scratch version deb

	scratch=$(mktemp -d "$images/unpack.XXXXXX")
	# shellcheck disable=SC2064 # the directory of now is meant
	trap "rm -rf '$scratch'" EXIT
	(cd "$scratch" && apt-get "${apt_options[@]}" download "$package") >&2
	deb=$(echo "$scratch"/*.deb)
	dpkg -x "$deb" "$scratch/root"
	version=${package#linux-image-}
	mkdir "$scratch/image"
	mv "$scratch/root/boot/vmlinuz-$version" "$scratch/image/vmlinuz"
	# Newer packages hold their modules in /usr/lib.
	if [ -d "$scratch/root/usr/lib/modules" ]; then
		mv "$scratch/root/usr/lib" "$scratch/image/lib"
	else
		mv "$scratch/root/lib" "$scratch/image/lib"
	fi
	depmod -b "$scratch/image" "$version"
	echo "$version" >"$scratch/image/version"
	# Point releases of one ABI name differ: the directory is new each time the package is.
	rm -rf "$directory"
	mv "$scratch/image" "$directory"
	rm -rf "$scratch"
	trap - EXIT
}

newest() {
	local found

	found=$(find "$images" -mindepth 2 -maxdepth 2 -name version -printf '%T@ %h\n' | sort -n | tail -1)
	echo "${found#* }"
}

if [ -z "$(find "$state/checked" -mtime -1 2>/dev/null)" ] || [ -z "$(newest)" ]; then
	command -v depmod >/dev/null || PATH=$PATH:/usr/sbin:/sbin
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -r "$keyring" ] || die "$keyring is missing: install debian-archive-keyring"
	{
		echo "deb [signed-by=$keyring] $mirror/debian $suite main"
		echo "deb [signed-by=$keyring] $mirror/debian-security $suite-security main"
	} >"$state/etc/sources.list"
	if apt-get "${apt_options[@]}" update >&2; then
		package=$(image_package)
		[ -n "$package" ] || die "linux-image-amd64 of $suite names no image package"
		release=$(apt-cache "${apt_options[@]}" show --no-all-versions "$package" |
			awk '$1 == "Version:" { print $2; exit }')
		directory=$images/$release
		[ -e "$directory/version" ] || unpack "$package" "$directory"
		touch "$directory/version" "$state/checked"
		# Other releases may still be in use by a VM; a week is enough for any.
		find "$images" -mindepth 1 -maxdepth 1 -type d ! -path "$directory" -mtime +7 \
			-exec rm -rf {} +
	else
		echo "fetch.sh: the archive does not answer: using what $images holds" >&2
	fi
fi

found=$(newest)
[ -n "$found" ] || die "no image of kernel $kernel: $mirror must be reachable once"
echo "$found"
