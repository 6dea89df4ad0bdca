#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir tcp port with 50,000 sockets: what is pinned answers with as few readings as with 1,000, and with a
# fraction of the CPU time that ss takes to walk.
# shellcheck source=../../tcp/seen.sh
. "$(dirname "$0")/../../tcp/seen.sh"
seen sock/inet_sock_set_state
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../tcp/lib.sh
. tests/tcp/lib.sh
host=$RUN-host
namespace "$host"
inside "$host" sysctl -qw net.core.somaxconn=16384 # servers may stand still

PORTS=$HERE/tcp/ports.py
services='100 101 102 103 104'
WEIR_TIMEOUT=120
running=()

begin() { # VERB ARGUMENTS...
	local log=$SCRATCH/log.$((++starts))
	background "$host" python3 "$PORTS" "$@" >"$log" 2>&1
	running+=($!)
	logs+=("$log")
}

all_ready() {
	[ "$(grep -l ready "${logs[@]}" | wc -l)" = ${#logs[@]} ]
}

# Both ends are here: each connection is two sockets.
connect() { # COUNT-PER-SERVICE
	local port
	for port in $services; do
		begin hold --host 127.0.0.1 --count "$1" "$port"
	done
	await 200 all_ready
}

established() {
	inside "$host" ss -tanH state established | wc -l
}

as_ss_says() {
	weir -j tcp port --pinned >"$SCRATCH/port" || return
	# shellcheck disable=SC2086
	inside "$host" python3 "$PORTS" compare --no-time-wait $services <"$SCRATCH/port"
}

cost() { # RUNS COMMAND...: milliseconds, the least of all
	inside "$host" python3 "$PORTS" cost "$1" -- "${@:2}"
}

cost_of_weir() {
	cost 10 "$WEIR" -n "$host" tcp port --pinned
}

bpf_calls() {
	inside "$host" strace -f -qq -e trace=bpf -o "$SCRATCH/calls" \
		"$WEIR" -n "$host" tcp port --pinned >/dev/null
	wc -l <"$SCRATCH/calls"
}

for port in $services; do
	begin serve "$port"
done
await 60 all_ready
check "--pin" weir tcp port --pin
connect 100
becomes "1,000 sockets: as ss says" as_ss_says
few=$(cost_of_weir)
calls=0
! command -v strace >/dev/null || calls=$(bpf_calls)
connect 4900
await 60 more_than 49999 established
equal "they are 50,000" 50000 "$(established)"
becomes "50,000 sockets: as ss says" as_ss_says
many=$(cost_of_weir)
walk=$(cost 5 ss -tan)
echo "# CPU ms: weir tcp port --pinned $few with 1,000 sockets, $many with 50,000; ss -tan $walk"
echo "# of the same when it walks: $(cost 5 "$WEIR" -n "$host" tcp port --pinned --walk)"
between "weir takes less than a fifth of what ss takes" 0 "$(awk -v s="$walk" 'BEGIN { print s / 5 }')" \
	"$many"
between "and no more than twice what it took for 1,000" 0 "$(awk -v f="$few" 'BEGIN { print 2 * f + 2 }')" \
	"$many"
if [ "$calls" != 0 ]; then
	equal "as many calls of bpf() as with 1,000: $calls" "$calls" "$(bpf_calls)"
else
	skip "calls of bpf()" "no strace"
fi
kill "${running[@]}"
wait "${running[@]}" 2>/dev/null
await 100 all_ended "$host"
becomes "all have gone" as_ss_says
check "--unpin" weir tcp port --unpin
check "no pins are left" no_pins
