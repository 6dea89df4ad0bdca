#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What `weir sock attach` does to connections within this host. Every workload runs plain and attached
# right after one another, with servers started anew, round after round, the order turned round each
# time; what counts is the median of the rounds' ratios. --help has the options.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
RUN=weir-bench-sock
SCRATCH=/run/$RUN
MEMBERS=$RUN/members # the cgroup that is attached
OTHERS=$RUN/others   # not in it, but its CPU time counts: a peer outside, and weir itself
ONE=$RUN-one CLIENT=$RUN-client SERVER=$RUN-server

# NAME KIND ARGUMENTS...: least ratio of the rate, most of the CPU time, most of the latency; of two values
# the first is for cubic, the second for bbr.
#
#   http      SERVERS PAGE CONNECTIONS: wrk, all in one namespace and in the cgroup
#   close     the same, and each request has a connection of its own
#   veth      client and server in two namespaces
#   client    the client is not in the cgroup
#   backends  the proxy's servers are not in it
#   pingpong, bulk, short     ARGUMENTS of these commands of the program of tests/sock, see its help
#   cold      bulk without the requests and responses that the others begin with
WORKLOADS='
proxy-keepalive-1K-c1       http keepalive 1K 1
proxy-keepalive-1K-c16      http keepalive 1K 16
proxy-keepalive-1K-c100     http keepalive 1K 100:        rate>=1.5/1.8 cpu<=0.68/0.56
proxy-keepalive-64K-c1      http keepalive 64K 1
proxy-keepalive-64K-c16     http keepalive 64K 16:        rate>=1.4
proxy-keepalive-64K-c100    http keepalive 64K 100:       rate>=1.4
proxy-close-1K-c100         http close 1K 100:            rate>=1.05
direct-1K-c1                http pages 1K 1
direct-1K-c16               http pages 1K 16
direct-1K-c100              http pages 1K 100
direct-64K-c1               http pages 64K 1
direct-64K-c16              http pages 64K 16
direct-64K-c100             http pages 64K 100
veth-1K-c1                  veth pages 1K 1:              rate>=1.45
veth-1K-c100                veth pages 1K 100:            rate>=1.45
veth-64K-c16                veth pages 64K 16:            rate>=1.45
short-1K-c16                close pages 1K 16:            rate>=0.97
outside-client-1K-c100      client pages 1K 100:          rate>=0.97
outside-client-64K-c16      client pages 64K 16:          rate>=0.97
outside-backends-1K-c100    backends keepalive 1K 100:    rate>=0.97
outside-backends-64K-c16    backends keepalive 64K 16:    rate>=0.97
ping-pong-1B-same           pingpong --size 1 --cpus 0,0:     p50<=0.60
ping-pong-1B-different      pingpong --size 1 --cpus 1,0:     p50<=0.85
ping-pong-16K-same          pingpong --size 16K --cpus 0,0:   p50<=0.60
ping-pong-16K-different     pingpong --size 16K --cpus 1,0:   p50<=0.85
bulk-1K                     bulk --write 1K:       rate>=0.97
bulk-16K                    bulk --write 16K:      rate>=0.97
bulk-64K                    bulk --write 64K:      rate>=1.15
bulk-1M                     bulk --write 1M:       rate>=1.15
bulk-1K-cold                cold --write 1K:      rate>=0.97
bulk-64K-cold               cold --write 64K:     rate>=0.97
connect-close               short --conns 16:                 rate>=0.97
connect-reset               short --conns 16 --close reset:   rate>=0.97
'

usage() {
	cat <<-END
		usage: tests/bench/sock.sh [OPTION...]
		  --rounds N      rounds (9)
		  --seconds N     timed in each run (2)
		  --warm N        before that, on the same connections (1)
		  --only REGEX    only workloads whose name matches, such as 'proxy.*/cubic/pinned'
		  --quick         few workloads, 3 rounds of 1 second: about 2 minutes
		  --control       attach nothing: how far noise alone takes the ratios from 1
		  --json FILE     everything as JSON too, with every single run
		  --list          the names of all workloads
	END
}

refuse() {
	echo "sock.sh: $*" >&2
	exit 1
}

rounds=9 seconds=2 warm=1 only=. control='' json='' list=''
while [ $# != 0 ]; do
	case $1 in
	--rounds | --seconds | --warm | --only | --json)
		[ $# -ge 2 ] || refuse "$1 needs a value"
		declare "${1#--}=$2"
		shift
		;;
	--quick)
		rounds=3 seconds=1
		only='^(proxy-keepalive-(1K|64K)-c100|ping-pong-1B-same|bulk-64K)/cubic/pinned$'
		only+='|^(proxy-keepalive-1K-c100|proxy-close-1K-c100|bulk-1K)/cubic/free$'
		;;
	--control | --list) declare "${1#--}=yes" ;;
	--help | -h)
		usage
		exit
		;;
	*) refuse "$1: no such option; --help has them" ;;
	esac
	shift
done
for number in "$rounds" "$seconds" "$warm"; do
	[[ $number =~ ^[1-9][0-9]?$ ]] || refuse "--rounds, --seconds and --warm are 1 to 99"
done

# Every workload with each congestion control, its processes bound to CPUs (servers to 0, clients to 1)
# or free.
names() {
	local name rest congestion bound
	while read -r name rest; do
		for congestion in cubic bbr; do
			for bound in pinned free; do
				case $name/$bound in
				# Ping-pong says itself where its ends run, connect cannot.
				/* | ping-pong*/free | connect*/pinned) continue ;;
				esac
				if [[ $name/$congestion/$bound =~ $only ]]; then
					echo "$name/$congestion/$bound $rest"
				fi
			done
		done
	done <<<"$WORKLOADS"
}

if [ -n "$list" ]; then
	names | cut -d ' ' -f 1
	exit
fi
[ "$(id -u)" = 0 ] || refuse "making namespaces and cgroups needs root"
[ "$(nproc)" -ge 2 ] || refuse "both ends on one CPU: there must be two"
running=$(cat $SCRATCH/pid 2>/dev/null)
if [ -n "$running" ] && grep -qs sock.sh "/proc/$running/cmdline"; then
	refuse "another one is running, as process $running"
fi
rm -rf $SCRATCH
mkdir -m 755 $SCRATCH
echo $$ >$SCRATCH/pid
# shellcheck source=../topology.sh
. tests/topology.sh
# shellcheck source=../cgroup.sh
. tests/cgroup.sh
# shellcheck source=../proxy.sh
. tests/proxy.sh
SOCK=${SOCK:-$(dirname "$WEIR")/tests/sock/sock}
progress=/dev/null
[ ! -t 2 ] || progress=/dev/stderr

# It may come while a function's output goes to a file.
exec 3>&1 4>&2
finish() {
	local status=$?
	exec >&3 2>&4
	trap '' INT TERM HUP
	summary
	servers_stop
	detach
	cgroups_remove
	remove_all
	exit "$status"
}

weir() {
	# Where its time on the CPU counts, but not its own sockets.
	cgroup_run $OTHERS timeout -k 5 30 "$WEIR" --instance "$RUN" "$@"
}

attach() {
	[ -n "$control" ] || weir sock attach $MEMBERS >/dev/null
}

detach() {
	[ -n "$control" ] || [ ! -e "$(pins_of "$RUN")/sock" ] || weir sock detach --all >/dev/null
}

network() {
	local name
	for name in $ONE $CLIENT $SERVER; do
		[ ! -e "/run/netns/$name" ] || remove_namespace "$name"
	done
	namespace $ONE $CLIENT $SERVER
	link $CLIENT eth0 $SERVER eth0
	address $CLIENT eth0 10.9.0.1/24
	address $SERVER eth0 10.9.0.2/24
	for name in $ONE $CLIENT $SERVER; do
		# Nothing that one run leaves may matter to the next one.
		inside "$name" sysctl -qw net.ipv4.ip_local_port_range="10000 65000" \
			net.ipv4.tcp_tw_reuse=1 net.ipv4.tcp_no_metrics_save=1
	done
}

# A namespace may not set every one by sysctl; routes may.
congestion() { # cubic|bbr
	ip -n $ONE route replace local 127.0.0.1 dev lo table local scope host src 127.0.0.1 congctl "$1"
	ip -n $CLIENT route replace 10.9.0.0/24 dev eth0 scope link src 10.9.0.1 congctl "$1"
	ip -n $SERVER route replace 10.9.0.0/24 dev eth0 scope link src 10.9.0.2 congctl "$1"
}

# ---- one run: a line of JSON ----

http() { # KIND SERVERS PAGE CONNECTIONS
	local at=127.0.0.1 from=$ONE to=$ONE client=$MEMBERS far=$MEMBERS
	local more=("${CLIENT_CPU[@]}")
	case $1 in
	close) more+=(--header "Connection: close") ;;
	veth) at=10.9.0.2 from=$CLIENT to=$SERVER ;;
	client) client=$OTHERS ;;
	backends) far=$OTHERS ;;
	esac
	servers_start "$2" "$to" $at $MEMBERS "$far"
	inside "$from" timeout -k 5 $((warm + seconds + 30)) python3 tests/http_load.py \
		--url "http://$at:$FRONT/$3" --status "http://$at:$FRONT/status" \
		--connections "$4" --warm-up "$warm" --seconds "$seconds" \
		--measure "$(cgroup_path "$RUN")" --cgroup "$(cgroup_path "$client")" "${more[@]}"
}

# It times by itself, after its own warm-up. Both of its ends are processes of it.
stream() { # KIND ARGUMENTS...
	local command=$1 more=(--warm "${warm}000") members
	members=$(cgroup_path $MEMBERS)
	case $1 in
	bulk) more+=("${STREAM_CPUS[@]}") ;;
	cold) command=bulk more=(--ramp "${warm}000" "${STREAM_CPUS[@]}") ;;
	short) more=() ;;
	esac
	timeout -k 5 $((warm + seconds + 30)) "$SOCK" "$command" "${@:2}" "${more[@]}" \
		--seconds "$seconds" --server-netns $ONE --client-netns $ONE \
		--server-cgroup "$members" --client-cgroup "$members"
}

one() { # KIND ARGUMENTS...
	case $1 in
	pingpong | bulk | cold | short) stream "$@" ;;
	*) http "$@" ;;
	esac
}

run() { # NAME ROUND plain|attached TARGET KIND ARGUMENTS...
	local result=$SCRATCH/result error=$SCRATCH/error said=null
	rm -f "$result"
	if [ "$3" = attached ]; then
		attach 2>"$error" || refuse "cannot attach: $(cat "$error")"
	fi
	if ! one "${@:5}" >"$result" 2>"$error"; then
		cat "$result" >>"$error"
		jq -n --arg error "$(head -c 500 "$error")" '{$error}' >"$result"
		sed "s|^|$1 $3: |" "$error" >&2
	fi
	if [ "$3$control" = attached ]; then
		said=$(weir -j sock show $MEMBERS -i 0.05 -c 1 | jq -cs .) || said=null # ports, since attach
	fi
	servers_stop
	[ "$3" = plain ] || detach
	jq -c --arg name "$1" --argjson round "$2" --arg way "$3" --arg target "$4" \
		--argjson said "$said" '{name: $name, round: $round, way: $way,
		target: $target, sock_show: $said} + .' "$result" >>"$SCRATCH/runs"
	jq -r --arg name "$1" --arg round "$2 of $rounds" --arg way "$3" '
		"\($round) \($name) \($way): \(.requests_per_second // .rounds_per_second //
		.connections_per_second // .gigabytes_per_second // .error)"' "$result" >"$progress"
}

# ---- all of them ----

round() { # NUMBER
	local name rest target arguments ways=(plain attached) way
	[ $(($1 % 2)) = 1 ] || ways=(attached plain)
	while read -r name rest; do
		target=${rest#*:} arguments=${rest%%:*}
		[ "$target" != "$rest" ] || target=''
		read -r target <<<"$target"
		congestion "$(cut -d / -f 2 <<<"$name")"
		PREFIX=() CLIENT_CPU=() STREAM_CPUS=()
		case $name in
		*/pinned) PREFIX=(taskset -c 0) CLIENT_CPU=(--cpu 1) STREAM_CPUS=(--cpus "1,0") ;;
		esac
		for way in "${ways[@]}"; do
			# shellcheck disable=SC2086
			run "$name" "$1" $way "$target" $arguments </dev/null
		done
	done <"$SCRATCH/names"
}

summary() {
	[ -s "$SCRATCH/runs" ] || return 0
	python3 tests/bench/sock_report.py --runs "$SCRATCH/runs" --seconds "$seconds" --warm "$warm" \
		${control:+--control} ${json:+--json "$json"}
}

trap finish EXIT
trap 'exit 130' INT TERM HUP
names >"$SCRATCH/names"
[ -s "$SCRATCH/names" ] || refuse "--only $only: no such workload; --list has their names"
cgroup_make "$RUN" $MEMBERS $OTHERS || exit
detach # what a run that was killed has left
network
pages
for number in $(seq "$rounds"); do
	round "$number"
done
