# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Networks of namespaces, for the tests and the demo. The name of every namespace begins with $RUN,
# no device is made outside of one, and everything in them goes when the script ends, however.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
WEIR=$(realpath "${WEIR:-$HERE/../build/weir}")
RUN=${RUN:-weir$$}
SCRATCH=${SCRATCH:-$(mktemp -d /tmp/weir.XXXXXX)}
NAMESPACES=()

# Only the network is entered: bpffs stays visible, which `ip netns exec` hides.
inside() { # NAMESPACE COMMAND...
	nsenter --net="/run/netns/$1" "${@:2}"
}

# No shell waits for it: $! is the command itself.
background() { # NAMESPACE COMMAND...
	nsenter --net="/run/netns/$1" "${@:2}" &
}

# No link-local addresses, no router solicitations: what is on the wire is what a test sends.
namespace() { # NAME...
	local name
	for name; do
		NAMESPACES+=("$name")
		ip netns add "$name"
		inside "$name" sysctl -qw net.ipv6.conf.default.addr_gen_mode=1 \
			net.ipv6.conf.all.forwarding=0 net.ipv4.ping_group_range='0 2147483647'
		ip -n "$name" link set lo up
	done
}

link() { # NAMESPACE DEVICE NAMESPACE DEVICE
	ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
	in_service "$1" "$2"
	in_service "$3" "$4"
}

# The kernel puts a device into service a moment after both of its ends came up, on a busy machine later
# than that, and drops what is sent before.
in_service() { # NAMESPACE DEVICE
	local end=$((SECONDS + 20))
	while [ $SECONDS -le $end ]; do
		case $(ip -n "$1" link show dev "$2") in
		*"state UP"*) return ;;
		esac
		sleep 0.02
	done
	echo "$2 of $1 is out of service" >&2
	return 1
}

address() { # NAMESPACE DEVICE ADDRESS...
	local address
	for address in "${@:3}"; do
		case $address in
		*:*) ip -n "$1" address add "$address" dev "$2" nodad ;;
		*) ip -n "$1" address add "$address" dev "$2" ;;
		esac
	done
}

#   $client                        $host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24
#        fd09::1/64                fd09::2/64
pair() {
	client=$RUN-client host=$RUN-host
	namespace "$client" "$host"
	link "$client" eth0 "$host" eth0
	address "$client" eth0 10.9.0.1/24 fd09::1/64
	address "$host" eth0 10.9.0.2/24 fd09::2/64
}

#   $client                  $host (forwards)                  $server
#   eth0 10.9.1.1/24 ------ eth0 10.9.1.2/24
#        fd09:1::1/64            fd09:1::2/64
#                           eth1 10.9.2.2/24 ------ eth0 10.9.2.1/24
#                                fd09:2::2/64            fd09:2::1/64
line() {
	client=$RUN-client host=$RUN-host server=$RUN-server
	namespace "$client" "$host" "$server"
	link "$client" eth0 "$host" eth0
	link "$server" eth0 "$host" eth1
	address "$client" eth0 10.9.1.1/24 fd09:1::1/64
	# A router looks for its neighbours from a link-local address.
	address "$host" eth0 10.9.1.2/24 fd09:1::2/64 fe80::2/64
	address "$host" eth1 10.9.2.2/24 fd09:2::2/64 fe80::2/64
	address "$server" eth0 10.9.2.1/24 fd09:2::1/64
	inside "$host" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	ip -n "$client" route add default via 10.9.1.2
	ip -n "$client" route add default via fd09:1::2
	ip -n "$server" route add default via 10.9.2.2
	ip -n "$server" route add default via fd09:2::2
}

# A site behind a router, with two balancers and COUNT backends, in three shapes:
#
#   $client                    $router (forwards)
#   eth0 10.9.1.1/24 ------- eth0 10.9.1.254/24
#        fd09:1::1/64             fd09:1::fe/64
#
#   lan      all in one LAN      lan 10.9.2.254/24 -+- eth0 10.9.2.1     ${balancers[0]}
#                                    fd09:2::fe/64  +- eth0 10.9.2.2     ${balancers[1]}
#                                  (a bridge)       +- eth0 10.9.2.11... ${backends[0]}...
#
#   routed   a link to each      lan, as before    -+- eth0 10.9.2.1     ${balancers[0]}
#            backend                                +- eth0 10.9.2.2     ${balancers[1]}
#                                  b1 10.9.11.254 --- eth0 10.9.11.1    ${backends[0]}
#                                  b2 10.9.12.254 --- eth0 10.9.12.1    ${backends[1]}...
#
#   inner    balancers in the    lan, as before    -+- eth0 10.9.2.1     ${balancers[0]} eth1 10.9.3.1
#            path                                   +- eth0 10.9.2.2     ${balancers[1]} eth1 10.9.3.2
#            $inside, a bridge:  inner             -+- balancers' eth1
#                                                   +- eth0 10.9.3.11... ${backends[0]}...
#
# IPv6 likewise, fd09:2::1 for 10.9.2.1. 10.9.66.0/24 and fd09:66::/64 are at the client, where they
# lead nowhere: the sources of floods. site_way says by which balancers VIPs are reached. Backends are
# ${addresses4[@]}, ${addresses6[@]}. MTU="1600": of the network behind the router.
VIP4=10.9.100.1 VIP6=fd09:100::1
SOURCE4=10.9.101.1 SOURCE6=fd09:101::1

plug() { # BRIDGE-NAMESPACE BRIDGE PORT NAMESPACE DEVICE
	link "$1" "$3" "$4" "$5"
	ip -n "$1" link set "$3" master "$2"
}

bridge() { # NAMESPACE DEVICE
	ip -n "$1" link add "$2" type bridge forward_delay 0 mcast_snooping 0
	ip -n "$1" link set "$2" up
}

default_ways() { # NAMESPACE IPV4 IPV6
	ip -n "$1" route add default via "$2"
	ip -n "$1" route add default via "$3"
}

site_names() { # COUNT
	local i
	client=$RUN-client router=$RUN-router balancers=("$RUN-lb1" "$RUN-lb2") backends=()
	addresses4=() addresses6=()
	for i in $(seq "$1"); do
		backends+=("$RUN-b$i")
	done
	namespace "$client" "$router" "${balancers[@]}" "${backends[@]}"
}

site_backend() { # SHAPE NUMBER NAMESPACE
	local net=2 own=$((10 + $2)) way4=10.9.2.254 way6=fd09:2::fe
	case $1 in
	lan) plug "$router" lan "b$2" "$3" eth0 ;;
	inner)
		net=3 way4=10.9.3.1 way6=fd09:3::1
		plug "$inside" inner "b$2" "$3" eth0
		;;
	routed)
		net=$own own=1 way4=10.9.$net.254 way6=fd09:$net::fe
		link "$router" "b$2" "$3" eth0
		address "$router" "b$2" "$way4/24" "$way6/64" fe80::fe/64
		;;
	esac
	addresses4+=("10.9.$net.$own") addresses6+=("fd09:$net::$own")
	address "$3" eth0 "10.9.$net.$own/24" "fd09:$net::$own/64" "fe80::$own/64"
	default_ways "$3" "$way4" "$way6"
	# For direct return: the VIPs are its own, but it does not tell the LAN. The router, asked to
	# send back into the LAN, would tell it a shorter way, which holds for one balancer only.
	inside "$3" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 \
		net.ipv6.conf.eth0.accept_redirects=0
	address "$3" lo $VIP4/32 $VIP6/128
}

site_mtu() { # MTU
	local name device
	for name in "$router" ${inside:+"$inside"} "${balancers[@]}" "${backends[@]}"; do
		for device in $(ip -n "$name" -j link | jq -r '.[].ifname'); do
			case $name-$device in
			"$router-eth0" | *-lo) ;;
			*) ip -n "$name" link set "$device" mtu "$1" ;;
			esac
		done
	done
}

site() { # SHAPE COUNT
	local i
	site_names "$2"
	inside=''
	inside "$router" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
		net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0 \
		net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
	link "$client" eth0 "$router" eth0
	address "$client" eth0 10.9.1.1/24 fd09:1::1/64 fe80::1/64
	address "$router" eth0 10.9.1.254/24 fd09:1::fe/64 fe80::fe/64
	default_ways "$client" 10.9.1.254 fd09:1::fe
	ip -n "$router" route add 10.9.66.0/24 via 10.9.1.1
	ip -n "$router" route add fd09:66::/64 via fd09:1::1
	ip -n "$client" route add blackhole 10.9.66.0/24
	ip -n "$client" route add blackhole fd09:66::/64
	bridge "$router" lan
	address "$router" lan 10.9.2.254/24 fd09:2::fe/64 fe80::fe/64
	if [ "$1" = inner ]; then
		inside=$RUN-inside
		namespace "$inside"
		bridge "$inside" inner
	fi
	for i in 1 2; do
		plug "$router" lan lb$i "${balancers[i - 1]}" eth0
		address "${balancers[i - 1]}" eth0 10.9.2.$i/24 fd09:2::$i/64 fe80::$i/64
		default_ways "${balancers[i - 1]}" 10.9.2.254 fd09:2::fe
		[ "$1" = inner ] || continue
		plug "$inside" inner lb$i "${balancers[i - 1]}" eth1
		address "${balancers[i - 1]}" eth1 10.9.3.$i/24 fd09:3::$i/64 fe80::$i/64
	done
	for i in $(seq "$2"); do
		site_backend "$1" "$i" "${backends[i - 1]}"
	done
	[ -z "${MTU:-}" ] || site_mtu "$MTU"
	site_way 1
}

# Packets to the VIPs, and what comes back to a NAT source, go by these balancers: flow by flow by one
# of them, if several are named.
site_way() { # NUMBER...
	local i hops4=() hops6=()
	for i; do
		hops4+=(nexthop via "10.9.2.$i")
		hops6+=(nexthop via "fd09:2::$i")
	done
	ip -n "$router" route replace $VIP4 "${hops4[@]}"
	ip -n "$router" route replace $SOURCE4 "${hops4[@]}"
	ip -n "$router" route replace $VIP6 "${hops6[@]}"
	ip -n "$router" route replace $SOURCE6 "${hops6[@]}"
}

# Flows whose client has one of these ports go by this balancer, in both directions: with NAT, each
# must see the whole of a flow.
site_detour() { # NUMBER FIRST-LAST, or nothing: no more detours
	local family
	for family in -4 -6; do
		while ip -n "$router" $family rule del table 200 2>/dev/null; do :; done
	done
	[ $# = 2 ] || return 0
	ip -n "$router" route replace default via "10.9.2.$1" table 200
	ip -n "$router" route replace default via "fd09:2::$1" table 200
	ip -n "$router" rule add to $VIP4 ipproto tcp sport "$2" table 200
	ip -n "$router" rule add to $SOURCE4 ipproto tcp dport "$2" table 200
	ip -n "$router" -6 rule add to $VIP6 ipproto tcp sport "$2" table 200
	ip -n "$router" -6 rule add to $SOURCE6 ipproto tcp dport "$2" table 200
}

# A web server that says its name to whoever asks.
web() { # NAMESPACE NAME ADDRESS:PORT...
	local conf=$SCRATCH/nginx.$2.conf at
	{
		echo "daemon off; worker_processes 1; user root; pid $SCRATCH/nginx.$2.pid;"
		echo "error_log $SCRATCH/nginx.$2.log; events { worker_connections 4096; }"
		echo "http { access_log off; keepalive_requests 1000000; server {"
		for at in "${@:3}"; do
			echo "listen $at backlog=4096;"
		done
		for at in client_body proxy fastcgi uwsgi scgi; do
			echo "${at}_temp_path $SCRATCH;"
		done
		printf 'location / { return 200 "%s\\n"; } } }\n' "$2"
	} >"$conf"
	background "$1" nginx -e "$SCRATCH/nginx.$2.log" -c "$conf" >/dev/null 2>&1
}

# bpffs knows no dots: weir writes them as %2e.
pins_of() { # NAMESPACE
	echo "/sys/fs/bpf/weir/${1//./%2e}"
}

# Whatever runs in a namespace of ours was started by us.
remove_namespace() { # NAME
	local pids
	pids=$(ip netns pids "$1" 2>/dev/null | grep -vx $$) || true
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
	ip netns del "$1" 2>/dev/null || true
	rm -rf "$(pins_of "$1")"
}

remove_all() {
	local name
	disown -a # and no word of who was killed
	for name in "${NAMESPACES[@]}"; do
		remove_namespace "$name"
	done
	rm -rf "$SCRATCH"
}
