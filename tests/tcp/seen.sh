# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# To be sourced first by a test of tracers, and called with the tracepoints of which the test knows what
# comes. A test that fails while the kernel ran no tracing program for some of it (see unseen.c) is no verdict
# on weir, and begins again, four times in all.

seen_ids() { # CATEGORY/NAME...: NAME:ID of each
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t tracefs none /sys/kernel/tracing || exit
		for at; do
			id=$(cat "/sys/kernel/tracing/events/$at/id") && echo "${at#*/}:$id"
		done' sh "$@" 2>/dev/null
}

seen_try() { # DIRECTORY COMMAND...; 75: to be run again
	# shellcheck disable=SC2046
	SEEN=1 "$1/unseen" $(cat "$1/ids") -- "${@:2}" >"$1/out" 2>"$1/err"
}

# Returns where it is called by itself, or where nothing can be told; else the test ends here.
seen() { # CATEGORY/NAME...
	local directory attempt status=75 interrupted=0
	[ -z "${SEEN:-}" ] && [ "$(id -u)" = 0 ] || return 0
	directory=$(mktemp -d)
	if ! cc -D_GNU_SOURCE -O2 -o "$directory/unseen" \
		"$(dirname "${BASH_SOURCE[0]}")/unseen.c" -lbpf || ! seen_ids "$@" >"$directory/ids" ||
		! seen_try "$directory" true; then
		rm -r "$directory"
		return
	fi
	trap 'interrupted=1' INT TERM HUP
	for attempt in 1 2 3 4; do
		seen_try "$directory" bash "$0"
		status=$?
		[ $status = 75 ] || break
		[ $interrupted = 0 ] || break
		echo "# attempt $attempt of 4, not all was seen: $(tail -n 1 "$directory/err")"
		sed -n 's/^not ok/# &/p' "$directory/out"
	done
	cat "$directory/out"
	grep -v '^unseen: ' "$directory/err" >&2
	rm -r "$directory"
	exit $status
}
