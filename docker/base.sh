#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# base.sh: makes the image weir-base:RELEASE, a Debian as small as can be, where no registry answers, and
# prints its name. One that is there already is used again. Packages come from where this host's own come
# from, where it is a Debian.
set -euo pipefail

fail() { echo "base.sh: $*" >&2; exit 1; }

# Names of other distributions' releases mean nothing to Debian's mirrors.
# shellcheck source=/dev/null
release=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") || true
: "${release:=bookworm}"
image=weir-base:$release

if docker image inspect "$image" >/dev/null 2>&1; then
	echo "$image"
	exit
fi
[ "$(id -u)" = 0 ] || fail "needs root"
command -v mmdebstrap >/dev/null || "$(dirname "$0")/../tests/deps.sh" base >&2 || true
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing and cannot be installed"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Debian's own repositories of this release only: others have keys that the image has not.
# shellcheck disable=SC2016
mirrors() {
	apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
		awk -v release="$release" '$3 ~ "^" release "(-updates|-security)?$"' | sort -u
}
mirrors >"$work/sources.list" || true
sources=()
# Without any, mmdebstrap takes deb.debian.org.
if grep -q " $release " "$work/sources.list"; then
	sources=("$work/sources.list")
fi

proxies=(--aptopt='Acquire::Retries "3"')
while IFS= read -r line; do
	proxies+=(--aptopt="$line")
done < <(apt-config dump 2>/dev/null | grep -iE '^Acquire::(http|https|ftp)::Proxy.* "[^"]+";$')

include=()
if grep -q https: "$work/sources.list"; then
	include+=(--include=ca-certificates)
fi

leave_out=()
for path in doc man info locale lintian; do
	leave_out+=(--dpkgopt="path-exclude=/usr/share/$path/*")
done

echo "making $image by mmdebstrap" >&2
mmdebstrap --quiet --variant=minbase "${include[@]}" "${leave_out[@]}" "${proxies[@]}" \
	"$release" "$work/base.tar" "${sources[@]}" >"$work/log" 2>&1 ||
	fail "mmdebstrap: $(grep -E '^E' "$work/log" | tail -1 || tail -1 "$work/log")"
docker import "$work/base.tar" "$image" >/dev/null
echo "$image"
