#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The containers' demo, shortened: what it writes is whole and plausible, no request fails, and nothing stays
# behind, also when it is interrupted; a running engine and the containers of others are left alone. How
# fast anything is on this machine is not judged, but for one loose floor.
# shellcheck source=../netns/lib.sh
. "$(dirname "$0")/../netns/lib.sh"

# Always the same: what a test that was killed has left goes with the next one.
export WEIR_DEMO_NAME=weir-test WEIR_DEMO_NET4=10.99.211 WEIR_DEMO_NET6=fd99:211:
LABEL=label=com.docker.compose.project=$WEIR_DEMO_NAME
OUT=$SCRATCH/out RESULT=$SCRATCH/out/result.json OTHER=somebody-beside-$WEIR_DEMO_NAME
own_engine='' demo=''

docker_finish() {
	local status=$?
	trap '' INT TERM HUP
	if [ -n "$demo" ] && kill -INT "$demo" 2>/dev/null; then
		wait "$demo"
	fi
	if engine_answers; then
		docker rm -f "$OTHER" >/dev/null 2>&1
		# By name: others may have the same images.
		docker image ls --format '{{.Repository}}:{{.Tag}}' $WEIR_DEMO_NAME | xargs -r docker image rm >/dev/null
	fi
	if [ -n "$own_engine" ]; then
		kill "$own_engine"
		wait "$own_engine"
	fi
	(exit $status)
	finish
}
trap docker_finish EXIT

engine_answers() {
	docker info 2>/dev/null | grep -q '^ *Server Version'
}

demo() { # ARGUMENTS...: in the background
	docker/run.py --out "$OUT" "$@" >"$SCRATCH/demo" 2>"$SCRATCH/demo.errors" &
	demo=$!
}

demo_ended() { # sets $status, and leaves what was said to be shown
	wait "$demo"
	status=$? demo=''
	{ tail -n 25 "$SCRATCH/demo"; cat "$SCRATCH/demo.errors"; } >"$OUTPUT"
}

says_or_ended() { # PATTERN
	grep -qE -- "$1" "$SCRATCH/demo" || ! kill -0 "$demo" 2>/dev/null
}

# ---- what is there besides ----

programs() { # their ids
	bpftool -j prog list | jq -r '.[] | select(.name // "" | startswith("weir_")) | .id' | sort
}

# Programs, offloads and more of each device; what other devices have become is nobody's fault.
declare -A device_before=()
device_state() { # DEVICE
	ip -j -d link show dev "$1" 2>/dev/null | jq -c '.[0] | [.ifindex, .xdp, .qdisc, .mtu, .flags]'
	ethtool -k "$1" 2>/dev/null
}

remember_devices() {
	local device
	for device in /sys/class/net/*; do
		device_before[${device##*/}]=$(device_state "${device##*/}")
	done
}

devices_as_before() {
	local device
	for device in "${!device_before[@]}"; do
		[ ! -e "/sys/class/net/$device" ] ||
			diff <(echo "${device_before[$device]}") <(device_state "$device") ||
			{ echo "$device"; return 1; }
	done
}

pins() {
	find /sys/fs/bpf -mindepth 1 -maxdepth 2 | sort
}

remember() {
	programs_before=$(programs) pins_before=$(pins) engine_before=$(pidof dockerd)
}

# What has come since then. Other weirs may have come meanwhile, and go.
new_programs() {
	comm -13 <(echo "$programs_before") <(programs)
}

new_pins() {
	comm -13 <(echo "$pins_before") <(pins)
}

gone() { # WHAT LIST
	local left
	left=$(comm -12 <(echo "$2" | grep .) <("$1"))
	[ -z "$left" ] || { echo "$1: ${left//$'\n'/ }"; return 1; }
}

nothing_left() {
	local found=0 kind
	if engine_answers; then
		for kind in "ps -a" "network ls" "volume ls"; do
			# shellcheck disable=SC2086
			! docker $kind -q --filter "$LABEL" | grep . || found=1
		done
	fi
	! ip link show dev $WEIR_DEMO_NAME 2>/dev/null || found=1
	! grep $WEIR_DEMO_NAME /proc/mounts || found=1
	! iptables-save 2>/dev/null | grep -E "$WEIR_DEMO_NAME|10\.99\.211\." || found=1
	! ip6tables-save 2>/dev/null | grep -E "$WEIR_DEMO_NAME|fd99:211:" || found=1
	gone programs "$came_programs" || found=1
	gone pins "$came_pins" || found=1
	return $found
}

demo_left_nothing() { # TEXT
	local came_programs came_pins
	came_programs=$(new_programs) came_pins=$(new_pins)
	await 180 nothing_left
	check "$1" nothing_left
}

engine_as_before() {
	[ "$(pidof dockerd)" = "$engine_before" ]
}

# ---- interrupted ----

remember
demo --quick
await 900 says_or_ended '^\$ wrk '
kill -INT "$demo" 2>/dev/null
demo_ended
if [ "$status" = 77 ]; then
	skip "the containers' demo" "$(tail -n 1 "$SCRATCH/demo.errors")"
	exit
fi
[ "$status" = 130 ]
report $? "interrupted under load, it ends as one that was"
demo_left_nothing "and has removed what it had made"
check "an engine that it started is stopped, another one is left alone" engine_as_before

# ---- beside somebody else ----

other() { # FORMAT
	docker inspect -f "$1" "$OTHER"
}

reached() {
	nsenter --net="/proc/$(other '{{.State.Pid}}')/ns/net" \
		ping -q -c 1 -W 2 "$(other '{{.NetworkSettings.Gateway}}')"
}

# Reached, its devices are in service.
other_state() {
	await 30 reached && echo reached
	other '{{.State.StartedAt}} {{.State.Running}} {{.NetworkSettings.IPAddress}}'
}

# An engine that ends may keep the next one from starting, for a moment.
start_engine() {
	local end=$((SECONDS + 180))
	until engine_answers || [ $SECONDS -gt $end ]; do
		if [ -z "$own_engine" ] || ! kill -0 "$own_engine" 2>/dev/null; then
			dockerd >>"$SCRATCH/dockerd" 2>&1 &
			own_engine=$!
		fi
		sleep 1
	done
}

start_engine
docker rm -f "$OTHER" >/dev/null 2>&1 # of a test that was killed
docker run -d --init --name "$OTHER" --entrypoint sleep $WEIR_DEMO_NAME:demo 3600 >"$OUTPUT" 2>&1
report $? "somebody's container runs"
state=$(other_state)
equal "it is reached" reached "${state%%$'\n'*}"
remember_devices
remember

# ---- the whole ----

demo --quick
demo_ended
[ "$status" = 0 ]
report $? "the demo, shortened, succeeds"
demo_left_nothing "it has removed what it had made"
check "the engine is the same" engine_as_before
equal "somebody's container was left alone" "$state" "$(other_state)"
check "so were all devices" devices_as_before

holds "result.json has all parts" \
	'.machine.kernel and .rounds == 1 and .seconds == 1 and (.show | type) == "object" and
	(.ways | length) >= 12 and (.cost | type) == "object" and (.wire | type) == "object" and
	.failed_acts == {}' cat "$RESULT"
holds "each way was measured with each family" \
	'(.ways | group_by(.key) | all(map(.family) | sort == [4, 6])) and
	(.ways | all(.requests_per_second.median > 10 and .p50_us.median > 0 and .p99_us.median > 0 and
		(.samples | length) == 1))' cat "$RESULT"
holds "no request failed" '.ways | all(.failed == 0 and .failed_runs == 0)' cat "$RESULT"
holds "none failed while a backend was drained and another one added" \
	'.show | .failed == 0 and .requests > 1000' cat "$RESULT"

in_table() { # every way once for each family
	local title
	[ -s "$RESULT" ] || return
	while read -r title; do
		[ "$(grep -cF -- "$title  " "$OUT/table.txt")" -ge 2 ] || { echo "not there: $title"; return 1; }
	done < <(jq -r '.ways[].title' "$RESULT")
}
check "the table has them all" in_table
holds "checksums were looked at on the wire, of each kind that weir can meet, and none was wrong" \
	'.wire.ways | ([.[] | "\(.key) \(.family) \(.finished)"] | unique | length) >= 8 and
		all(.checked > 1000 and (.hosts | all(.bad == 0)))' cat "$RESULT"

drawn() { # bars: one for each way and family, and one in the legend
	python3 - "$OUT/chart.svg" <<-'END'
		import sys, xml.etree.ElementTree
		svg = xml.etree.ElementTree.parse(sys.argv[1]).getroot()
		print(len([e for e in svg.iter() if e.tag.endswith("}rect") and e.get("class") != "page"]))
	END
}
equal "the chart is well-formed and has a bar for each" "$(jq '.ways | length + 4' <"$RESULT" || echo some)" \
	"$(drawn 2>/dev/null)"

# ---- how fast ----

# One round may meet whatever else the machine does; the median of several hardly does.
fast_enough() {
	jq -e '[.ways[] | select(.key == "nat-native") | .ratio_to_course.median] |
		length == 2 and all(. != null and . >= 1.5)' <"$RESULT"
}
for rounds in 3 7; do
	! fast_enough >/dev/null || break
	demo --only course,nat-native --skip show,cost,wire --rounds $rounds
	demo_ended
done
check "weir nat is at least 1.5 times as fast as the course's nginx" fast_enough
