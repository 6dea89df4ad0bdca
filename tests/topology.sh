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
