#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# trace.sh [BINARY]
# Every command of `weir tcp` on another kernel, for a while beside connections, refused ones and IPv6:
# lines, summary, pinned. What this kernel lacks is said by `weir tcp show` and by notices, and is no error.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24       topology.sh: pair
WEIR=$(realpath "${1:-build/weir}")
export WEIR WEIR_TIMEOUT=120
# shellcheck source=tests/vm/jobs/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tests/tcp/lib.sh
. tests/tcp/lib.sh
pair
mapfile -t tracers <<<"$(tracer_names)"
mapfile -t pinned <<<"$(tracer_names .can_be_pinned)"

# Three connections of each kind, and one that is refused.
some_traffic() {
	python3 tests/tcp/frame.py dial 127.0.0.1 1080 --quiet --client-netns "$host" --server-netns "$host" &&
		python3 tests/tcp/frame.py dial fd09::2 1081 --quiet --client-netns "$client" \
			--server-netns "$host" &&
		[ "$(traffic "$client" connect 10.9.0.2 9 1)" = 0 ]
}

# A live run, ended by SIGINT; what it said is JSON, without a complaint of its own.
live() { # TRACER ARGUMENTS...
	trace_begin "$SCRATCH/out" -n "$host" -j tcp "$@" &&
		some_traffic && sleep 1.2 && trace_finish "$tracing" && jq -s . "$SCRATCH/out"
}

weir tcp show | sed 's/^/# /'
holds "all of them are known" '.tracers | length > 0 and all(.runs != "no")' weir -j tcp show
holds "doctor says what runs" 'any(.findings[]; .check == "tracing")' weir -j doctor
for name in "${tracers[@]}"; do
	holds "$name" 'type == "array"' live "$name"
	holds "$name -s, or as it is" 'length > 0 and (.[-1] | .lost.events_lost == 0)' \
		live "$name" -i 0.5
done
for name in "${pinned[@]}"; do
	check "$name --pin" weir tcp "$name" --pin
done
check "what is pinned sees traffic" some_traffic
for name in "${pinned[@]}"; do
	holds "$name --pinned" '.lost.records_full == 0' weir -j tcp "$name" --pinned
done
holds "show has all" 'all(.tracers[]; .pinned == .can_be_pinned)' weir -j tcp show --overhead -d 0.2
for name in "${pinned[@]}"; do
	check "$name --unpin" weir tcp "$name" --unpin
done
check "nothing is left" no_pins

# Changes of state are what they are on the other kernels.
holds "states: ten changes of each connection, and two of each listener" \
	'[.[] | select(.old_state and .seen_by == "event" and .family == 4)] | length >= 32' live states
