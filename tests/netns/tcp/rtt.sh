#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp rtt: over two wires with known delays, what the histograms say is what `ss` says of the same
# sockets, and every segment is a sample.
#
#   client                                               host
#   near 10.9.6.1, fd09:6::1 ---- wire.py, 8 ms ---- near 10.9.6.2, fd09:6::2
#   far  10.9.7.1, fd09:7::1 ---- wire.py, 40 ms --- far  10.9.7.2, fd09:7::2
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen tcp/tcp_probe
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
client=$RUN-client host=$RUN-host
namespace "$client" "$host"
ROUNDS=20
WITHIN=$HERE/tcp/rtt_check.py

wire() { # DEVICE NET MILLISECONDS
	background "$client" timeout -k 1 500 python3 tests/tcp/wire.py "$client" "$host" --device "$1" \
		--delay "$3" >"$SCRATCH/wire.$1"
	await 60 grep -q ready "$SCRATCH/wire.$1" || return
	address "$client" "$1" "10.9.$2.1/24" "fd09:$2::1/64"
	address "$host" "$1" "10.9.$2.2/24" "fd09:$2::2/64"
	ip -n "$client" link set "$1" up
	ip -n "$host" link set "$1" up
}

serve() {
	background "$host" python3 tests/tcp/bursts.py serve "$@" >"$SCRATCH/serve"
	await 60 grep -q ready "$SCRATCH/serve"
}

talks=()
talk() { # ADDRESS PORT
	background "$client" python3 tests/tcp/bursts.py talk "$1" "$2" --rounds $ROUNDS \
		>"$SCRATCH/talk.${#talks[@]}"
	talks+=($!)
}

all_talked() {
	[ "$(cat "$SCRATCH"/talk.* | grep -c 'done')" = ${#talks[@]} ]
}

# Nothing of what was said is on its way.
settled() {
	inside "$client" ss -Htin state established >"$SCRATCH/ss"
	inside "$host" ss -Htin state established >"$SCRATCH/ss.host"
	python3 "$WITHIN" --settled "$SCRATCH/ss" "$SCRATCH/ss.host"
}

# Connections as ss sees them are compared with rows; what is wrong is said.
within() { # TEXT NAMESPACE FILE
	inside "$2" ss -Htin state established >"$SCRATCH/ss"
	python3 "$WITHIN" "$SCRATCH/ss" "$3" >"$OUTPUT" 2>&1
	report $? "$1"
}

samples() { # FILE [CONDITION]: of all summaries in it
	jq -s "map(.rows // [] | .[] | select(${2:-true}) | .samples) | add // 0" "$1"
}

tracers=()
begin() { # NAME NAMESPACE OPTIONS...
	check "a trace: $1" trace_begin "$SCRATCH/$1" -j -n "$2" tcp rtt "${@:3}"
	tracers+=("$tracing")
}

check "a wire of 16 ms" wire near 6 8
check "a wire of 80 ms" wire far 7 40
check "a listener" serve 5001 5002
check "collect in the background" "$WEIR" -n "$client" tcp rtt --pin --by peer
begin client "$client" --by peer,port,peer-port,netns
begin host "$host" --by peer,port,peer-port,netns
begin all "$client"
begin ports "$host" --by port
begin intervals "$client" -i 0.3
begin far "$client" --by peer --peer 10.9.7.0/24
begin six "$client" --by peer -6
begin port "$client" --by peer-port --peer-port 5002
begin other_namespace "$host" --by peer --netns "$client"
"$WEIR" -j -n "$client" tcp rtt --pinned -i 0.2 >"$SCRATCH/watching" 2>/dev/null &
watching=$!
await 60 test -s "$SCRATCH/watching"
{ kill -KILL "$watching"; wait "$watching"; } 2>/dev/null

talk 10.9.6.2 5001
talk 10.9.7.2 5001
talk fd09:6::2 5001
talk fd09:7::2 5002
talk 10.9.7.2 5002
check "all has been said" await 200 all_talked
check "and has arrived" await 60 settled
shown=$(wc -l <"$SCRATCH/intervals")
await 60 more_than $((shown + 1)) grep -c . "$SCRATCH/intervals"
for tracing in "${tracers[@]}"; do
	trace_finish "$tracing"
done

within "client: each connection as ss knows it, and each segment a sample" "$client" "$SCRATCH/client"
within "host: the same" "$host" "$SCRATCH/host"
equal "without --by one row, of all of them" "1 $(samples "$SCRATCH/client")" \
	"$(jq '.rows | length' "$SCRATCH/all") $(samples "$SCRATCH/all")"
check "the histogram is the sum of theirs" jq -es '
	def whole: map(.histogram[] | select(.samples > 0)) | group_by(.least_us) |
		map({at: .[0].least_us, n: (map(.samples) | add)});
	(.[0].rows | whole) == (.[1].rows | whole)' "$SCRATCH/client" "$SCRATCH/all"
equal "by local port: the listener's" "5001 $(samples "$SCRATCH/host" '.port == 5001')" \
	"$(jq -r '.rows[] | select(.port == 5001) | "\(.port) \(.samples)"' "$SCRATCH/ports")"
equal "intervals add up to the whole" "$(samples "$SCRATCH/all")" "$(samples "$SCRATCH/intervals")"
# shellcheck disable=SC2016 # jq's own variables
check "two ways, two bands: nothing below what the wire takes" jq -e '
	[.rows[] | select(.peer == "10.9.6.2" or .peer == "fd09:6::2")] as $near |
	[.rows[] | select(.peer == "10.9.7.2" or .peer == "fd09:7::2")] as $far |
	($near | length) == 2 and ($far | length) == 3 and
	all($near[]; .rtt_min_us >= 16000 and .mean_us >= 16000 and .p50_us >= 8192) and
	all($far[]; .rtt_min_us >= 80000 and .mean_us >= 80000 and .p50_us >= 65536 and
	.p99_us >= .p50_us)' "$SCRATCH/client"
equal "a peer: only what is there" "10.9.7.2 $(samples "$SCRATCH/client" '.peer == "10.9.7.2"')" \
	"$(jq -r '.rows[] | "\(.peer) \(.samples)"' "$SCRATCH/far")"
equal "IPv6" "fd09:6::2 fd09:7::2 $(samples "$SCRATCH/client" '.peer | startswith("fd09")')" \
	"$(jq -r '.rows | map(.peer) | sort | join(" ")' "$SCRATCH/six") $(samples "$SCRATCH/six")"
equal "a peer's port" "5002 $(samples "$SCRATCH/client" '.peer_port == 5002')" \
	"$(jq -r '.rows[] | "\(.peer_port) \(.samples)"' "$SCRATCH/port")"
equal "another namespace" "$(samples "$SCRATCH/client")" "$(samples "$SCRATCH/other_namespace")"
equal "in the background: the same, though its reader was killed" \
	"$(jq -c '[.rows[] | [.peer, .samples]] | group_by(.[0]) | map([.[0][0], (map(.[1]) | add)])' \
		"$SCRATCH/client")" \
	"$("$WEIR" -j -n "$client" tcp rtt --pinned | jq -c '[.rows[] | [.peer, .samples]] | sort')"
says "people see bars" '[0-9]+ -> [0-9]+ .*\*' "$WEIR" -n "$client" tcp rtt --pinned
says "and what it costs" 'weir_rtt +[0-9]' "$WEIR" -n "$client" tcp rtt --pinned --overhead -d 0.2

# Once more with a full map: what has no row is in one for all others.
check "by peer and port" "$WEIR" -n "$host" tcp rtt --pin --by peer-port
check "fill the map" python3 "$WITHIN" --fill "$(pins_of "$host")/tcp/rtt/rows"
talk 10.9.6.2 5001
check "one more connection" await 200 all_talked
check "is counted with the others" jq -e '.rows | length == 1 and .[0].other and
	.[0].peer_port == null and .[0].samples > 10' <("$WEIR" -j -n "$host" tcp rtt --pinned)
says "people are told so" '[(]other[)]' "$WEIR" -n "$host" tcp rtt --pinned
check "unpin" "$WEIR" -n "$host" tcp rtt --unpin
check "unpin the other" "$WEIR" -n "$client" tcp rtt --unpin
check "no pins are left" no_pins "$client"
check "nor there" no_pins "$host"

refuses "what cannot make a row" 1 "peer-port" tcp rtt --by state
refuses "a process" 1 "--pid: .*whose" tcp rtt --pid 1
refuses "--by with --pinned" 1 "belong" tcp rtt --pinned --by peer
refuses "nothing is pinned" 2 "begins" tcp rtt --pinned
