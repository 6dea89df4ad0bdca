#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Many services, a service with many backends, full tables, and changes that are killed in the middle.
# Times are shown, not judged: tests/unit/balance/slots.c has the bound on a change of the largest service.
#
#   client                         host
#   eth0 10.9.0.1/21 -------- eth0 10.9.0.2/21     weir is attached here
#        all of 10.9.4.0/22        10.128.0.0/9: the services
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

FILL=$(dirname "$WEIR")/tests/scale/fill
SERVICES=${SERVICES:-4000}
WEIR_TIMEOUT=120
[ -x "$FILL" ] || { echo "1..0 # SKIP $FILL is not built"; exit 0; }
pair
for at in "$client 1" "$host 2"; do
	# shellcheck disable=SC2086
	set -- $at
	ip -n "$1" address flush dev eth0 scope global
	address "$1" eth0 "10.9.0.$2/21"
done
ip -n "$client" route add local 10.9.4.0/22 dev lo
inside "$client" ethtool -K eth0 gro on >/dev/null
first=10.128.0.1:80 one=10.9.3.1:80

# All services whose backends that are up do not own all slots.
unsound='[.services[] | select(([.backends[] | select(.state == "up")] | length) > 0) |
	select(([.backends[].slots] | add) != .slots)] | length'

timed() { # TEXT COMMAND...
	local start=${EPOCHREALTIME/./}
	check "$@"
	echo "#   $(((${EPOCHREALTIME/./} - start) / 1000)) ms"
}

memory() {
	local map
	for map in services slots backends backend_counters service_counters flows nat_flows \
		nat_ports fragments egress_devs; do
		bpftool -j map show pinned "$(pins_of "$host")/$map" 2>/dev/null
	done | jq -s 'map(.bytes_memlock // 0) | add / 1024 | floor'
}

connects() { # NUMBER: begins so many connections
	inside "$client" timeout 100 python3 - "$1" <<-'END'
		import socket, sys
		for i in range(int(sys.argv[1])):
		    s = socket.socket()
		    s.setblocking(False)
		    s.connect_ex(("10.9.3.1", 80))
		    s.close()
	END
}

# ---- one service with a thousand backends ----

weir attach eth0 >"$OUTPUT" 2>&1 || report 1 "attach"
check "a service" weir service add tcp $one mode dsr-l2
small=$(memory)
echo "#   $small KiB of maps"
between "a small service takes at most 100 kB" 1 100 "$small"
mapfile -t backends < <(for i in $(seq 1000); do echo "10.9.$((4 + i / 256)).$((i % 256))"; done)
timed "1000 backends are added" weir backend add tcp $one "${backends[@]}"
holds "all of them own slots" \
	".services[0] | .slots == 65536 and ([.backends[] | select(.slots > 0)] | length) == 1000" \
	weir -j backend list tcp $one
refuses "no more than 1000" 2 "1000 backends already" backend add tcp $one 10.9.7.250
timed "one gets another weight" weir backend set tcp $one 10.9.4.7 weight 3
timed "one is drained" weir backend drain tcp $one 10.9.4.8
timed "and comes back" weir backend set tcp $one 10.9.4.8 state up
timed "one is deleted" weir backend del tcp $one 10.9.4.9 now
timed "and added again" weir backend add tcp $one 10.9.4.9
holds "slots are all owned" "$unsound == 0" weir -j backend list tcp $one
ip -n "$client" route add 10.9.3.1 via 10.9.0.2
connects 200
check "packets are balanced" await 20 more_than 199 value '.services[0].packets' service list tcp $one
timed "one is drained with flows" weir backend drain tcp $one 10.9.4.10
holds "and its slots begin to move" '.services[0].slots_moving > 0' weir -j service list tcp $one
check "the service is deleted" weir service del tcp $one

# ---- many services ----

timed "$SERVICES services at once" inside "$host" timeout 200 "$FILL" "$host" "$SERVICES" 2 dsr-ipip
echo "#   $(memory) KiB of maps"
timed "one more" weir service add tcp $one mode dsr-ipip
timed "a backend of it" weir backend add tcp $one 10.9.4.1
timed "another one" weir backend add tcp $one 10.9.4.2
timed "its weight" weir backend set tcp $one 10.9.4.2 weight 2
timed "drained" weir backend drain tcp $one 10.9.4.2
timed "a list of its backends, a second of rates" weir -j backend list tcp $one
timed "a list of all" weir -j service list
cp "$OUTPUT" "$SCRATCH/all"
equal "it has all" $((SERVICES + 1)) "$(jq '.services | length' "$SCRATCH/all")"
equal "and their slots are owned" 0 "$(jq "$unsound" "$SCRATCH/all")"
timed "one is deleted" weir service del tcp $one
timed "the first one changes" weir service set tcp $first mss 1400
inside "$host" timeout -s INT 4 "$WEIR" -n "$host" -v run -i 0.5 >"$OUTPUT" 2>&1
report "$([ $? = 124 ]; echo $?)" "weir run"

# ---- full ----

weir detach --all >"$OUTPUT" 2>&1
weir attach eth0 >"$OUTPUT" 2>&1
refuses_fill() { # TEXT PATTERN FILL-ARGUMENTS...
	inside "$host" timeout 200 "$FILL" "$host" "${@:3}" >"$OUTPUT" 2>&1
	[ $? = 2 ] && grep -qE -- "$2" "$OUTPUT"
	report $? "$1"
}
refuses_fill "no more than 16383 services" "16383 services already" 16384 0 dsr-l2
equal "and nothing of them is there" 0 "$(value '.services | length' service list)"
check "a service" weir service add tcp $one mode dsr-l2 slots 1024 flows 64
check "its backend" weir backend add tcp $one 10.9.4.1
weir -j service list >"$SCRATCH/before" 2>/dev/null
timeout 30 prlimit --as=60000000 "$WEIR" -n "$host" service add tcp 10.9.3.2:80 mode nat \
	flows 4194304 >"$OUTPUT" 2>&1
[ $? = 2 ] && [ "$(wc -l <"$OUTPUT")" = 1 ] && grep -q "emory" "$OUTPUT"
report $? "no memory for the flows"
equal "and nothing has changed" "$(jq -c '[.services[].service]' "$SCRATCH/before")" \
	"$(value '[.services[].service] | tojson' service list)"

# ---- killed ----

# strace ends the command in its Nth system call of that kind.
killed_at() { # CALLS NUMBER WEIR-ARGUMENTS...
	(
		timeout -k 5 30 strace -f -qq -o /dev/null -e trace="$1" \
			-e "inject=$1:signal=KILL:when=$2" "$WEIR" -n "$host" "${@:3}"
		[ $? = 137 ]
	) >/dev/null 2>&1
}

# Programs and pins are of one mind, nothing is announced any more, and all slots are owned.
sound() {
	local ids id map
	weir backend set tcp $one 10.9.4.1 weight $((RANDOM % 9 + 1)) || return
	[ ! -e "$(pins_of "$host")/next" ] || return
	ids=$(bpftool -j prog show id "$(bpftool -j link show pinned \
		"$(pins_of "$host")/devices/eth0/xdp" | jq .prog_id)" | jq -c .map_ids)
	for map in services slots backends backend_counters flows nat_flows; do
		id=$(bpftool -j map show pinned "$(pins_of "$host")/$map" | jq .id)
		jq -e "index($id)" <<<"$ids" >/dev/null || { echo "not the program's: $map"; return 1; }
	done
	weir -j service list tcp $one | jq -e "$unsound == 0"
}

if [ -e "$(pins_of "$host")/devices/eth0/xdp" ] && command -v strace >/dev/null &&
	bpftool -j link show pinned "$(pins_of "$host")/devices/eth0/xdp" >/dev/null 2>&1; then
	number=100 size=2048
	for call in renameat2,rename bpf; do
		[ $call = bpf ] && steps='60 90 110 130' || steps='2 9 10 11 19 20'
		for step in $steps; do
			number=$((number + 1)) size=$((size * 2))
			[ $size -le 1048576 ] || size=4096
			killed_at $call "$step" service add tcp 10.9.3.3:$number mode dsr-l2 \
				slots $size || continue
			check "killed at $call $step" sound
		done
	done
else
	skip "killed in the middle" "needs strace and programs with links"
fi
