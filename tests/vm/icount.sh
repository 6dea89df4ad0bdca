#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# icount.sh [--record] [KERNEL...]
# Instructions per packet of weir's programs: the bench runs in a VM in which an instruction takes
# one virtual nanosecond, so its nanoseconds are instructions, the same in every run on every
# machine. Helpers are counted, the empty program's instructions are not. A case that costs
# more than budget.tsv says for this kernel series and clang fails. --record writes the figures of
# these kernels and this clang anew.
#
# Kernels: 6.1 and 6.12 unless named.      WEIR_BENCH   the bench, built (build/tests/bench/bench)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bench=$(readlink -f "${WEIR_BENCH:-$here/../../build/tests/bench/bench}")
budget=$here/budget.tsv
heading=$'# kernel\tclang\tinstructions\tcase'
record=0
if [ "${1:-}" = --record ]; then
	record=1
	shift
fi
[ $# -gt 0 ] || set -- 6.1 6.12
[ -x "$bench" ] || {
	echo "icount.sh: $bench is not built" >&2
	exit 2
}
clang=$("${CLANG:-clang}" -dumpversion)
clang=${clang%%.*}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
recorded=$budget
[ -f "$budget" ] || recorded=/dev/null

# Lines as in the budget.
measure() {
	WEIR_VM_ICOUNT=1 WEIR_VM_OUT=$scratch/$1 "$here/run.sh" "$1" "$here/jobs/bench.sh" "$bench" >&2 ||
		return
	jq -r --arg kernel "$1" --arg clang "$clang" '.cases[] |
		select((.case | startswith("weir")) and (.case | contains(" live ") | not)) |
		[$kernel, $clang, (.net_ns_min * 10 | round / 10), "\(.hook) \(.case)"] | @tsv' \
		"$scratch/$1/bench.json"
}

# Two per mille and half an instruction are the share of timer interrupts and of rounding.
compare() {
	awk -F '\t' -v kernel="$1" -v clang="$clang" '
		$1 != kernel || $2 != clang { next }
		FILENAME == ARGV[1] { budget[$4] = $3; budgeted++; next }
		!budgeted { print "# " $3 " " $4; next }
		!($4 in budget) { verdict = "not ok"; remark = ", not recorded" }
		$4 in budget {
			slack = 0.5 + budget[$4] / 500
			verdict = $3 > budget[$4] + slack ? "not ok" : "ok"
			remark = " of " budget[$4] ($3 < budget[$4] - slack ? ", cheaper: record it" : "")
		}
		{
			print verdict " - kernel " kernel ", " $4 ": " $3 remark
			failed += verdict != "ok"
			seen[$4] = 1
		}
		END {
			for (name in budget)
				if (!(name in seen)) {
					print "not ok - kernel " kernel ", " name ": recorded, not measured"
					failed++
				}
			if (!budgeted)
				print "# no budget is recorded for kernel " kernel " and clang " clang
			exit failed > 0
		}' "$recorded" "$2"
}

replace() {
	{
		echo "$heading"
		{
			awk -F '\t' -v kernel="$1" -v clang="$clang" \
				'!/^#/ && !($1 == kernel && $2 == clang)' "$recorded"
			cat "$2"
		} | sort -t "$(printf '\t')" -k1,1V -k2,2n -k4,4
	} >"$scratch/budget"
	cat "$scratch/budget" >"$budget"
	recorded=$budget
}

status=0
for kernel; do
	measure "$kernel" >"$scratch/now"
	if [ "$record" = 1 ]; then
		replace "$kernel" "$scratch/now"
		sed 's/^/# /' "$scratch/now"
	else
		compare "$kernel" "$scratch/now" || status=1
	fi
done
exit "$status"
