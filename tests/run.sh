#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# run.sh BUILD [KIND...]: runs the tests of these kinds (unit datapath balance netns docker; vm on
# request), shows what failed and why, what was skipped and why, and ends with the sum.
#
# Two run at a time where there are two CPUs ($WEIR_TEST_JOBS), since much of what they do is to wait:
# each has namespaces, an instance and cgroups of its own, and looks at nobody else's. Those that measure
# times, load the whole machine, or fill what there is one of (the table of neighbours is that of all
# namespaces) come last and have it for themselves.
#
# What fails is run again, alone, twice more at most, and its first good run counts: a neighbour's load is
# no verdict on weir. All runs are shown, and the end names each test that needed more than one, and says once
# more why. With more than $most_again failures something is broken, and nothing is run again.
set -uo pipefail

build=$1
shift
kinds=${*:-unit datapath balance netns docker}
cd "$(dirname "$0")/.." || exit 2
if [ "$kinds" != unit ] && [ "$(id -u)" != 0 ]; then
	echo "run.sh: these tests need root: sudo make test; 'make unit' needs none" >&2
	exit 1
fi
scratch=$(mktemp -d)
export CMOCKA_MESSAGE_OUTPUT=TAP
export WEIR=$PWD/$build/weir
case $build in /*) WEIR=$build/weir ;; esac
jobs=${WEIR_TEST_JOBS:-$(($(nproc) > 1 ? 2 : 1))}
most_again=6 more_runs=2
again_until=1500 # seconds from the start: all of it is to end in half an hour
passed=0 failed=0 skipped=0
failures=() flaky=() # names
together=() alone=() # names
declare -A command=()
declare -A counts=() # by name: passed, failed, skipped
declare -A running=() since=() # by process
declare -A runs=()             # by name: how many
declare -A limit=([docker/demo.sh]=900) # seconds, where not 600: it makes images first

finish() {
	trap '' INT TERM HUP
	if [ ${#running[@]} != 0 ]; then
		kill "${!running[@]}"
		wait "${!running[@]}"
	fi 2>/dev/null
	rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
set -m # what is in the background may be interrupted, as some tests do

add() { # NAME COMMAND...
	local words
	printf -v words '%q ' "${@:2}"
	command[$1]=$words
	case $1 in
	vm/* | docker/demo.sh | netns/rules/blocklist.sh | netns/balance/scale.sh | netns/tcp/port.sh | \
		netns/tcp/port_scale.sh | unit/balance/maglev | unit/balance/slots | unit/rules/table | \
		unit/service/service_table | unit/service/service_table_size | \
		unit/sock/probe | unit/base/ticker) alone+=("$1") ;;
	*) together+=("$1") ;;
	esac
}

begin() { # NAME
	mkdir -p "$scratch/$1"
	[ ! -e "$scratch/$1/out" ] || mv "$scratch/$1/out" "$scratch/$1/out.${runs[$1]}"
	runs[$1]=$((${runs[$1]:-0} + 1))
	eval "exec timeout -k 10 ${WEIR_TEST_TIMEOUT:-${limit[$1]:-600}} ${command[$1]}" \
		>"$scratch/$1/out" 2>"$scratch/$1/err" </dev/null &
	running[$!]=$1 since[$!]=$SECONDS
}

# Counts the lines of a test's TAP output. One that ends without a single line, or badly though all its
# lines are ok, has failed.
judge() { # NAME STATUS SECONDS
	local out=$scratch/$1/out err=$scratch/$1/err ok not skip
	# cmocka calls a skipped test "not ok N # SKIP".
	sed -i -E 's/^not (ok [0-9]+ *# *SKIP)/\1/I' "$out"
	skip=$(grep -ciE '^ok .*# *skip' "$out")
	ok=$(($(grep -cE '^ok ' "$out") - skip))
	not=$(grep -cE '^not ok ' "$out")
	if [ "$2" -ge 124 ] || { [ "$not" = 0 ] && [ "$2" != 0 ]; } || [ $((ok + not + skip)) = 0 ]; then
		{
			echo "not ok - $1 ended with status $2"
			{
				[ ! -s "$out" ] || tail -n 1 "$out"
				tail -n 4 "$err"
			} | sed 's/^/#   /'
		} >"$out.why"
		cat "$out.why" >>"$out"
		not=$((not + 1))
	fi
	[ "$not" = 0 ] || failures+=("$1")
	counts[$1]="$ok $not $skip"
	printf '%-32s %4d passed %3d failed %3d skipped  %3d s\n' "$1" "$ok" "$not" "$skip" "$3"
	grep -iE '^ok .*# *skip' "$out" | sed 's/^/    /'
	if [ "$not" != 0 ]; then
		sed 's/^/    /' "$out" | tail -n 60
		sed 's/^/    stderr: /' "$err" | tail -n 40
	fi
}

# Waits until fewer than so many run.
until_fewer_than() { # COUNT
	local process status
	while [ ${#running[@]} -ge "$1" ]; do
		wait -n -p process "${!running[@]}"
		status=$?
		# All of its group, should it have been killed before it could end them itself.
		kill -KILL -- "-$process" 2>/dev/null
		judge "${running[$process]}" $status $((SECONDS - ${since[$process]}))
		unset "running[$process]"
	done
}

# Tests that count every event hang programs on the same tracepoints, and one must not come or go while
# another counts.
counts_events() { # NAME
	[[ $1 == netns/tcp/* ]]
}

may_begin() { # NAME
	local process
	counts_events "$1" || return 0
	for process in "${!running[@]}"; do
		! counts_events "${running[$process]}" || return 1
	done
}

run() { # HOW-MANY-AT-ONCE NAME...
	local most=$1 name i
	local waiting=("${@:2}")
	while [ ${#waiting[@]} != 0 ]; do
		until_fewer_than "$most"
		name=
		for i in "${!waiting[@]}"; do
			may_begin "${waiting[i]}" || continue
			name=${waiting[i]}
			unset "waiting[i]"
			break
		done
		if [ -n "$name" ]; then
			begin "$name"
		else
			until_fewer_than ${#running[@]}
		fi
	done
	until_fewer_than 1
}

for kind in $kinds; do
	case $kind in
	netns)
		# The long ones first, so that none of them is left over at the end.
		for test in tests/netns/{tcp,sock,balance}/*.sh tests/netns/*/*.sh; do
			[ -n "${command[${test#tests/}]:-}" ] || add "${test#tests/}" bash "$test"
		done
		;;
	docker)
		add docker/parts.sh bash tests/docker/parts.sh
		add docker/demo.sh bash tests/docker/demo.sh
		;;
	vm)
		for kernel in ${WEIR_VM_KERNELS:-6.1 6.12}; do
			add "vm/$kernel/load" tests/vm/run.sh "$kernel" tests/vm/jobs/load.sh \
				"$build/tests/vm/load"
			add "vm/$kernel/weir" tests/vm/run.sh "$kernel" tests/vm/jobs/weir.sh "$WEIR"
			add "vm/$kernel/trace" tests/vm/run.sh "$kernel" tests/vm/jobs/trace.sh "$WEIR"
			add "vm/$kernel/sock" tests/vm/run.sh "$kernel" tests/vm/jobs/sock.sh "$WEIR"
			for part in dsr_l2 dsr_ipip nat shared; do
				add "vm/$kernel/balance $part" tests/vm/run.sh "$kernel" \
					tests/vm/jobs/balance.sh "$WEIR" $part
			done
		done
		;;
	*)
		for source in tests/"$kind"/{,*/}*.c; do
			[ -e "$source" ] || continue
			test=${source%.c}
			add "${test#tests/}" "$build/$test"
		done
		;;
	esac
done
run "$jobs" "${together[@]}"
run 1 "${alone[@]}"

# The checks that failed, and what the first ones said: CI may show no more than the last 4 kB.
failed_checks() { # CHARACTERS WHAT NAME FILE...
	sed -E '/^(not ok |ok |# )/!d' "${@:4}" | awk -v most="$1" -v head="$2: $3: " '
		function say(line) {
			line = substr(line, 1, 160)
			used += length(line) + 1
			if (used <= most) print line
		}
		/^not ok / { n++; lines = 0; say(head $0); next }
		/^ok |^# [^ ]/ { lines = 9 }
		n && n <= 3 && lines++ < 6 { say($0) }
		END { if (used > most) print head n " in all" }'
}

if [ ${#failures[@]} -le $most_again ]; then
	for ((run = 1; run <= more_runs; run++)); do
		[ ${#failures[@]} != 0 ] || break
		[ $SECONDS -lt $again_until ] || break
		echo "failed, and run again alone: ${failures[*]}"
		again=("${failures[@]}") failures=()
		run 1 "${again[@]}"
		for name in "${again[@]}"; do
			[[ " ${failures[*]} " == *" $name "* ]] || flaky+=("$name")
		done
	done
fi
for name in "${!counts[@]}"; do
	read -r ok not skip <<<"${counts[$name]}"
	passed=$((passed + ok)) failed=$((failed + not)) skipped=$((skipped + skip))
done
for name in "${flaky[@]}"; do
	failed_checks $((1200 / ${#flaky[@]})) "passed only when run again" "$name" "$scratch/$name"/out.[0-9]
done
for name in "${failures[@]}"; do
	failed_checks $((2200 / ${#failures[@]})) failed "$name" "$scratch/$name/out"
done

echo "in $SECONDS s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
