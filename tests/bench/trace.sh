#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What the tracers of `weir tcp` cost: nanoseconds of each program for an event, above those of an empty
# program on the same tracepoint at the same time; and what wrk gets from nginx over loopback with all of
# them pinned, beside nothing attached, in rounds that alternate. --help has the options.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
RUN=weir-bench-trace
SCRATCH=/run/$RUN

usage() {
	cat <<-END
		usage: tests/bench/trace.sh [OPTION...]
		  --rounds N      rounds of wrk (7)
		  --seconds N     of each run of wrk, and of each workload (2)
		  --only WORDS    only these tracers: 'states rtt'
		  --quick         3 rounds of 1 second
		  --control       pin nothing in the rounds: how far noise alone takes the ratio from 1
		  --json FILE     everything as JSON too
	END
}

refuse() {
	echo "trace.sh: $*" >&2
	exit 1
}

rounds=7 seconds=2 only='' control='' json=''
while [ $# != 0 ]; do
	case $1 in
	--rounds | --seconds | --only | --json)
		[ $# -ge 2 ] || refuse "$1 needs a value"
		declare "${1#--}=$2"
		shift
		;;
	--quick) rounds=3 seconds=1 ;;
	--control) control=yes ;;
	--help | -h)
		usage
		exit
		;;
	*) refuse "$1: no such option; --help has them" ;;
	esac
	shift
done
for number in "$rounds" "$seconds"; do
	[[ $number =~ ^[1-9][0-9]?$ ]] || refuse "--rounds and --seconds are 1 to 99"
done
[ "$(id -u)" = 0 ] || refuse "making namespaces and loading programs needs root"
running=$(cat "$SCRATCH/pid" 2>/dev/null)
if [ -n "$running" ] && grep -qs trace.sh "/proc/$running/cmdline"; then
	refuse "another one is running, as process $running"
fi
rm -rf "$SCRATCH"
mkdir -m 755 "$SCRATCH"
echo $$ >"$SCRATCH/pid"
# shellcheck source=../topology.sh
. tests/topology.sh
BUILD=$(dirname "$WEIR")
SOCK=$BUILD/tests/sock/sock
read -ra tracers <<<"${only:-$("$WEIR" -j tcp show | jq -r '[.tracers[] | select(.can_be_pinned) | .tracer] | join(" ")')}"

weir() {
	"$WEIR" --instance "$RUN" "$@"
}

unpin_all() {
	local name
	for name in "${tracers[@]}"; do
		weir tcp "$name" --unpin >/dev/null 2>&1
	done
}

finish() {
	local status=$?
	trap '' INT TERM HUP
	unpin_all
	[ -z "${stats:-}" ] || sysctl -qw kernel.bpf_stats_enabled="$stats"
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null
	remove_all
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

note() {
	[ ! -t 2 ] || printf '\r\033[K%s' "$*" >&2
}

# ---- nanoseconds ----

# Each for $seconds, where nothing else is.
workload() { # NAME
	case $1 in
	connections) inside "$RUN" "$SOCK" short --conns 4 --seconds "$seconds" ;;
	round-trips) inside "$RUN" "$SOCK" pingpong --size 64 --seconds "$seconds" ;;
	drops) inside "$RUN" python3 -c "$SYNS" "$seconds" ;;
	esac
}

# To a port where nobody listens.
SYNS='
import socket, sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    with socket.socket() as s:
        s.connect_ex(("127.0.0.1", 9))'

# The programs of the tracer before and after each workload, with the empty ones beside them.
measure() { # TRACER
	local name at
	weir tcp "$1" --pin >"$SCRATCH/said" 2>&1 || refuse "$(cat "$SCRATCH/said")"
	for name in connections round-trips drops; do
		note "$1: $name"
		at=$SCRATCH/runs/$1.$name
		bpftool -j link show >"$at.links"
		bpftool -j prog show >"$at.before"
		workload $name >"$SCRATCH/said" 2>&1 || refuse "$name: $(cat "$SCRATCH/said")"
		bpftool -j prog show >"$at.after"
		(cd "/sys/fs/bpf/weir/$RUN/tcp/$1" && for pin in link_*; do
			bpftool -j link show pinned "$pin" | jq -c --arg name "${pin#link_}" '. + {$name}'
		done) >"$at.pins"
	done
	weir tcp "$1" --unpin >"$SCRATCH/said" 2>&1 || refuse "$(cat "$SCRATCH/said")"
}

# ---- wrk ----

serve() {
	local conf=$SCRATCH/nginx.conf at
	cat >"$conf" <<-END
		daemon off; worker_processes 1; user root; pid $SCRATCH/nginx.pid;
		error_log $SCRATCH/nginx.log; events { worker_connections 4096; }
		http { access_log off; keepalive_requests 1000000000; server {
			listen 127.0.0.1:80 backlog=4096 reuseport;
	END
	for at in client_body proxy fastcgi uwsgi scgi; do
		echo "${at}_temp_path $SCRATCH;"
	done >>"$conf"
	printf 'location / { return 200 "%s\\n"; } } }\n' "$RUN" >>"$conf"
	background "$RUN" nginx -e "$SCRATCH/nginx.log" -c "$conf" >/dev/null 2>&1
	for _ in {1..100}; do
		! inside "$RUN" curl -s -o "$SCRATCH/page" http://127.0.0.1/ || return 0
		sleep 0.05
	done
	refuse "nginx does not answer: $(tail -n 3 "$SCRATCH/nginx.log")"
}

# Requests a second, with connections that are kept, or one each.
requests() { # kept|each
	local header=()
	[ "$1" = kept ] || header=(-H 'Connection: close')
	inside "$RUN" wrk -t 1 -c 16 -d "$seconds" "${header[@]}" http://127.0.0.1/ |
		awk '/^Requests\/sec:/ { print $2 }'
}

one_round() { # NUMBER HOW
	local kind name
	if [ "$2" = pinned ] && [ -z "$control" ]; then
		for name in "${tracers[@]}"; do
			weir tcp "$name" --pin >"$SCRATCH/said" 2>&1 || refuse "$(cat "$SCRATCH/said")"
		done
	fi
	for kind in kept each; do
		note "round $1: $kind, $2"
		echo "{\"round\": $1, \"how\": \"$2\", \"kind\": \"$kind\", \"rate\": $(requests $kind)}"
	done >>"$SCRATCH/rates"
	unpin_all
}

# ---- all ----

mkdir "$SCRATCH/runs"
namespace "$RUN"
unpin_all
stats=$(sysctl -n kernel.bpf_stats_enabled)
sysctl -qw kernel.bpf_stats_enabled=1
"$BUILD/tests/tracecost/empty" >"$SCRATCH/empty" 2>&1 &
empty=$!
until grep -q ready "$SCRATCH/empty"; do
	kill -0 $empty || refuse "$(cat "$SCRATCH/empty")"
	sleep 0.05
done
for name in "${tracers[@]}"; do
	measure "$name"
done
kill $empty
sysctl -qw kernel.bpf_stats_enabled="$stats"
serve
requests kept >"$SCRATCH/said" # warm
for ((i = 1; i <= rounds; i++)); do
	order=(none pinned)
	((i % 2)) || order=(pinned none)
	for how in "${order[@]}"; do
		one_round "$i" "$how"
	done
done
note ''
python3 tests/bench/trace_report.py "$SCRATCH" ${json:+--json "$json"}
