#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The first minute with weir: three namespaces, real traffic, the commands one would type and what
# they say. Nothing outside of the namespaces is touched, and all is gone at the end.
#
#   weir-client                weir-host                  weir-server
#   eth0 10.9.1.1 ------ 10.9.1.2 eth0   (forwards)
#                                 eth1 10.9.2.2 ------ 10.9.2.1 eth0, nginx
set -uo pipefail
RUN=weir
SCRATCH=/run/weir-demo
client='' host='' server=''

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
for name in weir-client weir-host weir-server; do
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
	sleep "$pause"
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
	show weir "$@"
	timeout 30 "$WEIR" "$@"
}

on_client() {
	inside "$client" "$@"
}

web() { # SOURCE
	local code
	code=$(on_client curl -s -o /dev/null -m 1 -w '%{http_code}' --interface "$1" http://10.9.2.1/)
	if [ "$code" = 200 ]; then
		say "200 OK"
	else
		say "no answer within a second"
	fi
}

serve_web() {
	cat >"$SCRATCH/nginx.conf" <<-EOF
		daemon off; worker_processes 1; user root; pid $SCRATCH/nginx.pid;
		error_log $SCRATCH/nginx.log;
		events { worker_connections 1024; }
		http {
			access_log off; keepalive_requests 1000000;
			client_body_temp_path $SCRATCH; proxy_temp_path $SCRATCH;
			fastcgi_temp_path $SCRATCH;
			server {
				listen 10.9.2.1:80 backlog=1024;
				location / { return 200 "hello from behind the weir\n"; }
			}
		}
	EOF
	background "$server" nginx -e "$SCRATCH/nginx.log" -c "$SCRATCH/nginx.conf" >/dev/null 2>&1
	for _ in $(seq 50); do
		on_client curl -s -m 1 http://10.9.2.1/ >/dev/null && return
		sleep 0.1
	done
	say "nginx does not answer:"
	cat "$SCRATCH/nginx.log"
	exit 1
}

# Load in the background; its result is what summary says.
load() { # SECONDS [-H HEADER]
	show "wrk -c 16 -d ${1}s${2:+ $2 \"$3\"} http://10.9.2.1/ &"
	background "$client" wrk -t 1 -c 16 -d "${1}s" "${@:2}" http://10.9.2.1/ >"$SCRATCH/wrk" 2>&1
	wrk=$!
}

summary() {
	wait "$wrk"
	awk '/Requests.sec/ { print "wrk:", $2, "requests/s" }' "$SCRATCH/wrk"
}

scene() {
	line
	address "$client" eth0 10.9.1.66/24
	serve_web
	printf '%s' "$bold"
	say "weir in a minute"
	printf '%s' "$plain"
	say "Three network namespaces stand for three machines; the one in the middle forwards."
	cat <<-'EOF'

		   weir-client          weir-host           weir-server
		   10.9.1.1 ---------- eth0   eth1 ---------- 10.9.2.1  nginx
	EOF
}

attach() {
	heading "1. Attach"
	say "One command a device: an XDP program that counts and filters, a TC program that watches."
	weir -n "$host" attach eth0
	weir -n "$host" attach eth1
	weir -n "$host" status
}

rates() {
	heading "2. What passes, live"
	say "While wrk asks nginx for pages, a line a second and device. 'weir top' is the full screen."
	load 6
	sleep 1
	weir -n "$host" stats eth0 -i 1 -c 4
	summary
}

drop() {
	heading "3. A rule that drops"
	say "10.9.1.66 is somebody we do not want. First the page as it sees it:"
	show "curl -m 1 --interface 10.9.1.66 http://10.9.2.1/"
	web 10.9.1.66
	weir -n "$host" rule add drop src 10.9.1.66
	show "curl -m 1 --interface 10.9.1.66 http://10.9.2.1/"
	web 10.9.1.66
	say "Everybody else is served:"
	show "curl -m 1 http://10.9.2.1/"
	web 10.9.1.1
	weir -n "$host" rule list
}

block_list() {
	heading "4. A hundred thousand rules"
	say "A block list of 100,000 addresses is one rule and one atomic step."
	awk 'BEGIN { for (i = 0; i < 100000; i++)
		printf "198.%d.%d.%d\n", 18 + i / 65536, i / 256 % 256, i % 256 }' >"$SCRATCH/blocklist"
	show "wc -l blocklist"
	say "$(wc -l <"$SCRATCH/blocklist") blocklist"
	show "weir -n $host rule load blocklist"
	TIMEFORMAT="${faint}in %1R s${plain}"
	{ time timeout 30 "$WEIR" -n "$host" rule load "$SCRATCH/blocklist"; } 2>&1
}

limit() {
	heading "5. A rule that limits"
	say "Each source may send 50 ICMP packets a second; here come 200 a second, for three seconds."
	weir -n "$host" rule add limit 50/s proto icmp
	show "ping -i 0.005 -c 600 10.9.2.1"
	on_client ping -q -i 0.005 -c 600 -W 1 10.9.2.1 | grep transmitted
	weir -n "$host" drop show eth0
}

handshakes() {
	heading "6. TCP handshakes"
	say "wrk again, with a new connection for every page. The host sees each handshake go by:"
	load 3 -H "Connection: close"
	summary
	weir -n "$host" handshake show
	say "SYN-ACK is the time the server's side took to answer the SYN, ACK the client's to answer that."
}

overflow() {
	local clients=()
	heading "7. A full accept queue, by name"
	say "On the host itself an application listens on port 8080 with a backlog of 4 and is too busy to"
	say "accept. Twelve clients come; the kernel drops SYNs without a word. weir says which queue:"
	background "$host" timeout 60 python3 "$HERE/netns/traffic.py" listen 8080 --backlog 4 \
		--hold >"$SCRATCH/listener"
	until grep -q ready "$SCRATCH/listener"; do
		sleep 0.05
	done
	for _ in $(seq 12); do
		background "$client" timeout 20 python3 "$HERE/netns/traffic.py" connect 10.9.1.2 8080 1 \
			--keep --linger 10 --wait 10 >/dev/null 2>&1
		clients+=($!)
	done
	sleep 2.5
	kill "${clients[@]}"
	wait "${clients[@]}" 2>/dev/null
	weir -n "$host" handshake show eth0
	say "The kernel's own counter, which names no port, agrees:"
	show "nstat -az TcpExtListenOverflows"
	inside "$host" nstat -az TcpExtListenOverflows | awk 'NR > 1 { print $1, $2 }'
}

detach() {
	heading "8. And off again"
	weir -n "$host" detach --all
	say
	say "The namespaces go too; nothing is left. On a machine of your own: 'weir attach DEV'."
}

scene
attach
rates
drop
block_list
limit
handshakes
overflow
detach
