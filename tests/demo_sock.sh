#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the short cut between local sockets gives, in half a minute: nginx as a proxy before two more, wrk
# before `weir sock attach`, with it, and after `weir sock detach`; nginx runs all the time. Its own network
# namespace and cgroup, nothing outside of them is touched, and all is gone at the end.
#
#   wrk ---- nginx 127.0.0.1:8080 --+-- nginx 127.0.0.1:8081       namespace and cgroup weir-sock
#                                   +-- nginx 127.0.0.1:8082
set -uo pipefail
DEMO=weir-sock # namespace, cgroup, instance
RUN=$DEMO
SCRATCH=/run/weir-demo-sock
PREFIX=()
SECONDS_EACH=6 # of which the first 2 are not measured
CONNECTIONS=100
loading=''

if [ "$(id -u)" != 0 ]; then
	echo "demo_sock.sh: namespaces and cgroups need root: 'sudo make demo-sock'" >&2
	exit 1
fi
running=$(cat $SCRATCH/demo.pid 2>/dev/null)
if [ -n "$running" ] && grep -qs demo_sock.sh "/proc/$running/cmdline"; then
	echo "demo_sock.sh: another demo is running, as process $running" >&2
	exit 1
fi
# A demo that was killed cleaned up nothing.
rm -rf $SCRATCH
mkdir -m 755 $SCRATCH
echo $$ >$SCRATCH/demo.pid
# shellcheck source=topology.sh
. "$(dirname "$0")/topology.sh"
# shellcheck source=cgroup.sh
. "$HERE/cgroup.sh"
# shellcheck source=proxy.sh
. "$HERE/proxy.sh"

bold='' faint='' plain='' pause=0
if [ -t 1 ]; then
	bold=$'\e[1m' faint=$'\e[2m' plain=$'\e[0m' pause=1
fi

# It may come while a function's output goes to a file.
exec 3>&1 4>&2
finish() {
	local status=$?
	exec >&3 2>&4
	trap '' INT TERM HUP
	[ -z "$loading" ] || kill -KILL "$loading" 2>/dev/null
	servers_stop
	remove_demo
	rm -rf "$SCRATCH"
	[ "$status" = 0 ] || printf '\n%sStopped; everything is removed.%s\n' "$faint" "$plain"
	exit "$status"
}

# Detached first: what is pinned would outlive the cgroup.
remove_demo() {
	disown -a # and no word of who was killed
	if [ -e "$(pins_of $DEMO)" ]; then
		timeout -k 5 10 "$WEIR" --instance $DEMO sock detach --all >/dev/null 2>&1
	fi
	cgroup_remove $DEMO
	[ ! -e /run/netns/$DEMO ] || remove_namespace $DEMO
}

say() {
	printf '%s\n' "$*"
}

# The line as one would type it.
show() {
	printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
	sleep $pause
}

weir() {
	show weir -n $DEMO "$@"
	timeout -k 5 20 "$WEIR" -n $DEMO "$@" 2>&1
}

failed() {
	say "demo_sock.sh: $*" >&2
	exit 1
}

scene() {
	namespace $DEMO
	cgroup_make $DEMO || exit
	pages
	servers_start keepalive $DEMO 127.0.0.1 $DEMO
	printf '%sweir sock: connections within one host without the TCP stack%s\n' "$bold" "$plain"
	cat <<-END

		  wrk ---- nginx, a proxy --+-- nginx        1 KB pages, connections are kept
		                            +-- nginx        all in the cgroup $DEMO
	END
}

load() { # NAME
	inside $DEMO timeout -k 5 $((SECONDS_EACH + 30)) python3 "$HERE/http_load.py" \
		--url http://127.0.0.1:$FRONT/1K --status http://127.0.0.1:$FRONT/status \
		--connections $CONNECTIONS --warm-up 2 --seconds $((SECONDS_EACH - 2)) \
		--measure "$(cgroup_path $DEMO)" --cgroup "$(cgroup_path $DEMO)" >"$SCRATCH/$1"
}

show_load() {
	show wrk --latency -t 1 -c $CONNECTIONS -d ${SECONDS_EACH}s http://127.0.0.1:$FRONT/1K "$@"
}

say_load() { # NAME
	jq -r '"  \(.requests_per_second | floor) requests/s, \(.cpu_microseconds_per_request * 10 |
		round / 10) us of CPU each"' "$SCRATCH/$1"
}

before() {
	show_load
	load before || failed "wrk did not end well"
	say_load before
}

# One of wrk's connections to the proxy, by the client's end.
connection() {
	inside $DEMO ss -Htn state established "( dport = :$FRONT )" | awk 'NR == 20 { print $3 }'
}

attached() {
	weir sock attach $DEMO || failed "cannot attach"
	show_load '&'
	load attached &
	loading=$!
	sleep 2
	weir sock show
	"$WEIR" -n $DEMO -j sock show >"$SCRATCH/show"
	weir sock why "$(connection)"
	wait "$loading" || failed "wrk did not end well"
	loading=''
	say
	say_load attached
}

detached() {
	weir sock detach $DEMO || failed "cannot detach"
	show_load
	load detached || failed "wrk did not end well"
	say_load detached
}

outcome() {
	local name percent
	printf '\n%s%-10s  %11s  %10s  %9s  %14s  %16s  %6s%s\n' "$bold" '' 'requests' 'CPU of' '' \
		'bytes of each' 'bytes short-cut,' '' "$plain"
	printf '%s%-10s  %11s  %10s  %9s  %14s  %16s  %6s%s\n' "$bold" '' 'a second' 'each' 'p99' \
		'by TCP' 'as weir says' 'failed' "$plain"
	for name in before attached detached; do
		percent=null
		[ $name != attached ] || percent=$(jq '.cgroups[0].shortcut_percent' "$SCRATCH/show")
		jq -r --arg name $name --argjson percent "$percent" '[$name, .requests_per_second,
			.cpu_microseconds_per_request, .p99_microseconds / 1000,
			.device_bytes_per_request, (if $percent == null then "-"
			else "\($percent * 10 | round / 10) %" end), .failed] | @tsv' "$SCRATCH/$name"
	done | awk -F '\t' '{ printf "%-10s  %11d  %7.1f us  %6.1f ms  %14d  %16s  %6d\n",
		$1, $2, $3, $4, $5, $6, $7 }'
}

trap finish EXIT
trap 'exit 130' INT TERM HUP
remove_demo
scene
before
attached
detached
outcome
say
say "The namespace and the cgroup go too; nothing is left. The page of commands: man weir, or weir help."
