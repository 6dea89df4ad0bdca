# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Cgroups of version 2, for the tests, the bench and the demo. They are named by their way from the
# top of the tree, "weir123/inner", and the first part should begin with $RUN, as with namespaces.
# Time on the CPU is counted in every cgroup, without any controller.

CGROUP_ROOT=$(awk '{
	for (i = 7; i < NF; i++) # optional fields end at a lone dash
		if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit }
}' /proc/self/mountinfo)
CGROUP_ROOT=$(printf '%b' "${CGROUP_ROOT//\\/\\0}") # a blank is \040 there
CGROUPS=()

cgroup_path() { # NAME
	echo "$CGROUP_ROOT/$1"
}

# With those above it. What an earlier run has left there goes first, with its processes.
cgroup_make() { # NAME...
	local name
	if [ -z "$CGROUP_ROOT" ]; then
		echo "cgroup.sh: no cgroup2 is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup" >&2
		return 1
	fi
	for name; do
		cgroup_remove "$name"
		CGROUPS+=("${name%%/*}")
		mkdir -p "$(cgroup_path "$name")" || return
	done
}

# Runs the command as a member, and waits for it.
cgroup_run() { # NAME COMMAND...
	# shellcheck disable=SC2016
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$(cgroup_path "$1")" "${@:2}"
}

# No shell waits for it: $! is the command itself. The namespace is for others to enter:
# cgroup_background NAME nsenter --net=... COMMAND.
cgroup_background() { # NAME COMMAND...
	# shellcheck disable=SC2016
	sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$(cgroup_path "$1")" "${@:2}" &
}

# Moves processes, with the sockets they open from now on.
cgroup_enter() { # NAME PID...
	local pid
	for pid in "${@:2}"; do
		echo "$pid" >"$(cgroup_path "$1")/cgroup.procs" || return
	done
}

# Microseconds on the CPU of all that was ever in it or below.
cgroup_cpu() { # NAME
	awk '$1 == "usage_usec" { print $2 }' "$(cgroup_path "$1")/cpu.stat"
}

# It goes with what is below, and with the processes in all of that.
cgroup_remove() { # NAME...
	local name path directory pid end
	for name; do
		path=$(cgroup_path "$name")
		if [ -z "$name" ] || [ ! -d "$path" ]; then
			continue
		fi
		end=$((SECONDS + 20))
		while grep -qs 'populated 1' "$path/cgroup.events" && [ $SECONDS -le $end ]; do
			find "$path" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
				[ "$pid" = $$ ] || kill -KILL "$pid" 2>/dev/null
			done
			sleep 0.02
		done
		find "$path" -depth -type d | while read -r directory; do
			rmdir "$directory"
		done
	done
}

# All that cgroup_make has made, up to the first part of its name.
cgroups_remove() {
	cgroup_remove "${CGROUPS[@]}"
	CGROUPS=()
}
