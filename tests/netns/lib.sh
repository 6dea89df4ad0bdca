# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What the tests of these folders speak: TAP, and few verbs. A test is a script of its own, runs alone
# as root, and shows what a command said only where that was not what it should have said.
# $WEIR names the binary to test; default build/weir.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
. tests/topology.sh

TRAFFIC=$HERE/netns/traffic.py
OUTPUT=$SCRATCH/output
done_count=0 failed_count=0 starts=0 started='' said=''
logs=()
client='' host='' server=''

finish() {
	local status=$?
	trap '' INT TERM HUP
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null
	remove_all
	echo "1..$done_count"
	exit $((status || failed_count))
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

report() { # STATUS TEXT
	done_count=$((done_count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $done_count - $2"
		return
	fi
	failed_count=$((failed_count + 1))
	echo "not ok $done_count - $2"
	tail -n 30 "$OUTPUT" | cut -c 1-400 | sed 's/^/#   /'
}

skip() { # TEXT REASON
	done_count=$((done_count + 1))
	echo "ok $done_count - $1 # SKIP $2"
}

# weir in the host's namespace, which is also its instance.
weir() {
	timeout -k 5 "${WEIR_TIMEOUT:-60}" "$WEIR" -n "$host" "$@"
}

# The command succeeds.
check() { # TEXT COMMAND...
	"${@:2}" >"$OUTPUT" 2>&1
	report $? "$1"
}

# The command fails, as far as we care with any status. Nobody waits long for a ping that must not return.
check_not() { # TEXT COMMAND...
	! PING_WAIT=1 "${@:2}" >"$OUTPUT" 2>&1
	report $? "$1"
}

# The command succeeds and says something that matches the extended regular expression.
says() { # TEXT PATTERN COMMAND...
	"${@:3}" >"$OUTPUT" 2>&1 && grep -qE -- "$2" "$OUTPUT"
	report $? "$1"
}

# The command succeeds and the document it prints makes the jq condition true.
holds() { # TEXT CONDITION COMMAND...
	"${@:3}" >"$OUTPUT" 2>&1 && jq -e "$2" <"$OUTPUT" >/dev/null
	report $? "$1"
}

# weir refuses: this status, nothing on stdout, one line on stderr that matches.
refuses() { # TEXT STATUS PATTERN WEIR-ARGUMENTS...
	local status right=1
	weir "${@:4}" >"$SCRATCH/stdout" 2>"$OUTPUT"
	status=$?
	if [ $status = "$2" ] && [ ! -s "$SCRATCH/stdout" ] && [ "$(wc -l <"$OUTPUT")" = 1 ] &&
		grep -qE -- "$3" "$OUTPUT"; then
		right=0
	fi
	{ echo "status $status"; cat "$SCRATCH/stdout"; } >>"$OUTPUT"
	report $right "$1"
}

equal() { # TEXT WANTED FOUND
	echo "wanted $2, found $3" >"$OUTPUT"
	[ "$2" = "$3" ]
	report $? "$1"
}

between() { # TEXT LEAST MOST FOUND
	echo "wanted $2 to $3, found $4" >"$OUTPUT"
	awk -v a="$2" -v b="$3" -v x="$4" 'BEGIN { exit !(x != "" && x + 0 >= a && x + 0 <= b) }'
	report $? "$1"
}

value() { # JQ-FILTER WEIR-ARGUMENTS...
	weir -j "${@:2}" 2>/dev/null | jq -r "$1"
}

# Totals since attach: "verdicts.drop.packets" and the like.
counted() { # DEVICE FIELD
	value ".$2" stats "$1" -i 0.05 -c 1
}

# Packets that rule ID has matched.
matched() { # ID
	value ".rules[] | select(.id == $1) | .packets" rule list
}

traffic() { # NAMESPACE VERB ARGUMENTS...
	inside "$1" timeout -k 2 "${TRAFFIC_TIMEOUT:-120}" python3 "$TRAFFIC" "${@:2}"
}

# Starts what serves, and waits until it is ready. Its pid is $started. Asked to end, it may wait for what
# is still to come: -k counts from then.
start() { # NAMESPACE VERB ARGUMENTS...
	local log=$SCRATCH/log.$((++starts))
	background "$1" timeout -k 60 "${TRAFFIC_TIMEOUT:-500}" \
		python3 "$TRAFFIC" "${@:2}" >"$log" 2>&1
	started=$!
	logs[started]=$log
	await 60 grep -q ready "$log"
}

# Ends it. Its sum is $said.
stop() { # PID
	kill -TERM "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	# shellcheck disable=SC2034
	said=$(tail -n 1 "${logs[$1]}")
}

# Who was held up until the time was over looks once more.
await() { # SECONDS COMMAND...
	local end=$((SECONDS + $1)) late=''
	until "${@:2}" >/dev/null 2>&1; do
		[ -z "$late" ] || return 1
		[ $SECONDS -le $end ] || late=1
		sleep 0.05
	done
}

to_output() { # COMMAND...
	"$@" >"$OUTPUT" 2>&1
}

# As check, of what may need a while: what the command said last is shown.
becomes() { # TEXT COMMAND...
	await 60 to_output "${@:2}"
	report $? "$1"
}

more_than() { # NUMBER COMMAND...: that is what it says
	[ "$("${@:2}")" -gt "$1" ]
}

# Builds weir once more, from the sources here, in a directory of its own. Objects of the build that is
# tested are taken over but for those that VERSION and BPF_DEFS change.
build_another() { # DIRECTORY MAKE-VARIABLES...
	local from before
	from=$(dirname "$WEIR")
	mkdir -p "$1"
	if [ -e "$from/loader/main.d" ]; then
		before=$(sed -n '1s|loader/main\.o:.*||p' "$from/loader/main.d")
		cp -a "$from/loader" "$from"/*.skel.h "$from"/*.bpf.[do] "$1"
		find "$1" -name '*.d' -exec sed -i -E "s#(^| )$before#\1$1/#g" {} +
		grep -rl WEIR_VERSION --include='*.c' loader | sed "s|^|$1/|; s|c$|o|" | xargs rm -f
		[[ " ${*:2}" != *" BPF_DEFS="* ]] || rm -f "$1"/*.bpf.o
	fi
	make -j2 B="$1" "${@:2}" "$1/weir" >"$OUTPUT" 2>&1
}

# Datagrams that were read from sockets there, so far.
datagrams() { # NAMESPACE
	inside "$1" nstat -asz UdpInDatagrams Udp6InDatagrams | awk '/Datagrams/ { n += $2 } END { print n + 0 }'
}

# No connection in these namespaces waits for anything but the end of TIME_WAIT.
all_ended() { # NAMESPACE...
	local name
	for name; do
		! inside "$name" ss -tanH state connected exclude time-wait | grep . || return
	done
}

pings() { # NAMESPACE ADDRESS [COUNT]
	inside "$1" ping -q -i 0.01 -W "${PING_WAIT:-5}" -c "${3:-3}" "$2"
}

no_pins() { # [NAMESPACE]
	! find "$(pins_of "${1:-$host}")" 2>/dev/null | grep .
}

xdp_program() { # NAMESPACE DEVICE: its id, or nothing
	ip -n "$1" -j -d link show dev "$2" | jq -r '.[0].xdp.prog.id // empty'
}

# Programs of somebody else: for XDP, one that passes everything; for TC, one that drops everything.
foreign_object() {
	local object=$SCRATCH/foreign.o
	[ -e "$object" ] || printf '%s\n' 'struct xdp_md; struct __sk_buff;' \
		'__attribute__((section("xdp"), used)) int pass(struct xdp_md *c) { return 2; }' \
		'__attribute__((section("tc"), used)) int drop(struct __sk_buff *c) { return 2; }' \
		'__attribute__((section("license"), used)) char gpl[] = "GPL";' |
		clang -target bpf -O2 -x c -c - -o "$object"
	echo "$object"
}

foreign_program() { # NAMESPACE DEVICE
	ip -n "$1" link set dev "$2" xdp obj "$(foreign_object)" sec xdp
}

foreign_filter() { # NAMESPACE DEVICE
	inside "$1" tc qdisc add dev "$2" clsact
	inside "$1" tc filter add dev "$2" ingress bpf da obj "$(foreign_object)" sec tc
}
