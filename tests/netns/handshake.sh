#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# weir handshake: what real clients and listeners do, and that queue verdicts agree with the kernel's
# own counters.
#
#   client                         host
#   eth0 10.9.0.1/24 -------- eth0 10.9.0.2/24     weir is attached here
#        fd09::1/64                fd09::2/64
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
pair
ip -n "$host" route add 10.9.7.0/24 via 10.9.0.1 # strangers: their SYN-ACKs end at the client

# Listens and accepts at most so many; 0: none.
listener() { # PORT BACKLOG ACCEPTS
	inside "$host" timeout 120 python3 - "$@" <<-'PYTHON' &
		import socket, sys, time
		port, backlog, accepts = map(int, sys.argv[1:])
		s = socket.socket(socket.AF_INET6)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		s.bind(("::", port))
		s.listen(backlog)
		for _ in range(accepts):
		    s.accept()[0].close()
		time.sleep(120)
	PYTHON
	await 5 sh -c "ss -HltnN '$host' | grep -q ':$1 '"
}

# Begins connections one after the other, waits, and ends them all.
connects() { # ADDRESS PORT COUNT SECONDS
	inside "$client" timeout 60 python3 - "$@" <<-'PYTHON'
		import socket, sys, time
		host, port, count, wait = sys.argv[1:]
		sockets = []
		for _ in range(int(count)):
		    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
		    s.setblocking(False)
		    s.connect_ex((host, int(port)))
		    sockets.append(s)
		    time.sleep(0.005)
		time.sleep(float(wait))
	PYTHON
}

# SYNs from addresses where nobody lives.
strangers() { # PORT COUNT
	inside "$client" timeout 60 python3 - "$(cat_mac)" "$@" <<-'PYTHON'
		import socket, struct, sys
		mac, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		def total(b):
		    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
		    while s >> 16:
		        s = (s & 0xffff) + (s >> 16)
		    return ~s & 0xffff
		raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		raw.bind(("eth0", 0))
		for i in range(count):
		    source = bytes([10, 9, 7, 1 + i])
		    dest = bytes([10, 9, 0, 2])
		    tcp = struct.pack("!HHIIBBHHH", 2000, port, 7, 0, 0x50, 2, 65535, 0, 0)
		    check = total(source + dest + struct.pack("!HH", 6, len(tcp)) + tcp)
		    tcp = tcp[:16] + struct.pack("!H", check) + tcp[18:]
		    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + dest
		    ip = ip[:10] + struct.pack("!H", total(ip)) + ip[12:]
		    raw.send(bytes.fromhex(mac.replace(":", "")) + bytes(6) + b"\x08\x00" + ip + tcp)
	PYTHON
}

cat_mac() {
	ip -n "$host" -j link show eth0 | jq -r '.[0].address'
}

kernel_counts() { # NAME
	inside "$host" nstat -asz "TcpExt$1" | awk -v n="TcpExt$1" '$1 == n { print $2 }'
}

endpoint() { # PORT FIELD [ROLE]
	value ".devices[].endpoints[] | select(.port == $1 and .role == \"${3:-server}\") | .$2" \
		handshake show
}

test_established() {
	listener 80 64 1000
	connects 10.9.0.2 80 20 0.2
	connects fd09::2 80 20 0.2
	equal "connections of both families are established" 40 "$(endpoint 80 established)"
	equal "and have a SYN-ACK each" 40 "$(endpoint 80 synack)"
	equal "none is half-open" 0 "$(endpoint 80 half_open)"
	between "SYN to SYN-ACK takes microseconds" 1 20000 "$(endpoint 80 syn_to_synack_us_p50)"
	between "SYN-ACK to ACK, too" 1 20000 "$(endpoint 80 synack_to_ack_us_p50)"
	equal "nothing is wrong" ok "$(endpoint 80 verdict)"
}

test_refused() {
	connects 10.9.0.2 81 3 0.2
	connects fd09::2 81 3 0.2
	equal "refused connections" 6 "$(endpoint 81 refused)"
	says "the advice says why" 'port 81: 6 of 6 SYNs refused: nothing listens' weir handshake show
}

test_accept_queue() {
	local before
	listener 82 2 0
	before=$(kernel_counts ListenOverflows)
	connects 10.9.0.2 82 6 2.5
	equal "established is what the queue holds" 3 "$(endpoint 82 established)"
	equal "as many drops by the accept queue as the kernel counts" \
		$(($(kernel_counts ListenOverflows) - before)) "$(endpoint 82 accept_queue_full)"
	says "the queue is named" 'accept 3/2 FULL' weir handshake show eth0
	says "with advice" 'port 82: [0-9]+ SYNs met a full accept queue \(3/2\)' weir handshake show
}

test_syn_queue() {
	local before
	listener 83 8 0
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies=0
	before=$(kernel_counts TCPReqQFullDrop)
	strangers 83 64
	sleep 0.2
	equal "as many drops by the SYN queue as the kernel counts" \
		$(($(kernel_counts TCPReqQFullDrop) - before)) "$(endpoint 83 syn_queue_full)"
	equal "that is, all but what it holds" 55 "$(endpoint 83 syn_queue_full)"
	equal "all are half-open" 64 "$(endpoint 83 half_open)"
	says "the queue is named" 'SYN 9/8 FULL' weir handshake show
	inside "$host" sysctl -qw net.ipv4.tcp_syncookies=1
}

test_cookies() {
	local before
	listener 84 8 0
	before=$(kernel_counts TCPReqQFullDoCookies)
	strangers 84 64
	sleep 0.2
	equal "as many cookies as the kernel counts" \
		$(($(kernel_counts TCPReqQFullDoCookies) - before)) "$(endpoint 84 syn_cookies)"
	equal "no SYN is dropped" 0 "$(endpoint 84 syn_queue_full)"
}

test_client() {
	inside "$client" timeout 60 python3 -m http.server --bind 10.9.0.1 8000 >/dev/null 2>&1 &
	await 5 sh -c "ss -HltnN '$client' | grep -q ':8000 '"
	inside "$host" curl -so /dev/null http://10.9.0.1:8000/
	equal "a connection of this host has the role client" 1 "$(endpoint 8000 established client)"
}

test_watch() {
	local watcher
	timeout 20 "$WEIR" -j -n "$host" handshake watch eth0 --port 80 --role server -c 5 \
		>"$SCRATCH/watched" 2>"$OUTPUT" &
	watcher=$!
	sleep 0.5
	refuses "one watcher at a time" 2 'only one can watch' handshake watch eth0
	connects 10.9.0.2 81 2 0
	connects fd09::2 80 5 0.2
	wait "$watcher"
	equal "watch ends after -c lines" 0 $?
	holds "each line is an established connection" 'length == 5 and
		all(.[]; .outcome == "established" and .device == "eth0" and .role == "server" and
			.server == "[fd09::2]:80" and .syn_to_synack_us > 0)' \
		jq -s . "$SCRATCH/watched"
	"$WEIR" -n "$host" handshake watch eth0 >/dev/null 2>&1 &
	watcher=$!
	disown
	sleep 0.3
	kill -KILL "$watcher"
	sleep 2.2
	check "after a killed watcher another can watch" timeout --preserve-status -s INT 1 \
		"$WEIR" -n "$host" handshake watch eth0
}

test_update() {
	local before
	before=$(endpoint 80 established)
	check "attach again" weir attach eth0
	equal "an update keeps the counts" "$before" "$(endpoint 80 established)"
	connects 10.9.0.2 80 1 0.2
	equal "and goes on counting" $((before + 1)) "$(endpoint 80 established)"
}

refuses "bad role" 1 "role 'middle': wanted server or client" handshake watch --role middle
refuses "bad port" 1 'port' handshake watch --port 70000
refuses "not attached" 2 'eth0 is not attached' handshake show eth0
check "attach" weir attach eth0
test_established
test_refused
test_accept_queue
test_syn_queue
test_cookies
test_client
test_watch
test_update
