#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A wire between two network namespaces: each gets a tun device, and what goes in at one end comes out at
the other after a delay, except what is to be lost. At SIGTERM it says what was sent, by the PORT of the
server, who is at the far end, and by side: how much, how much of it again, and which segments were lost."""
import argparse
import collections
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import time

SYN, ACK = 2, 16
libc = ctypes.CDLL(None, use_errno=True)


def tun(namespace, device):
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    fd = os.open("/run/netns/" + namespace, os.O_RDONLY)
    if libc.setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, 0x400454CA, struct.pack("16sH22x", device.encode(), 0x1001))
    libc.setns(own, 0x40000000)
    return end


def behind(a, b):
    """Of sequence numbers."""
    return (a - b) & 0xFFFFFFFF >= 1 << 31


class Segment:
    """Of TCP over IPv4 or IPv6 without extension headers."""

    def __init__(self, packet):
        six = packet[0] >> 4 == 6
        at = 40 if six else (packet[0] & 15) * 4
        self.tcp = packet[6 if six else 9] == 6
        if not self.tcp:
            return
        self.ports = struct.unpack_from("!HH", packet, at)
        self.sequence, = struct.unpack_from("!I", packet, at + 4)
        self.flags = packet[at + 13]
        self.size = len(packet) - at - (packet[at + 12] >> 4) * 4
        if self.flags & SYN:
            self.kind = "synack" if self.flags & ACK else "syn"
        elif self.size:
            self.kind = "data"
        else:
            self.kind = "fin" if self.flags & 1 else "ack"

    def end(self):
        return (self.sequence + self.size + bool(self.flags & 3)) & 0xFFFFFFFF


class Wire:
    def __init__(self, a):
        self.delay = a.delay / 1000
        self.ends = [tun(a.near, a.device), tun(a.far, a.device)]
        self.lose = [self.rule(text) for text in a.lose]
        self.seen = {}  # (port, kind): {sequence: [which of them it is, how many times it came]}
        self.highest = {}  # (ports, direction): the end of what was sent
        self.said = {}
        self.late = collections.deque()

    @staticmethod
    def rule(text):
        port, kind, which = text.split(":")
        which, _, times = which.partition("x")
        first, _, last = which.partition("-")
        return int(port), kind, int(first), int(last or first), int(times or 1)

    def note(self, s, direction):
        """Whether it passes."""
        port = s.ports[0 if direction else 1]
        side = "server" if direction else "client"
        said = self.said.setdefault(port, {}).setdefault(
            side, {"segments": 0, "bytes": 0, "again": 0, "bytes_again": 0, "lost": []})
        if direction and s.kind == "data":
            s.kind = "reply"
        seen = self.seen.setdefault((port, s.kind), {})
        which = seen.setdefault(s.sequence, [len(seen) + 1, 0])
        which[1] += 1
        flow = s.ports, direction
        said["segments"] += 1
        said["bytes"] += s.size
        if s.kind != "ack":
            highest = self.highest.get(flow, s.sequence)
            if behind(s.sequence, highest):
                said["again"] += 1
                said["bytes_again"] += s.size
            if behind(highest, s.end()):
                self.highest[flow] = s.end()
        for rule in self.lose:
            if rule[:2] == (port, s.kind) and rule[2] <= which[0] <= rule[3] and which[1] <= rule[4]:
                said["lost"].append({"kind": s.kind, "sequence": s.sequence, "port": s.ports[direction]})
                return False
        return True

    def take(self, direction):
        try:
            packet = os.read(self.ends[direction], 65536)
        except BlockingIOError:
            return
        s = Segment(packet)
        if not s.tcp or self.note(s, direction):
            self.late.append((time.monotonic() + self.delay, direction, packet))

    def give(self):
        while self.late and self.late[0][0] <= time.monotonic():
            _, direction, packet = self.late.popleft()
            os.write(self.ends[not direction], packet)

    def run(self, ended):
        print("ready", flush=True)
        while not ended:
            wait = self.late[0][0] - time.monotonic() if self.late else 0.2
            ready = select.select(self.ends, [], [], max(0, wait))[0]
            for direction in (0, 1):
                if self.ends[direction] in ready:
                    self.take(direction)
            self.give()
        print(json.dumps(self.said), flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("near")
    p.add_argument("far")
    p.add_argument("--device", default="wire")
    p.add_argument("--delay", type=float, default=10, help="milliseconds, each way")
    p.add_argument("--lose", action="append", default=[], metavar="PORT:KIND:FIRST[-LAST][xTIMES]",
                   help="segments of this port: syn, synack, data or reply, counted from 1, however often "
                   "each comes; the first TIMES it does")
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    Wire(p.parse_args()).run(ended)


main()
