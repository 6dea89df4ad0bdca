# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What the tests of local sockets have in common: a cgroup that weir is attached to, one that it is not,
# traffic in them, and what weir says of it. Sourced behind tests/netns/lib.sh.

# shellcheck source=../cgroup.sh
. tests/cgroup.sh
SOCK=$(dirname "$WEIR")/tests/sock/sock
[ -x "$SOCK" ] || { echo "1..0 # SKIP $SOCK is not built: 'make test-programs'"; exit 0; }
[ -n "$CGROUP_ROOT" ] || { echo "1..0 # SKIP no cgroup2 is mounted"; exit 0; }
# shellcheck disable=SC2034 # the namespace that weir() acts in
host=$RUN-host
GROUP=$RUN OUTSIDE=$RUN-outside # cgroups
traffic_pids=()
WEIR_TIMEOUT=${WEIR_TIMEOUT:-120} # to load its programs takes long where others want the CPUs

# Processes first: what they have open would be kept by weir until they close it.
sock_finish() {
	local status=$?
	trap '' INT TERM HUP
	disown -a
	cgroups_remove
	weir sock detach --all --force >/dev/null 2>&1
	(exit "$status")
	finish
}
trap sock_finish EXIT

# Kernels without what it takes are refused by attach, which another test shows.
sock_begin() { # the namespaces are there
	cgroup_make "$GROUP" "$OUTSIDE"
	if [ "$(printf '%s\n' 6.3 "$(uname -r)" | sort -V | head -n 1)" != 6.3 ]; then
		echo "1..0 # SKIP the kernel is older than 6.3"
		exit 0
	fi
}

# Traffic in a namespace, with the options of its own for cgroups: for those that hold two ends.
sock_in() { # NAMESPACE CGROUP ARGUMENTS...
	cgroup_run "$2" nsenter --net="/run/netns/$1" timeout -k 20 "${SOCK_TIMEOUT:-510}" "$SOCK" "${@:3}"
}

# $! is its process; what it says is in the file.
sock_start() { # FILE NAMESPACE CGROUP ARGUMENTS...
	cgroup_background "$3" nsenter --net="/run/netns/$2" timeout -k 20 "${SOCK_TIMEOUT:-510}" \
		"$SOCK" "${@:4}" >"$1" 2>"$1.errors"
	traffic_pids+=($!)
}

sock_wait() { # all that was started
	[ ${#traffic_pids[@]} = 0 ] || wait "${traffic_pids[@]}"
	traffic_pids=()
}

sock_end() { # the same, of what goes on until it is told
	kill -TERM "${traffic_pids[@]}"
	sock_wait
}

# The document that a command of traffic has left makes the condition true.
told() { # TEXT CONDITION FILE [JQ-OPTION]
	{ cat "$3" "$3.errors" | head -c 4000; } >"$OUTPUT" 2>/dev/null
	[ -s "$3" ] && jq -e "${@:4}" "$2" <"$3" >/dev/null 2>>"$OUTPUT"
	report $? "$1"
}

gone() { # PID
	! kill -0 "$1"
}

connections() { # JQ-FILTER on each connection that weir knows
	weir -j sock list 2>/dev/null | jq -c ".connections[] | $1"
}

# So many of those that are short-cut have carried that many messages.
have_carried() { # COUNT MESSAGES [CONDITION]
	[ "$(connections "select(.state == \"shortcut\" and .messages >= $2 and (${3:-true}))" |
		wc -l)" -ge "$1" ]
}

connections_are() { # COUNT STATE [CONDITION]
	[ "$(connections "select(.state == \"$2\" and (${3:-true}))" | wc -l)" = "$1" ]
}
