# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Runs of `weir tcp ...` beside a test. To be sourced after tests/netns/lib.sh.

# Starts it, and returns when its programs run. Its pid is $tracing, what it says is in FILE and
# FILE.errors. Shells have what they put into the background ignore SIGINT.
trace_begin() { # FILE WEIR-ARGUMENTS...
	rm -f "$1.errors"
	env --default-signal=INT "$WEIR" -v "${@:2}" >"$1" 2>"$1.errors" &
	# shellcheck disable=SC2034
	tracing=$!
	await 60 grep -q 'programs run' "$1.errors"
}

# As the user ends it. Its status.
trace_finish() { # PID
	kill -INT "$1" 2>/dev/null
	wait "$1"
}

tracer_names() { # [CONDITION]
	"$WEIR" -j tcp show | jq -r ".tracers[] | select(${1:-true}) | .tracer"
}
