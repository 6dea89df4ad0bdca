# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Connections between $client and $host of which both sides write down what they were. To be sourced after
# tests/netns/lib.sh.
# shellcheck disable=SC2034,SC2154

TALK=tests/tcp/talk.py
TRUTH=$SCRATCH/truth
OLD=$SCRATCH/older # of the clients that were there before
ALL=local,half,peer,client_rst,server_rst

talk() { # ADDRESS PORT OPTIONS...
	inside "$client" timeout 200 python3 "$TALK" talk "$1" "$2" "$TRUTH" "${@:3}"
}

talk_later() { # NAME LOG ADDRESS PORT OPTIONS...: when the file $SCRATCH/NAME appears
	background "$client" timeout 500 python3 "$TALK" talk "$3" "$4" "$2" --wait "$SCRATCH/$1" \
		"${@:5}" >"$SCRATCH/talk.$1" 2>&1
	talking=$!
	await 60 grep -q ready "$SCRATCH/talk.$1"
}

serve() { # PORT OPTIONS...
	background "$host" timeout 590 python3 "$TALK" serve "$1" "$TRUTH" "${@:2}" >"$SCRATCH/serve.$1" 2>&1
	served=$!
	await 60 grep -q ready "$SCRATCH/serve.$1"
}
