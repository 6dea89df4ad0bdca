#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Command lines that are wrong: one line on stderr, status 1 for how it is written and 2 for what it
# asks, and nothing has changed.
#
#   host: eth0, eth1 are the two ends of a link
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
host=$RUN-host
namespace "$host"
link "$host" eth0 "$host" eth1

printf '10.0.0.0/8\n10.0.0.0/33\n' >"$SCRATCH/length"
printf '10.0.0.1\nfd00::/8 trailing\n' >"$SCRATCH/trailing"
printf '10.0.0.1\n10.0.1.1/24\n' >"$SCRATCH/bits"
printf '\001\002\003\n' >"$SCRATCH/binary"
head -c 100000 /dev/zero >"$SCRATCH/zeroes"
: >"$SCRATCH/empty"
echo 10.0.0.1 >"$SCRATCH/good"
mkdir "$SCRATCH/dir"
long=$(printf 'x%.0s' $(seq 300))

state() {
	# The instance may come and go; what is in force may not.
	value '[.devices[].device], .summary' status
	value '[.rules[] | [.id, .rule]]' rule list
	xdp_program "$host" eth0
	find "$(pins_of "$host")" | sort
}

# STATUS|PATTERN|ARGUMENTS, split at blanks.
table() {
	cat <<-EOF
		1|no object 'frobnicate'|frobnicate
		1|no command 'rule frob'|rule frob
		1|may be|s
		1|no option|--frobnicate status
		1|needs a value|--netns
		1|'now'|status now
		1|device is missing|attach
		1|mode 'warp'|attach eth0 --mode warp
		1|value|attach eth0 --mode
		1|nothing to attach|attach eth1 --xdp-only --tc-only
		1|-x|attach eth0 -x
		2|nodev|attach nodev
		2|attached in another way|attach eth0 --tc-only
		1|missing|detach
		1|eth1|detach eth0 eth1
		2|eth1 is not attached|detach eth1
		2|nodev|detach nodev
		1|action is missing|rule add
		1|'refuse'|rule add refuse
		1|value|rule add drop src
		1|300|rule add drop src 10.0.0.300
		1|prefix length|rule add drop src 10.0.0.0/33
		1|prefix length|rule add drop src fd00::/129
		1|prefix length|rule add drop src 10.0.0.0/
		1|prefix length|rule add drop src 10.0.0.0/8x
		1|prefix length|rule add drop src 10.0.0.0/-1
		1|10.0.0.0/24|rule add drop src 10.0.0.1/24
		1|no address|rule add drop src $long
		1|no address|rule add drop dst example.org
		1|twice|rule add drop src 10.0.0.1 src 10.0.0.2
		1|different families|rule add drop src 10.0.0.1 dst fd00::1
		1|protocol 'ftp'|rule add drop proto ftp
		1|protocol|rule add drop proto 256
		1|dport|rule add drop dport 65536
		1|dport|rule add drop dport -1
		1|dport|rule add drop dport 80-
		1|dport|rule add drop dport 80x
		1|ends before|rule add drop dport 90-80
		1|port needs|rule add drop proto icmp dport 80
		1|arp cannot|rule add drop proto arp src 10.0.0.1
		1|'limit' needs a value|rule add limit
		1|rate '0'|rule add limit 0
		1|rate '-5'|rule add limit -5
		1|rate '5/y'|rule add limit 5/y
		1|rate '1e30'|rule add limit 1e30
		1|rate 'nan'|rule add limit nan
		1|burst|rule add limit 5 burst 0
		1|burst|rule add drop burst 5
		2|nodev|rule add drop dev nodev
		1|device name|rule add drop dev $long
		1|'extra'|rule add drop extra
		1|rule id|rule add drop before x
		2|no rule 77|rule add pass proto tcp before 77
		2|exists already|rule add drop proto 9
		1|id is missing|rule del
		1|rule id|rule del 0
		1|rule id|rule del 1x
		1|rule id|rule del 99999999999999999999
		2|no rule 77|rule del 1 77
		1|file is missing|rule load
		2|nofile|rule load $SCRATCH/nofile
		2|dir|rule load $SCRATCH/dir
		1|line 2|rule load $SCRATCH/length
		1|line 2|rule load $SCRATCH/trailing
		1|line 2|rule load $SCRATCH/bits
		1|line 1|rule load $SCRATCH/binary
		1|zeroes|rule load $SCRATCH/zeroes
		1|holds no prefix|rule load $SCRATCH/empty
		1|src or dst|rule load $SCRATCH/good match both
		1|also names|rule load $SCRATCH/good drop src 10.0.0.1
		1|list name|rule load $SCRATCH/good name $long
		1|extra|rule flush extra
		1|extra|rule list extra
		1|interval|stats -i 0
		1|interval|stats -i x
		1|count|stats -c 0
		1|count|stats -c 1.5
		2|nodev|stats nodev
		1|eth1|stats eth0 eth1
		1|terminal|top
		1|interval|top -i x
		2|nodev|drop show nodev
		1|interval|drop watch -i -1
		2|nodev|handshake show nodev
		1|port|handshake watch --port 99999
		1|role|handshake watch --role king
		1|-q|handshake watch -q
		2|nodev|doctor nodev
	EOF
}

weir attach eth0 >"$OUTPUT" 2>&1
weir rule add drop proto 9 >>"$OUTPUT" 2>&1
before=$(state)
equal "the state begins with one rule" 1 "$(value '.rules | length' rule list)"
while IFS='|' read -r status pattern words; do
	# shellcheck disable=SC2086
	refuses "${words:0:60}" "$status" "$pattern" $words
done < <(table)
equal "nothing has changed" "$before" "$(state)"

refuses_as() { # TEXT STATUS PATTERN WEIR-ARGUMENTS...: without -n
	local right=1
	"$WEIR" "${@:4}" >"$SCRATCH/stdout" 2>"$OUTPUT"
	[ $? = "$2" ] && [ ! -s "$SCRATCH/stdout" ] && grep -qE "$3" "$OUTPUT" && right=0
	report $right "$1"
}
refuses_as "a namespace that does not exist" 2 "nonesuch" -n nonesuch status
refuses_as "an instance name with a slash" 1 "instance name" --instance a/b status
refuses_as "an instance name that hides" 1 "instance name" --instance .. status
refuses_as "an empty instance name" 1 "instance name" --instance "" status
refuses_as "another namespace's instance" 2 "another network namespace" \
	--instance "$host" status
says "-V" '^weir [0-9]' weir -V
check "help" weir help
check "help of a command" weir rule add help
check_not "-j help of nothing" weir -j frobnicate
weir -j rule list >/dev/full 2>"$OUTPUT"
equal "a full disk is an error" 2 $?
weir >/dev/null 2>"$OUTPUT"
equal "no words at all: usage" 1 $?
check "detach --all" weir detach --all
check "no pins are left" no_pins
