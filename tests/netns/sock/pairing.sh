#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The two ends of a connection find each other, and nobody else: by any family, across namespaces and
# through NAT, in the cgroups and at the ports that are wanted; and where two namespaces have the same
# addresses and ports no byte crosses, whatever closes or begins anew first. The numbers of traps are
# those of traps.sh.
#
#   client ---- host (forwards, NAT) ---- server       topology.sh: line
#   left, right: only a loopback device each, with the same addresses
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"
# shellcheck source=../../sock/lib.sh
. tests/sock/lib.sh
line
left=$RUN-left right=$RUN-right
namespace "$left" "$right"
sock_begin
cgroup_make "$RUN-other" "$RUN-ports" "$RUN-local" "$RUN-changed" "$RUN-late"
mkdir "$(cgroup_path "$GROUP/inner")"
inside "$client" sysctl -qw net.ipv4.tcp_fastopen=3

for group in "$GROUP" "$RUN-other" "$GROUP/inner"; do
	check "attached to cgroup ${group/$RUN/G}" weir sock attach "$group"
done
check "attached with --port" weir sock attach "$RUN-ports" --port 7000-7100,9000
check "attached with --local" weir sock attach "$RUN-local" --local 127.0.0.0/8,fd09:1::1/128
check "attached with other ports than it will have" weir sock attach "$RUN-changed" --port 1-10
check "attached again: the settings are new ones" weir sock attach "$RUN-changed" --port 7300

# ---- the two ends of a connection, in every way to connect them ----

shape() { # LABEL SERVER-NAMESPACE CLIENT-CGROUP ARGUMENTS...: four connections, until they are ended
	sock_start "$SCRATCH/$1" "$client" "$3" pairs --conns 4 --rate 50 --seconds 500 \
		--client-netns "$client" --server-netns "$2" "${@:4}"
}

nat() {
	inside "$host" nft -f - <<-EOF
		table ip weir {
			chain in {
				type nat hook prerouting priority dstnat
				ip daddr 10.9.1.2 tcp dport 7777 dnat to 10.9.2.1:5555
			}
			chain out {
				type nat hook postrouting priority srcnat
				oifname eth1 masquerade
			}
		}
	EOF
}

has_nat=0
nat >"$SCRATCH/nft" 2>&1 || has_nat=$?

shape four "$client" "$GROUP" --port 4001
shape six "$client" "$GROUP" --family 6 --port 4002
shape mapped "$client" "$GROUP" --family mapped --port 4003
shape veth "$host" "$GROUP" --listen 10.9.1.2 --port 4004
shape veth6 "$host" "$GROUP" --family 6 --listen fd09:1::2 --port 4005
shape routed "$server" "$GROUP" --listen 10.9.2.1 --port 4006
[ $has_nat != 0 ] || shape nat "$server" "$GROUP" --listen 10.9.2.1 --port 5555 --to 10.9.1.2,7777
shape nested "$client" "$GROUP/inner" --port 4007
shape groups "$client" "$GROUP" --port 4008 --server-cgroup "$(cgroup_path "$RUN-other")" \
	--client-cgroup "$(cgroup_path "$GROUP")"
shape server-outside "$client" "$GROUP" --port 7001 --server-cgroup "$(cgroup_path "$OUTSIDE")" \
	--client-cgroup "$(cgroup_path "$GROUP")"
shape client-outside "$client" "$GROUP" --port 7002 --client-cgroup "$(cgroup_path "$OUTSIDE")" \
	--server-cgroup "$(cgroup_path "$GROUP")"
shape port "$client" "$RUN-ports" --port 7100
shape other-port "$client" "$RUN-ports" --port 7101
shape local "$client" "$RUN-local" --port 7200
shape local6 "$client" "$RUN-local" --family 6 --listen fd09:1::1 --port 7201
shape not-local "$host" "$RUN-local" --listen 10.9.1.2 --port 7202
shape changed "$client" "$RUN-changed" --port 7300
shape no-more "$client" "$RUN-changed" --port 7

# These end by themselves, beside all that follows.
of_themselves=()
let_be() {
	of_themselves+=("${traffic_pids[-1]}")
	unset 'traffic_pids[-1]'
}

for trap in defer-accept reconnect; do
	sock_start "$SCRATCH/$trap" "$client" "$GROUP" trap "$trap" --warm 200 --until-short-cut \
		--warm-pause 10000
	let_be
done
sock_start "$SCRATCH/self-connect" "$client" "$GROUP" trap self-connect --warm 5000 --warm-pause 10000
let_be
sock_start "$SCRATCH/fastopen" "$client" "$GROUP" trap fastopen --port 8300 --warm-pause 10000 \
	--until "$SCRATCH/fastopen.found"
let_be

# ---- proxies in user space ----

relay() { # NAME PORT ARGUMENTS...: a server at the port behind it
	cgroup_background "$GROUP" nsenter --net="/run/netns/$client" timeout 500 \
		python3 tests/sock/relay.py "$2" $(($2 + 1)) "${@:3}" >"$SCRATCH/$1.relay" 2>&1
	sock_start "$SCRATCH/$1.server" "$client" "$GROUP" pairs --serve --port $(($2 + 1)) --seconds 500 \
		--secret 100 --expect 200 --may-end
	unset 'traffic_pids[-1]' # it stays when its clients end
	await 30 grep -q ready "$SCRATCH/$1.relay"
	sock_start "$SCRATCH/$1" "$client" "$GROUP" pairs --connect --port "$2" --conns 4 --rate 50 \
		--seconds 500 --secret 200 --expect 100
}

relay copies 8100
relay splices 8200 --splice

# ---- somebody who knows both sequence numbers ----

impersonate() { # NAME ARGUMENTS...
	cgroup_background "$GROUP" nsenter --net="/run/netns/$client" timeout 500 \
		python3 tests/sock/impostor.py "${@:2}" >"$SCRATCH/$1" 2>"$SCRATCH/$1.errors"
	traffic_pids+=($!)
}

impersonate impostor --seconds 490
impersonate late-impostor --seconds 3 --late
let_be

known() { # CONDITION: connections of the list
	jq -c ".connections[] | select($1)" "$SCRATCH/list"
}

# What is looked for in the list below is there, and what is short-cut has carried what is wanted of it:
# twelve of the shapes, and the one through NAT.
all_judged() {
	weir -j sock list >"$SCRATCH/list" 2>"$SCRATCH/list.errors" &&
		[ "$(known '.state == "tcp" and .reason == "other_reads"' | wc -l)" = 8 ] &&
		[ "$(known '.state == "shortcut" and .messages > 80 and .port > 4000 and .port < 8000' |
			wc -l)" = $((12 * 4 + (has_nat == 0) * 4)) ] &&
		[ "$(known '.state == "shortcut" and .messages > 60 and (.port == 8100 or .port == 8101)' |
			wc -l)" = 8 ] &&
		known ".client == \"$(head -n 1 "$SCRATCH/impostor" | jq -r .client)\"" | grep -q shortcut &&
		{ [ $has_nat != 0 ] || [ "$(known '.state == "shortcut" and .server == "10.9.2.1:5555"' |
			wc -l)" = 4 ]; }
}
await 60 all_judged

# The socket that accepts is made before the one that connects is connected, so they are no pair at
# birth. They become one when older connections are looked for: after an attach, and where short
# ones were passed over.
found_by_attach() {
	weir sock attach "$RUN-late" && connections_are 1 shortcut '.port == 8300'
}
check "trap 2: Fast Open: the two ends are found by the next attach" await 60 found_by_attach
: >"$SCRATCH/fastopen.found"
sleep 2
sock_end

# ---- what came of it ----

SHORT='.right and .exchanges_short_cut > 100'
PLAIN='.right and .exchanges > 50 and .exchanges_short_cut == 0'
told "IPv4: short-cut" "$SHORT" "$SCRATCH/four"
told "IPv6: short-cut" "$SHORT" "$SCRATCH/six"
told "trap 16: IPv4 to a dual-stack listener: short-cut" "$SHORT" "$SCRATCH/mapped"
told "across veth: short-cut" "$SHORT" "$SCRATCH/veth"
told "IPv6 across veth: short-cut" "$SHORT" "$SCRATCH/veth6"
told "through a router: short-cut" "$SHORT" "$SCRATCH/routed"
if [ $has_nat = 0 ]; then
	told "trap 17: through DNAT and source NAT: short-cut" "$SHORT" "$SCRATCH/nat"
	equal "both ends are shown by their own addresses" 4 \
		"$(known '.state == "shortcut" and .server == "10.9.2.1:5555"
			and (.client | startswith("10.9.1.1:"))' | wc -l)"
else
	skip "trap 17: through DNAT and source NAT" "nft: $(head -n 1 "$SCRATCH/nft")"
fi
told "a cgroup below an attached one that is attached too: short-cut" "$SHORT" "$SCRATCH/nested"
told "client and server in two attached cgroups: short-cut" "$SHORT" "$SCRATCH/groups"
told "server in no attached cgroup: TCP" "$PLAIN" "$SCRATCH/server-outside"
told "client in no attached cgroup: TCP" "$PLAIN" "$SCRATCH/client-outside"
equal "one end outside: never in the map" 0 \
	"$(known '(.port == 7001 or .port == 7002) and .state != "unpaired"' | wc -l)"
told "--port: at a port of the list: short-cut" "$SHORT" "$SCRATCH/port"
told "--port: at another: TCP" "$PLAIN" "$SCRATCH/other-port"
told "--local: into a network of the list: short-cut" "$SHORT" "$SCRATCH/local"
told "--local: IPv6 likewise" "$SHORT" "$SCRATCH/local6"
told "--local: elsewhere: TCP" "$PLAIN" "$SCRATCH/not-local"
equal "--port and --local: others are not observed, let alone joined" 0 \
	"$(known '(.port == 7101 or .port == 7202) and .state != "unpaired" and .state != "tcp"' | wc -l)"
told "attached again with another port: short-cut there" "$SHORT" "$SCRATCH/changed"
told "attached again with another port: TCP at the old one" "$PLAIN" "$SCRATCH/no-more"

told "trap 17: a proxy in user space: short-cut" '.right and .exchanges > 100' "$SCRATCH/copies"
equal "both of its sides" "4 4" "$(known '.port == 8100 and .state == "shortcut"' | wc -l) $(
	known '.port == 8101 and .state == "shortcut"' | wc -l)"
told "one that splices: works" '.right and .exchanges > 50' "$SCRATCH/splices"
equal "both of its sides stay on TCP: bytes are read otherwise" "4 4" "$(
	known '.port == 8200 and .state == "tcp" and .reason == "other_reads"' | wc -l) $(
	known '.port == 8201 and .state == "tcp" and .reason == "other_reads"' | wc -l)"

told_last() { # TEXT CONDITION FILE
	tail -n 1 "$3" >"$3.last"
	cp "$3.errors" "$3.last.errors"
	told "$1" "$2" "$3.last"
}

told_last "an impostor with both sequence numbers gets nothing" \
	'.right and .stolen == 0 and .impostors == 2' "$SCRATCH/impostor"
impostors_client=$(head -n 1 "$SCRATCH/impostor" | jq -r .client)
equal "his connection is short-cut all the same: numbers of one under repair are not believed" \
	shortcut "$(known ".client == \"$impostors_client\"" | jq -r .state)"

# ---- trap 1: equal addresses in two namespaces ----

# A server and its clients, each a process, in either namespace: the same port, the same source ports.
# Secrets say whose bytes they are.
NAMES=(left-server left-clients right-server right-clients)

begin() { # ORDER WHO GENERATION
	local spaces=("$left" "$left" "$right" "$right") port=$((10000 + $1)) role=(--serve)
	local own=$((1000 * $2 + 1000 + $1)) other=$((1000 * ($2 ^ 1) + 1000 + $1))
	[ $(($2 & 1)) = 0 ] || role=(--connect --conns 4 --rate 25 --source-port $((20000 + 10 * $1)))
	cgroup_background "$GROUP" nsenter --net="/run/netns/${spaces[$2]}" timeout -k 20 500 "$SOCK" pairs \
		--port "$port" "${role[@]}" --seconds 490 --secret "$own" --expect "$other" \
		--keep --may-end --wait 60000 \
		>"$SCRATCH/order.$1.$2.$3" 2>"$SCRATCH/order.$1.$2.$3.errors"
	running[$1 * 4 + $2]=$!
}

close_one() { # ORDER WHO
	kill -TERM "${running[$1 * 4 + $2]}"
	wait "${running[$1 * 4 + $2]}"
}

running=() orders=()
for first in 0 1 2 3; do
	for second in 0 1 2 3; do
		[ "$first" = "$second" ] || orders+=("$first $second")
	done
done
for i in "${!orders[@]}"; do
	for who in 0 2 1 3; do
		begin "$i" $who 1
	done
done
all=$((${#orders[@]} * 2 * 4))
check "trap 1: the same addresses and ports in two namespaces: all are short-cut" \
	await 60 connections_are $all shortcut '.port >= 10000 and .port < 10100'
await 60 have_carried $all 40 '.port >= 10000 and .port < 10100'

# Each is closed, the other side tries on with what is left, and it begins anew; then the second one.
for step in 0 1; do
	for i in "${!orders[@]}"; do
		read -ra order <<<"${orders[i]}"
		close_one "$i" "${order[step]}"
	done
	sleep 0.5
	for i in "${!orders[@]}"; do
		read -ra order <<<"${orders[i]}"
		begin "$i" "${order[step]}" $((2 + step))
	done
	sleep 1.5
done
# At last both sides of both are new ones, and meet.
for i in "${!orders[@]}"; do
	for who in 0 1 2 3; do
		close_one "$i" $who
	done
	for who in 0 2 1 3; do
		begin "$i" $who 4
	done
done
check "trap 1: all that began anew are short-cut again" \
	await 60 connections_are $all shortcut '.port >= 10000 and .port < 10100'
kill -TERM "${running[@]}"
wait "${running[@]}"

for i in "${!orders[@]}"; do
	read -ra order <<<"${orders[i]}"
	cat "$SCRATCH/order.$i".*.[1-4] >"$SCRATCH/order"
	cat "$SCRATCH/order.$i".*.errors >"$SCRATCH/order.errors"
	told "trap 1: ${NAMES[order[0]]} close first, then ${NAMES[order[1]]}: 0 bytes cross" \
		'length == 10 and all(.foreign == 0 and .wrong == 0 and .bytes_after_end == 0)
			and (map(.exchanges_short_cut) | add) > 100' "$SCRATCH/order" -s
done

# ---- what ended by itself ----

wait "${of_themselves[@]}"
told "trap 2: TCP_DEFER_ACCEPT: same as TCP, short-cut afterwards" '.right and .warm.short_cut' \
	"$SCRATCH/defer-accept"
told "trap 2: Fast Open: same as TCP, with bytes in the SYN, before and after the two ends are found" \
	'.right and .bytes_in_syn > 0 and .warm.exchanges > 0' "$SCRATCH/fastopen"
told "a socket connected to itself: stays on TCP" '.right and (.warm.short_cut | not)' \
	"$SCRATCH/self-connect"
told "a socket connected anew: short-cut again, and nothing of the last connection comes" \
	'.right and .short_cut_before and .warm.short_cut' "$SCRATCH/reconnect"
told_last "one who comes later gets nothing" '.right and .stolen == 0 and .impostors == 2' \
	"$SCRATCH/late-impostor"

check "detached" weir sock detach --all
check "nothing stays pinned" no_pins
