#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir as a load balancer, in under a minute: five namespaces, real traffic, the commands one would type
# and what they say. Nothing outside of the namespaces is touched, and all is gone at the end.
#
#   weir-client              weir-lb
#   eth0 10.9.1.1 ------ 10.9.1.2 eth0
#        fd09:1::1       fd09:1::2
#                        10.9.11.2 eth1 ------ 10.9.11.1 eth0  weir-b1, nginx
#                        10.9.12.2 eth2 ------ 10.9.12.1 eth0  weir-b2, nginx
#                        10.9.13.2 eth3 ------ 10.9.13.1 eth0  weir-b3, nginx, joins later
set -uo pipefail
RUN=weir
SCRATCH=/run/weir-demo
VIP=10.9.100.1:80
LB=weir-lb
client='' wrk=''

if [ "$(id -u)" != 0 ]; then
	echo "demo.sh: making namespaces needs root: 'sudo make demo'" >&2
	exit 1
fi
running=$(cat $SCRATCH/demo.pid 2>/dev/null)
if [ -n "$running" ] && grep -qs demo.sh "/proc/$running/cmdline"; then
	echo "demo.sh: another demo is running, as process $running" >&2
	exit 1
fi
# A demo that was killed cleaned up nothing.
rm -rf $SCRATCH
mkdir -m 755 $SCRATCH
echo $$ >$SCRATCH/demo.pid
# shellcheck source=topology.sh
. "$(dirname "$0")/topology.sh"
for name in weir-client weir-lb weir-b1 weir-b2 weir-b3; do
	[ ! -e /run/netns/$name ] || remove_namespace $name
done

finish() {
	local status=$?
	trap '' INT TERM HUP
	remove_all
	[ "$status" = 0 ] || printf '\n%sStopped; everything is removed.%s\n' "$faint" "$plain"
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

bold='' faint='' plain='' pause=0
if [ -t 1 ]; then
	bold=$'\e[1m' faint=$'\e[2m' plain=$'\e[0m' pause=2
fi

heading() {
	sleep "$((pause / 2))"
	printf '\n%s%s%s\n' "$bold" "$1" "$plain"
}

say() {
	printf '%s\n' "$*"
}

# The line as one would type it, then what it does.
show() {
	printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
	sleep "$((pause / 2))"
}

weir() {
	show weir -n $LB "$@"
	timeout 30 "$WEIR" -n $LB "$@"
}

failed() {
	say "demo.sh: $*" >&2
	exit 1
}

network() {
	local i
	client=weir-client
	namespace weir-client weir-lb weir-b1 weir-b2 weir-b3
	link weir-client eth0 weir-lb eth0
	address weir-client eth0 10.9.1.1/24
	address weir-lb eth0 10.9.1.2/24
	ip -n weir-client route add default via 10.9.1.2
	for i in 1 2 3; do
		link weir-b$i eth0 weir-lb eth$i
		address weir-b$i eth0 10.9.1$i.1/24
		address weir-lb eth$i 10.9.1$i.2/24
		web weir-b$i b$i 10.9.1$i.1:80
	done
}

ask() {
	inside $client curl -s -m 1 http://$VIP/
}

scene() {
	network
	printf '%sweir, a load balancer%s\n' "$bold" "$plain"
	say "Five network namespaces stand for five machines."
	cat <<-'EOF'

		   weir-client          weir-lb              weir-b1, -b2, -b3
		   10.9.1.1 ---------- eth0   eth1-3 ------- 10.9.11.1 ... nginx
	EOF
}

set_up() {
	local device
	heading "1. Attach, a service, two backends"
	for device in eth0 eth1 eth2 eth3; do
		weir attach $device --mode native || failed "cannot attach to $device"
	done
	weir service add tcp $VIP mode nat flows 262144
	weir backend add tcp $VIP 10.9.11.1 10.9.12.1
	show "for i in 1 2 3 4 5 6; do curl http://$VIP/; done"
	for _ in 1 2 3 4 5 6; do
		ask
	done | tr '\n' ' '
	say
}

# Connections a second of each backend, as weir counts them.
rates() { # SECONDS
	local i
	for i in $(seq "$1"); do
		"$WEIR" -n $LB -j backend list | jq -r '.services[].backends[] |
			"\(.backend) \(.state) \(.connections_per_second) \(.connections)"' |
			awk '{ printf "  %s %-5s %5d conn/s", $1, $2, $3 } END { print "" }'
	done
}

load() { # SECONDS
	show "wrk -c 32 -d ${1}s -H 'Connection: close' http://$VIP/ &"
	background $client wrk -t 1 -c 32 -d "${1}s" -H "Connection: close" \
		http://$VIP/ >"$SCRATCH/wrk" 2>&1
	wrk=$!
}

under_load() {
	heading "2. Under load, with a connection for every page"
	load 16
	rates 3
	heading "3. One backend is drained: what it has goes on, nothing new comes"
	weir backend drain tcp $VIP 10.9.11.1
	rates 3
	heading "4. Another one joins, with three times the weight"
	weir backend add tcp $VIP 10.9.13.1 weight 3
	rates 3
	heading "5. And the first one comes back"
	weir backend set tcp $VIP 10.9.11.1 state up
	rates 3
	wait "$wrk"
}

outcome() {
	local errors requests
	requests=$(awk '/requests in/ { print $1 }' "$SCRATCH/wrk")
	errors=$(awk '/Socket errors/ { gsub(",", ""); n += $4 + $6 + $8 + $10 }
		/Non-2xx/ { n += $NF } END { print n + 0 }' "$SCRATCH/wrk")
	heading "6. The outcome"
	grep -E 'requests in|Requests/sec|Socket errors|Non-2xx' "$SCRATCH/wrk"
	printf '\n%s%s requests, %s failed.%s\n' "$bold" "${requests:-no}" "$errors" "$plain"
	weir service list
	weir backend list
	if [ "$errors" != 0 ] || [ -z "$requests" ]; then
		failed "requests failed"
	fi
}

end() {
	heading "7. And off again"
	weir detach --all
	say
	say "The namespaces go too; nothing is left. The page of commands: man weir, or weir help."
}

scene
set_up
under_load
outcome
end
