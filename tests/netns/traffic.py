#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Traffic of known size. What serves says "ready", goes on until SIGTERM and then says its sum."""
import argparse
import errno
import hashlib
import os
import select
import signal
import socket
import struct
import sys
import time


class Ended(Exception):
    pass


def on_term(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Ended


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def ready():
    print("ready", flush=True)


def server(port, kind):
    s = socket.socket(socket.AF_INET6, kind)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::", port))
    return s


def roomy(s):
    """Keeps what arrives while its owner stands still, beyond rmem_max."""
    s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE


def modest(s):
    """Waits while several dozen of its datagrams are on their way to the other end: however late they are
    taken there, the ring of a veth, which holds 256, does not overflow."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)


def asked_to_end():
    """Becomes true at SIGTERM: for those who count, and must not be interrupted between two lines."""
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    return ended


def incoming(fd, enough=None):
    """Goes on for each thing that can be read; after SIGTERM until nothing more has come for a while, and
    where it is known what is enough, until that has come, for which there is time."""
    ended = asked_to_end()
    limit = None
    ready()
    while True:
        last = bool(ended)
        if last and not limit:
            limit = time.monotonic() + 20
        if select.select([fd], [], [], 0.1 if enough else 0.3)[0]:
            yield
        elif last and (not enough or enough() or time.monotonic() > limit):
            return


def sink(a):
    """Counts datagrams."""
    s = server(a.port, socket.SOCK_DGRAM)
    roomy(s)
    got = 0
    for _ in incoming(s, a.wanted is not None and (lambda: got >= a.wanted)):
        s.recv(65536)
        got += 1
    print(got)


def send(a):
    """Datagrams, as fast as --rate allows: who was held up makes up for it, but not with --gap, the least
    time between two. Their sources may be many addresses of this host."""
    sockets = []
    for source in a.source or [""]:
        s = socket.socket(family(a.host), socket.SOCK_DGRAM)
        modest(s)
        if source or a.sport:
            s.bind((source, a.sport))
        sockets.append(s)
    begin = time.monotonic()
    for i in range(a.count):
        sockets[i % len(sockets)].sendto(b"w" * a.size, (a.host, a.port))
        if a.rate:
            time.sleep(max(0, begin + (i + 1) / a.rate - time.monotonic()))
        elif a.gap:
            time.sleep(a.gap)
        elif i % 200 == 199:
            time.sleep(0.001)
    print(a.count)


def echo(a):
    s = server(a.port, socket.SOCK_DGRAM)
    roomy(s)
    modest(s)
    try:
        ready()
        while True:
            data, peer = s.recvfrom(2048)
            s.sendto(data, peer)
    except Ended:
        pass


def pulse(a):
    """A datagram every millisecond to an echo; says how many never came back, for which there is time."""
    ended = asked_to_end()
    s = socket.socket(family(a.host), socket.SOCK_DGRAM)
    s.connect((a.host, a.port))
    s.setblocking(False)
    roomy(s)
    modest(s)
    sent, back = 0, set()

    def receive(seconds):
        until = time.monotonic() + seconds
        while select.select([s], [], [], max(0, until - time.monotonic()))[0]:
            try:
                back.add(struct.unpack("!I", s.recv(64))[0])
            except OSError:
                pass

    ready()
    while not ended:
        try:
            s.send(struct.pack("!I", sent))
            sent += 1
        except BlockingIOError:
            pass
        except OSError:
            sent += 1
        receive(0.001)
    limit = time.monotonic() + 20
    while len(back) < sent and time.monotonic() < limit:
        receive(0.01)
    print(sent - len(back) if sent > 20 else "sent only %d" % sent)


def listen(a):
    """A TCP listener. --hold: nobody accepts."""
    s = server(a.port, socket.SOCK_STREAM)
    s.listen(a.backlog)
    accepted = 0
    try:
        ready()
        while True:
            while a.hold:
                time.sleep(0.1)
            time.sleep(a.delay)
            c, _ = s.accept()
            accepted += 1
            c.close()
    except Ended:
        print(accepted)


def connect(a):
    """TCP connections one after another; says how many were made. --keep: all stay open."""
    made, kept = 0, []
    for _ in range(a.count):
        s = socket.socket(family(a.host), socket.SOCK_STREAM)
        s.settimeout(a.wait)
        try:
            s.connect((a.host, a.port))
            made += 1
            if a.keep:
                kept.append(s)
                continue
            s.settimeout(2)
            s.recv(1)
        except OSError:
            pass
        s.close()
    print(made, flush=True)
    time.sleep(a.linger)


def serve(a):
    """Sends a file to whoever connects."""
    s = server(a.port, socket.SOCK_STREAM)
    s.listen(64)
    try:
        ready()
        while True:
            c, _ = s.accept()
            with open(a.file, "rb") as f:
                try:
                    c.sendfile(f)
                except OSError:
                    pass
            c.close()
    except Ended:
        pass


def fetch(a):
    """Receives it, and says its sha256."""
    s = socket.socket(family(a.host), socket.SOCK_STREAM)
    s.settimeout(a.wait)
    s.connect((a.host, a.port))
    h = hashlib.sha256()
    while data := s.recv(1 << 20):
        h.update(data)
    print(h.hexdigest())


def syn(a):
    """Bare SYNs from a raw socket, each of a port of its own: nobody answers their SYN-ACKs."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    source, target = socket.inet_aton(a.source[0]), socket.inet_aton(a.host)

    def sum16(data):
        total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    for i in range(a.count):
        tcp = struct.pack("!HHIIBBHHH", a.sport + i, a.port, i * 7919 + 1, 0, 5 << 4, 2, 64240, 0, 0)
        pseudo = source + target + struct.pack("!BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", sum16(pseudo + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, i, 0, 64, 6, 0, source, target)
        s.sendto(ip + tcp, (a.host, 0))
        time.sleep(0.001)
    print(a.count)


def tun(a):
    """Holds a tun or tap device of this name open; says how many packets the host sent there."""
    import fcntl

    flags = {"tun": 0x0001, "tap": 0x0002}[a.kind] | 0x1000
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", a.device.encode(), flags))
    got = 0
    for _ in incoming(fd, a.wanted is not None and (lambda: got >= a.wanted)):
        got += b"wwww" in os.read(fd, 65536)
    print(got)


def take(a):
    """Answers whatever a connection sends with its sha256."""
    s = server(a.port, socket.SOCK_STREAM)
    s.listen(64)
    try:
        ready()
        while True:
            c, _ = s.accept()
            h = hashlib.sha256()
            try:
                while data := c.recv(1 << 20):
                    h.update(data)
                c.sendall(h.hexdigest().encode())
            except OSError:
                pass
            c.close()
    except Ended:
        pass


def give(a):
    """Sends a file to take; says what that answers."""
    s = socket.socket(family(a.host), socket.SOCK_STREAM)
    s.settimeout(a.wait)
    s.connect((a.host, a.port))
    with open(a.file, "rb") as f:
        s.sendfile(f)
    s.shutdown(socket.SHUT_WR)
    print(s.recv(64).decode())


def outer_header(a, inner):
    """In front of an IP packet, with its class and ECN."""
    six = inner[0] >> 4 == 6
    tos = (inner[0] << 4 | inner[1] >> 4) & 0xFF if six else inner[1]
    proto = 41 if six else 4
    own, peer = (socket.inet_pton(family(x), x) for x in (a.own, a.peer))
    if len(own) == 16:
        return struct.pack("!IHBB", 6 << 28 | tos << 20, len(inner), proto, 64) + own + peer
    header = struct.pack("!BBHHHBBH", 0x45, tos, len(inner) + 20, 0, 0x4000, 64, proto, 0) + own + peer
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]


def tunnel(a):
    """A tun device whose packets leave by another device in an outer header. --unfinished: with
    checksums left to that device, as a tunnel of the kernel's leaves them."""
    import fcntl

    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", a.device.encode(), 0x5001))
    fcntl.ioctl(fd, 0x400454D0, 1 if a.unfinished else 0)
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.setsockopt(263, 15, 1)
    out.bind((a.via, 0))
    macs = bytes.fromhex(a.mac.replace(":", "")) + out.getsockname()[4]
    tags = b"".join(struct.pack("!HH", 0x8100, 100 + i) for i in range(a.tags))
    ether = macs + tags + struct.pack("!H", 0x86DD if ":" in a.own else 0x0800)
    sent = unfinished = 0
    for _ in incoming(fd):
        data = os.read(fd, 65536)
        flags, gso, size, gso_size, start, offset = struct.unpack("<BBHHHH", data[:10])
        inner = data[10:]
        head = ether + outer_header(a, inner)
        start += len(head) if flags & 1 else 0
        vnet = struct.pack("<BBHHHH", flags & 1, 0, 0, 0, start, offset)
        try:
            out.send(vnet + head + inner)
        except OSError as e:
            if e.errno != errno.ENOBUFS:  # its own counter tells how often
                raise
        sent += 1
        unfinished += flags & 1
    print(unfinished if a.unfinished else sent)


def main():
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(required=True)

    def verb(run, *words):
        v = verbs.add_parser(run.__name__)
        v.set_defaults(run=run)
        for w in words:
            v.add_argument(w, type=int if w in ("port", "count") else str)
        return v

    v = verb(sink, "port")
    v.add_argument("--wanted", type=int)
    v = verb(send, "host", "port", "count")
    v.add_argument("--sport", type=int, default=0)
    v.add_argument("--size", type=int, default=64)
    v.add_argument("--rate", type=float, default=0)
    v.add_argument("--gap", type=float, default=0)
    v.add_argument("--source", action="append")
    verb(echo, "port")
    verb(pulse, "host", "port")
    v = verb(listen, "port")
    v.add_argument("--backlog", type=int, default=128)
    v.add_argument("--hold", action="store_true")
    v.add_argument("--delay", type=float, default=0)
    v = verb(connect, "host", "port", "count")
    v.add_argument("--wait", type=float, default=2)
    v.add_argument("--keep", action="store_true")
    v.add_argument("--linger", type=float, default=0)
    verb(serve, "port", "file")
    v = verb(fetch, "host", "port")
    v.add_argument("--wait", type=float, default=20)
    v = verb(syn, "host", "port", "count")
    v.add_argument("--source", action="append", required=True)
    v.add_argument("--sport", type=int, default=20000)
    v = verb(tun, "kind", "device")
    v.add_argument("--wanted", type=int)
    verb(take, "port")
    v = verb(give, "host", "port", "file")
    v.add_argument("--wait", type=float, default=20)
    v = verb(tunnel, "device", "own", "peer", "via", "mac")
    v.add_argument("--unfinished", action="store_true")
    v.add_argument("--tags", type=int, default=0)
    signal.signal(signal.SIGTERM, on_term)
    a = p.parse_args()
    try:
        a.run(a)
    except Ended:
        sys.exit(143)


main()
