#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""TCP segments as no stack sends them, and listeners that lose them. What goes on says "ready", ends at
SIGTERM and then says its sum."""
import argparse
import ipaddress
import signal
import socket
import struct
import sys
import time

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
NAMES = {"F": FIN, "S": SYN, "R": RST, "P": PSH, "A": ACK}
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3
UNKNOWN_PROTOCOL = 253  # for experiments


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data if len(data) % 2 == 0 else data + b"\0"))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def segment(source, destination, sport, dport, flags, seq=1000, ack=0, bad=False):
    """A whole IP packet."""
    six = ipaddress.ip_address(destination).version == 6
    src, dst = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 8192, 0, 0)
    pseudo = src + dst + (struct.pack("!II", len(tcp), 6) if six else struct.pack("!BBH", 0, 6, len(tcp)))
    right = checksum(pseudo + tcp)
    tcp = tcp[:16] + struct.pack("!H", right ^ 0x5555 if bad else right) + tcp[18:]
    if six:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + src + dst + tcp
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, src, dst)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + tcp


def sender(host):
    six = ":" in host
    return socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def send(s, host, packet):
    while True:
        try:
            return s.sendto(packet, (host, 0))
        except OSError as e:  # the queue of the device is full
            if e.errno != 105:
                raise
            time.sleep(0.001)


def not_sent(device):
    """What the device has thrown away: the other end of a veth takes no more when it is not read."""
    with open("/proc/self/net/dev", encoding="ascii") as file:
        return next(int(line.split(":")[1].split()[11]) for line in file if line.strip().startswith(device + ":"))


def segments(a):
    """So many segments that begin nothing, each from its own port."""
    s = sender(a.host)
    flags = sum(NAMES[c] for c in a.flags)
    lost = not_sent(a.device)
    for i in range(a.count):
        packet = segment(a.source, a.host, 10000 + i % 50000, a.port, flags, bad=a.bad)
        send(s, a.host, packet)
        while not_sent(a.device) != lost:
            lost = not_sent(a.device)
            time.sleep(0.001)
            send(s, a.host, packet)
    print(a.count)


def unknown(a):
    """Packets of a protocol that nobody speaks."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, UNKNOWN_PROTOCOL) as s:
        for _ in range(a.count):
            send(s, a.host, b"of no use")


def on_term():
    def end(*_):
        raise SystemExit
    signal.signal(signal.SIGTERM, end)


def wait_for_term():
    signal.sigwait([signal.SIGTERM])


def listen(a):
    """Listens, and accepts nobody. --deaf: a filter refuses every segment."""
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", a.port))
    if a.deaf:
        import ctypes
        code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
        s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                     struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))
    s.listen(a.backlog)
    print("ready", flush=True)
    wait_for_term()


def synack(frame, six, port):
    """(our port, their number) if this frame is a SYN-ACK from that port, else None."""
    header = 40 if six else 20
    if frame[0] >> 4 != (6 if six else 4) or frame[6 if six else 9] != 6 or len(frame) < header + 20:
        return None
    sport, dport, seq, _, _, flags = struct.unpack("!HHIIBB", frame[header:header + 14])
    return (dport, seq) if sport == port and flags & (SYN | ACK) == SYN | ACK else None


def handshakes(a):
    """Half-open connections: SYNs from an address that nobody has, and at SIGTERM the third ACKs."""
    six = ":" in a.host
    s = sender(a.host)
    sniff = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sniff.bind((a.device, ETH_P_ALL))
    sniff.settimeout(30)
    theirs = {}
    for i in range(a.count):
        send(s, a.host, segment(a.source, a.host, 20000 + i, a.port, SYN))
    while len(theirs) < a.count:
        found = synack(sniff.recv(2048), six, a.port)
        if found:
            theirs[found[0]] = found[1]
    print("ready", flush=True)
    wait_for_term()
    for port, seq in theirs.items():
        send(s, a.host, segment(a.source, a.host, port, a.port, ACK, 1001, (seq + 1) & 0xffffffff))
    print(len(theirs), flush=True)


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(required=True)

    v = verbs.add_parser("segments")
    v.set_defaults(run=segments)
    v.add_argument("host")
    v.add_argument("port", type=int)
    v.add_argument("count", type=int)
    v.add_argument("--source", required=True)
    v.add_argument("--flags", default="S")
    v.add_argument("--bad", action="store_true", help="with a wrong checksum")
    v.add_argument("--device", default="eth0")

    v = verbs.add_parser("unknown")
    v.set_defaults(run=unknown)
    v.add_argument("host")
    v.add_argument("count", type=int)

    v = verbs.add_parser("listen")
    v.set_defaults(run=listen)
    v.add_argument("port", type=int)
    v.add_argument("--backlog", type=int, default=8)
    v.add_argument("--deaf", action="store_true")

    v = verbs.add_parser("handshakes")
    v.set_defaults(run=handshakes)
    v.add_argument("host")
    v.add_argument("port", type=int)
    v.add_argument("count", type=int)
    v.add_argument("--source", required=True)
    v.add_argument("--device", default="eth0")

    a = p.parse_args()
    return a.run(a)


if __name__ == "__main__":
    sys.exit(main())
