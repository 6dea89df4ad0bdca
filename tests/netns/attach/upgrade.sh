#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Another build of weir takes over what is attached, under traffic, with counters and rules kept; one
# that speaks another schema refuses and changes nothing, and its status shows what it can read.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

TREE=$SCRATCH/tree
mkdir "$TREE"
cp -a Makefile loader xdp tc sockops trace tests "$TREE"

another() { # NAME MAKE-VARIABLES...
	(cd "$TREE" && build_another "$TREE/$1" "${@:2}") && cp "$TREE/$1/weir" "$SCRATCH"/"$1"
}

if ! command -v clang >/dev/null || ! another next VERSION=9.9; then
	tail -n 5 "$OUTPUT" | sed 's/^/# /'
	skip "upgrade" "no second version could be built"
	exit
fi
pair

with() { # BUILD WEIR-ARGUMENTS...
	timeout 60 "$SCRATCH/$1" -n "$host" "${@:2}"
}

# A document for which the jq condition is true, one line on stderr that matches for each pattern, and
# status 2.
shows_rest() { # TEXT CONDITION "PATTERN..." COMMAND...
	local pattern status wrong lines=0
	"${@:4}" -j status >"$SCRATCH/stdout" 2>"$SCRATCH/stderr"
	status=$?
	jq -e "$2" "$SCRATCH/stdout" >/dev/null 2>&1
	wrong=$?
	for pattern in $3; do
		((++lines))
		grep -qE -- "$pattern" "$SCRATCH/stderr" || wrong=1
	done
	[ $status = 2 ] && [ -s "$SCRATCH/stdout" ] && [ "$(wc -l <"$SCRATCH/stderr")" = $lines ] || wrong=1
	{ echo "status $status"; cat "$SCRATCH/stdout" "$SCRATCH/stderr"; } >"$OUTPUT"
	report $wrong "$1"
}

# A record that no weir knows, in place of one or alone.
strange_record() { # PIN
	local pin
	pin=$(pins_of "$host")/$1
	mkdir -p "${pin%/*}" && rm -f "$pin"
	bpftool map create "$pin" type array key 4 value 4096 entries 1 name another
}

test_upgrade() {
	local pinged packets pulse echo
	check "attach" weir attach eth0
	check "ping passes" pings "$client" 10.9.0.2
	await 20 more_than 2 counted eth0 classes.icmp4.packets
	pinged=$(counted eth0 classes.icmp4.packets)
	check "a rule" weir rule add drop proto udp dport 5000
	traffic "$client" send 10.9.0.2 5000 50 >/dev/null
	start "$host" echo 7
	echo=$started
	start "$client" pulse 10.9.0.2 7
	pulse=$started
	await 30 more_than 100 counted eth0 packets
	packets=$(counted eth0 packets)
	says "the next version attaches" "^eth0: updated" with next attach eth0
	stop "$pulse"
	equal "no packet is lost on the way" 0 "$said"
	stop "$echo"
	holds "status tells the version" '.devices[0].version == "9.9"' with next -j status
	between "the counters were kept" "$packets" 9999999 "$(counted eth0 packets)"
	equal "also where nothing was added" "$pinged" "$(counted eth0 classes.icmp4.packets)"
	equal "the rule's as well" 50 "$(matched 1)"
	start "$host" sink 5000 --wanted 0
	traffic "$client" send 10.9.0.2 5000 50 >/dev/null
	stop "$started"
	equal "the rule is obeyed" 0 "$said"
	equal "and counts on" 100 "$(matched 1)"
	says "back to the version before" "^eth0: updated" weir attach eth0
	holds "status tells it" '.devices[0].version != "9.9"' weir -j status
}

test_schema() {
	local program
	sed -i 's/^#define WEIR_XDP_SCHEMA .*/#define WEIR_XDP_SCHEMA 4711u/' "$TREE/xdp/abi.h"
	sed -i 's/^#define WEIR_BALANCE_SCHEMA .*/#define WEIR_BALANCE_SCHEMA 4712u/' \
		"$TREE/xdp/balance/abi.h"
	if ! another other VERSION=10.0; then
		skip "another schema" "it could not be built"
		return
	fi
	check "a service" weir service add tcp 192.0.2.1:80 mode nat
	shows_rest "status by it tells what it cannot read, and exits so" \
		'(.unreadable | length == 3) and
			(.summary[0] | .devices == 1 and .rules == null and .services == null) and
			.devices == [{"device": "eth0", "state": "cannot be read"}] and .sockets == []' \
		'eth0:.*schema rule.table.*4711 services.*4712' with other
	check "the service goes" weir service del tcp 192.0.2.1:80
	program=$(xdp_program "$host" eth0)
	with other attach eth0 >"$SCRATCH/stdout" 2>"$OUTPUT"
	equal "another schema is refused" 2 $?
	with other attach eth0 >/dev/null 2>"$SCRATCH/refusal"
	check "in one line that says what to do" grep -qE "schema.*4711.*weir detach (eth0|--all)" \
		"$SCRATCH/refusal"
	equal "the program is untouched" "$program" "$(xdp_program "$host" eth0)"
	equal "and the rule" 100 "$(matched 1)"
	with other rule add drop proto 99 >/dev/null 2>&1
	check_not "a rule by it is refused" with other rule add drop proto 99
	equal "one rule" 1 "$(value '.rules | length' rule list)"
	check "detach by it" with other detach eth0
	equal "takes the program off" "" "$(xdp_program "$host" eth0)"
	with other attach eth0 >"$OUTPUT" 2>&1 || with other rule flush >>"$OUTPUT" 2>&1
	check "attach by it, after a flush of rules if it asks for one" with other attach eth0
	check "ping passes" pings "$client" 10.9.0.2
	check "detach --all by the first" weir detach --all
	equal "no program is left" "" "$(xdp_program "$host" eth0)"
	check "no pins are left" no_pins
}

# What is attached by links goes a while after the last pin of them.
nothing_attached() {
	[ -z "$(xdp_program "$host" eth0)" ] &&
		[ "$(inside "$host" bpftool -j net show dev eth0 | jq '.[0].tc | length')" = 0 ]
}

# Records of a size that this weir does not know.
test_records() {
	local pin
	for pin in devices/eth0/attachment instance; do
		check "attach" weir attach eth0
		strange_record $pin
		refuses "attach as well" 2 "$pin has another schema" attach eth0
		refuses "a rule as well" 2 "$pin has another schema" rule add drop proto 99
		refuses "detach as well" 2 "$pin has another schema" detach eth0
		refuses "detach --all as well" 2 "$pin has another schema" detach --all
		check "the program is still there" test -n "$(xdp_program "$host" eth0)"
		[ $pin = instance ] || shows_rest "status as well, but for the device's name" \
			'.summary[0].rules == 0 and .devices[0].device == "eth0"' "$pin" weir
		[ $pin != instance ] ||
			refuses "status as well" 2 "$pin has another schema" status
		rm -r "$(pins_of "$host")"
		await 60 nothing_attached
	done
}

# Each part of what status shows, in turn with the parts before it.
test_rest() {
	local lines=sock/sockets
	check "attach" weir attach eth0
	check "a rule" weir rule add drop proto udp dport 5000
	holds "status can read all" '.unreadable == []' weir -j status
	mkdir -p "$(pins_of "$host")/sock/cgroups/1"
	strange_record sock/sockets
	shows_rest "sockets of another schema: status shows the rest" \
		'.sockets == null and .devices[0].mode == "native" and .summary[0].rules == 1' \
		$lines weir
	strange_record tcp/states/about
	lines+=" tcp/states/about"
	shows_rest "a tracer as well" \
		'.tracers == [{"tracer": "states", "state": "cannot be read"}] and
			.devices[0].mode == "native" and .summary[0].rules == 1' "$lines" weir
	link "$client" eth1 "$host" eth1
	check "attach another device" weir attach eth1
	strange_record devices/eth0/attachment
	lines+=" eth0/attachment"
	shows_rest "a device as well: the other one is shown" \
		'[.devices[].device] == ["eth1", "eth0"] and .devices[0].mode == "native" and
			.summary[0].devices == 2 and .summary[0].rules == 1' "$lines" weir
	rm -r "$(pins_of "$host")"
	ip -n "$host" link del eth1
}

test_upgrade
test_schema
test_records
test_rest
