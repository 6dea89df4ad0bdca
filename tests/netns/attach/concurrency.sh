#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Many weir processes at once: each change happens whole or not at all, none is lost, and looks never
# fail while others change.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here
#   eth1 -------------------- eth1                 and comes and goes here
# On a bpffs of its own, so that the directory of all instances comes and goes as well.
if [ -z "${OWN_BPFFS:-}" ] && [ "$(id -u)" = 0 ]; then
	# shellcheck disable=SC2016
	OWN_BPFFS=1 exec unshare -m bash -c 'mount -t bpf bpf /sys/fs/bpf && exec bash "$0"' "$0"
fi
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
WEIR_TIMEOUT=300 # they wait for one another
pair
link "$client" eth1 "$host" eth1

# Commands of one kind, one after another, in the background; failures go to the log.
worker() { # NAME COMMANDS...: one command line an argument
	local name=$1 words
	shift
	(
		for words; do
			# shellcheck disable=SC2086
			weir $words >"$SCRATCH/$name.out" 2>&1 || { echo "$words:"; cat "$SCRATCH/$name.out"; }
		done >"$SCRATCH/$name.failures"
	) &
	workers+=($!)
}

finished() {
	wait "${workers[@]}"
	workers=()
	cat "$SCRATCH"/*.failures
	! grep -q . "$SCRATCH"/*.failures
}

commands() { # FIRST LAST WORDS...: each with a number for %
	local n
	for n in $(seq "$1" "$2"); do
		printf '%s\n' "${*:3}" | sed "s/%/$n/"
	done
}

test_adds() {
	local w
	for w in 1 2 3 4 5 6; do
		mapfile -t lines < <(commands $((w * 100)) $((w * 100 + 9)) rule add drop proto tcp dport %)
		worker "add$w" "${lines[@]}"
	done
	mapfile -t lines < <(commands 1 20 status)
	worker look "${lines[@]}"
	check "six processes add ten rules each, one looks: none fails" finished
	holds "60 rules are there, each once, with ids of their own" \
		'(.rules | length == 60) and ([.rules[].id] | unique | length == 60) and
		([.rules[].destination_ports[0]] | unique | length == 60)' \
		weir -j rule list
	mapfile -t lines < <(value ".rules[].id" rule list | sed 's/^/rule del /')
	for w in 0 1 2 3 4 5; do
		worker "del$w" "${lines[@]:w * 10:10}"
	done
	check "six processes delete ten each" finished
	equal "none is left" 0 "$(value '.rules | length' rule list)"
}

test_attaches() {
	local w lines=()
	for w in 1 2 3; do
		worker "attach$w" "attach eth1" "attach eth0" "attach eth1" "attach eth0"
	done
	check "three processes attach the same devices: none fails" finished
	holds "each is attached once" '.devices | length == 2' weir -j status
	for w in 1 2 3; do
		worker "mix$w" "rule add drop proto udp dport 500$w" "attach eth0" \
			"rule add limit 10 src 192.0.2.$w" "attach eth1" "rule add drop src 2001:db8::$w"
	done
	check "rules that exchange programs beside attaches" finished
	equal "nine rules" 9 "$(value '.rules | length' rule list)"
	check "ping passes" pings "$client" 10.9.0.2
	start "$host" sink 5002 --wanted 0
	traffic "$client" send 10.9.0.2 5002 20 >/dev/null
	stop "$started"
	equal "the rules are obeyed" 0 "$said"
	weir rule flush >/dev/null
}

# The instance, and the directory of all instances, are made and removed all the time.
test_come_and_go() {
	local w line
	weir detach --all >/dev/null
	for w in 1 2 3 4; do
		line=()
		for _ in 1 2 3 4 5 6 7 8; do
			line+=("rule add drop proto 20$w" "rule flush" "detach --all" "status")
		done
		worker "come$w" "${line[@]}"
	done
	wait "${workers[@]}"
	workers=()
	cat "$SCRATCH"/come*.failures >"$SCRATCH/failures"
	check "instances that come and go: no failure but of twins" \
		bash -c "! grep -vE '^rule add|exists already' '$SCRATCH/failures'"
	check "detach --all" weir detach --all
	check "no pins are left" no_pins
	check "nor the directory of all instances" test ! -e /sys/fs/bpf/weir
	worker a "attach eth0" "detach eth0" "attach eth0" "detach eth0" "attach eth0"
	worker b "attach eth1" "detach eth1" "attach eth1" "detach eth1" "attach eth1"
	check "two processes with a device each" finished
	holds "both are attached" '.devices | length == 2' weir -j status
}

# Killed ones among them.
test_killed() {
	local w
	for w in 1 2 3 4; do
		(
			for n in 1 2 3 4 5; do
				timeout -s KILL 0.0$((RANDOM % 90 + 10)) "$WEIR" -n "$host" \
					rule add drop proto tcp dport $((w * 1000 + n))
				weir rule add drop proto udp dport $((w * 1000 + n))
			done
		) >"$SCRATCH/killed$w" 2>&1 &
		workers+=($!)
	done
	wait "${workers[@]}" 2>/dev/null
	workers=()
	equal "killed processes among them: the others' 20 rules are there" 20 \
		"$(value '[.rules[] | select(.protocol == 17)] | length' rule list)"
	check "ping passes" pings "$client" 10.9.0.2
}

workers=()
check "attach" weir attach eth0
test_adds
test_attaches
test_come_and_go
test_killed
check "detach --all" weir detach --all
check "no pins are left" no_pins
