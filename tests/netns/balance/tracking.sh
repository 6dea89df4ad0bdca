#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Nothing breaks in mode dsr-l2 either (churn.sh); then the same is done to a weir that does not
# track churn but every flow, in as much memory, and forgets the least recently used ones: that one
# breaks some.
#
#   client -- router -- 2 balancers, 6 backends       topology.sh: site
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../churn/lib.sh
. tests/churn/lib.sh
# shellcheck source=../../churn/trouble.sh
. tests/churn/trouble.sh

# Where all is slow, the flood may be over before much has changed: then once more, with other changes.
compare() {
	local ours=$broken of=$total
	WEIR=$SCRATCH/tracking/weir NEXT=$SCRATCH/tracking/weir
	for SEED in $(seq "$SEED" $((SEED + 2))); do
		check "tracking every flow: services, backends, attached" begin lan
		churn
		rest
		[ "$broken" = 0 ] || break
	done
	echo "# churn tracking: $ours of $of connections broken; LRU of equal memory: $broken of $total"
	check "every flow in an LRU of equal memory instead: some break" test "$broken" -gt 0
}

check "a second version is built" next_version
check "one that tracks every flow is built" build_another "$SCRATCH/tracking" BPF_DEFS=-DWEIR_TRACK_ALL
whole dsr-l2 lan
compare
