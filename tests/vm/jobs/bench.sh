#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench.sh BENCH: leaves the bench's figures in $WEIR_VM_OUT/bench.json. One round is enough where
# instructions are counted: all rounds are alike.
set -eu
"$1" -j -r 1 -n 90000 -c 0 -f weir 2>"$WEIR_VM_OUT/bench.log" >"$WEIR_VM_OUT/bench.json" || {
	status=$?
	tail -n 30 "$WEIR_VM_OUT/bench.log"
	exit "$status"
}
