#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What weir tcp understands and says: help, weir(8) and the completion have the same options, and every field
# of JSON is in weir(8).
#
#   client 10.9.0.1 -------- host 10.9.0.2
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
. docs/weir.bash
pair
mapfile -t tracers < <(tracer_names true)

# ---- options ----

completed() { # WORD...: what may stand behind them
	COMP_WORDS=(weir "$@" "")
	COMP_CWORD=$(($# + 1))
	COMPREPLY=()
	_weir
	printf '%s\n' "${COMPREPLY[@]}"
}

options_of() {
	grep -oE -- '(^|[^[:alnum:]-])--?[[:alnum:]][[:alnum:]-]*' | grep -oE -- '-.*' | sort -u
}

helped() { # COMMAND
	"$WEIR" tcp "$1" help | head -n 1
}

# Its paragraph of the synopsis; those of two commands are alike.
manual() { # COMMAND
	sed -nE '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' docs/weir.8 | awk -v name="$1" '
		/^\.(Nm|Sh)/ { if (said ~ "^Cm tcp( Op Cm| [a-z]+ [|])* " name " ") print said; said = ""; next }
		{ sub(/^\./, ""); said = said $0 " " }' |
		sed -E 's/Ar PACE/-i -d -c/; s/Fl Fl /--/g; s/Fl ([[:alnum:]]) [|] ([[:alnum:]])/-\1 -\2/; s/Fl ([[:alnum:]])/-\1/g'
}

common="--cgroup --netns --overhead --peer --peer-port --port -4 -6"
pins="--pin --pinned --unpin"

for name in show "${tracers[@]}"; do
	case $name in
	show) more= ;;
	top) more="$common --pid" ;;
	rtt | drop | queue | port) more="$common $pins" ;;
	*) more="$common $pins --pid" ;;
	esac
	helped "$name" | options_of >"$SCRATCH/helped"
	manual "$name" | options_of | diff "$SCRATCH/helped" - >"$OUTPUT" 2>&1
	report $? "$name: help and weir(8) have the same options"
	{ cat "$SCRATCH/helped" && tr ' ' '\n' <<<"$more"; } | sort -u | grep . >"$SCRATCH/wanted"
	completed tcp "$name" | sort | diff "$SCRATCH/wanted" - >"$OUTPUT" 2>&1
	report $? "$name: so has the completion, and those of all"
	# Each with a value that none has, which is what is complained of.
	while read -r option; do
		"$WEIR" tcp "$name" "$option" --nonsense 2>&1 | grep -e "'$option'"
	done <"$SCRATCH/wanted" >"$OUTPUT"
	[ -s "$SCRATCH/wanted" ] && [ ! -s "$OUTPUT" ]
	report $? "$name: which it takes"
done
for option in $(tr ' ' '\n' <<<"$common $pins --pid -i -d -c"); do
	case $option in --*) word="Fl Fl ${option#--}" ;; *) word="Fl ${option#-}" ;; esac
	# -6 is behind -4.
	sed -n '/^\.Ss Options of all/,/^\.Ss tcp states/p' docs/weir.8 | grep -qE "^\.It .*(${word}|Fl 4 , ${option#-})( |$)"
	report $? "weir(8) explains $option"
done

# ---- fields ----

some_work() {
	python3 tests/tcp/frame.py dial 10.9.0.2 80 --quiet --client-netns "$client" --server-netns "$host" &&
		[ "$(traffic "$client" connect 10.9.0.2 9 1)" = 0 ]
}

# Two come in, and the third's SYN is sent again after a second.
overflow() {
	background "$host" python3 tests/tcp/listener.py 10.9.0.2 81 1 >"$SCRATCH/listener"
	await 60 grep -q ready "$SCRATCH/listener"
	inside "$client" timeout 60 python3 tests/tcp/clients.py 10.9.0.2 81 3 --wait 2 >/dev/null
}

# Not what others do meanwhile, which may be much.
traced() { # all of them
	local name extra
	for name in "${tracers[@]}"; do
		extra="--peer 10.9.0.0/24"
		[ "$name" != drop ] || extra+=" --all --stack"
		# shellcheck disable=SC2086
		trace_begin "$SCRATCH/$name.sums" -j tcp $name -i 0.5 $extra && runs+=("$tracing")
		[ "$name" != queue ] || extra+=" -l"
		# shellcheck disable=SC2086
		trace_begin "$SCRATCH/$name.lines" -j tcp $name --overhead $extra && runs+=("$tracing")
	done
	some_work && overflow
}

runs=()
check "all of them see something of everything" traced
for pid in "${runs[@]}"; do
	trace_finish "$pid" || echo "# $pid ended by $?"
done
check "pin one" weir tcp life --pin
weir -j tcp show --overhead -d 0.1 >"$SCRATCH/show.sums"
: >"$SCRATCH/show.lines"
check "unpin it" weir tcp life --unpin
sed -n -e '/^\.Ss Options of all/,/^\.Sh CHECKS/p' -e '/^\.It Cm tcp show$/,/^\.It Cm doctor/p' docs/weir.8 |
	grep -oE '[[:alnum:]_]+' | sort -u >"$SCRATCH/words"
for name in show "${tracers[@]}"; do
	jq -r '.. | objects | keys[]' "$SCRATCH/$name".{lines,sums} | sort -u >"$SCRATCH/fields"
	comm -23 "$SCRATCH/fields" "$SCRATCH/words" >"$OUTPUT"
	[ ! -s "$OUTPUT" ] && [ "$(wc -l <"$SCRATCH/fields")" -gt 7 ]
	report $? "$name: weir(8) has every field"
done
