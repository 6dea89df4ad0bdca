#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# run.sh BUILD [KIND...]: runs the tests of these kinds (unit datapath balance netns; vm on request), shows
# what failed and why, what was skipped and why, and ends with the sum.
set -uo pipefail

build=$1
shift
kinds=${*:-unit datapath balance netns}
cd "$(dirname "$0")/.." || exit 2
if [ "$kinds" != unit ] && [ "$(id -u)" != 0 ]; then
	echo "run.sh: these tests need root: sudo make test; 'make unit' needs none" >&2
	exit 1
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CMOCKA_MESSAGE_OUTPUT=TAP
export WEIR=$PWD/$build/weir
passed=0 failed=0 skipped=0
case $build in /*) WEIR=$build/weir ;; esac

# Runs one test and counts the lines of its TAP output. A test that ends without a single line, or
# badly though all its lines are ok, has failed.
run() {
	local name=$1 start=$SECONDS ok not skip status
	shift
	timeout -k 10 "${WEIR_TEST_TIMEOUT:-600}" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	status=$?
	# cmocka calls a skipped test "not ok N # SKIP".
	sed -i -E 's/^not (ok [0-9]+ *# *SKIP)/\1/I' "$scratch/out"
	skip=$(grep -ciE '^ok .*# *skip' "$scratch/out")
	ok=$(($(grep -cE '^ok ' "$scratch/out") - skip))
	not=$(grep -cE '^not ok ' "$scratch/out")
	if [ "$not" = 0 ] && { [ $status != 0 ] || [ $((ok + skip)) = 0 ]; }; then
		echo "not ok - $name ended with status $status" >>"$scratch/out"
		not=1
	fi
	passed=$((passed + ok)) failed=$((failed + not)) skipped=$((skipped + skip))
	printf '%-32s %4d passed %3d failed %3d skipped  %3d s\n' "$name" "$ok" "$not" "$skip" \
		$((SECONDS - start))
	grep -iE '^ok .*# *skip' "$scratch/out" | sed 's/^/    /'
	if [ "$not" != 0 ]; then
		sed 's/^/    /' "$scratch/out" | tail -n 60
		sed 's/^/    stderr: /' "$scratch/err" | tail -n 40
	fi
}

for kind in $kinds; do
	case $kind in
	netns)
		for test in tests/netns/*.sh; do
			case $test in */lib.sh) continue ;; esac
			run "${test#tests/}" bash "$test"
		done
		;;
	vm)
		for kernel in ${WEIR_VM_KERNELS:-6.1 6.12}; do
			run "vm/$kernel/load" tests/vm/run.sh "$kernel" tests/vm/jobs/load.sh \
				"$build/tests/vm/load"
			run "vm/$kernel/weir" tests/vm/run.sh "$kernel" tests/vm/jobs/weir.sh "$WEIR"
			run "vm/$kernel/sock" tests/vm/run.sh "$kernel" tests/vm/jobs/sock.sh "$WEIR"
			for part in dsr_l2 dsr_ipip nat shared; do
				run "vm/$kernel/balance $part" tests/vm/run.sh "$kernel" \
					tests/vm/jobs/balance.sh "$WEIR" $part
			done
		done
		;;
	*)
		for source in tests/"$kind"/*.c; do
			test=${source%.c}
			run "${test#tests/}" "$build/$test"
		done
		;;
	esac
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
