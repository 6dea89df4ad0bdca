#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Clients that no kernel knows of: SYNs from an address that is nobody's, by a packet socket. Says "syn
COUNT", then how many were answered ("answered N"). Each line of input is an order: "ack" acknowledges
all of them ("acked N"), "insist" does so each second from now on, "wait SECONDS" says how many were reset
("reset N") when all are or the time is over, "again" sends the same SYNs once more. Ends with its input."""
import argparse
import socket
import struct
import sys
import threading
import time

SYN, RST, ACK = 2, 4, 16


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Clients:
    def __init__(self, a):
        self.a = a
        self.six = ":" in a.source
        family = socket.AF_INET6 if self.six else socket.AF_INET
        self.source, self.target = (socket.inet_pton(family, x) for x in (a.source, a.target))
        self.device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.device.bind((a.device, 0))
        self.device.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.ether = bytes.fromhex(a.mac.replace(":", "")) + self.device.getsockname()[4]
        self.ether += struct.pack("!H", 0x86DD if self.six else 0x0800)
        self.answers = {}  # port: sequence number of the server
        self.resets = set()

    def send(self, port, sequence, acknowledged, flags):
        tcp = struct.pack("!HHIIBBHHH", port, self.a.port, sequence, acknowledged, 5 << 4, flags, 64240, 0, 0)
        if self.six:
            pseudo = self.source + self.target + struct.pack("!II", len(tcp), 6)
            ip = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + self.source + self.target
        else:
            pseudo = self.source + self.target + struct.pack("!BBH", 0, 6, len(tcp))
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + self.source + self.target
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        self.device.send(self.ether + ip + tcp)

    def syn(self, i):
        self.send(self.a.first + i, 1000 + i, 0, SYN)

    def syns(self):
        for i in range(self.a.count):
            self.syn(i)
            self.listen(self.a.gap)

    def ack(self, port, sequence):
        self.send(port, 1001 + port - self.a.first, (sequence + 1) & 0xFFFFFFFF, ACK)

    def acks(self):
        for answer in self.answers.items():
            self.ack(*answer)
            self.listen(self.a.gap)

    def insist(self):
        while True:
            for answer in self.answers.items():
                self.ack(*answer)
            time.sleep(1)

    def take(self, frame):
        at = 14 + (40 if self.six else 20)
        if frame[12:14] != self.ether[12:14] or len(frame) < at + 20:
            return
        if (frame[14 + 24 : 14 + 40] if self.six else frame[14 + 16 : 14 + 20]) != self.source:
            return
        source, port, sequence, _, _, flags = struct.unpack("!HHIIBB", frame[at : at + 14])
        if source != self.a.port:
            return
        if flags & RST:
            self.resets.add(port)
        elif flags & (SYN | ACK) == SYN | ACK:
            self.answers[port] = sequence

    def listen(self, seconds, enough=lambda: False):
        """And to what is there already, however late it is."""
        end = time.monotonic() + seconds
        while not enough():
            self.device.settimeout(max(0, end - time.monotonic()))
            try:
                self.take(self.device.recv(2048))
            except (TimeoutError, BlockingIOError):
                return


def main():
    p = argparse.ArgumentParser()
    p.add_argument("device")
    p.add_argument("mac", help="of the target")
    p.add_argument("source")
    p.add_argument("target")
    p.add_argument("port", type=int)
    p.add_argument("count", type=int)
    p.add_argument("--first", type=int, default=20000, help="port")
    p.add_argument("--gap", type=float, default=0.002, help="seconds between packets")
    p.add_argument("--patience", type=float, default=0.5, help="seconds for the last answer")
    c = Clients(p.parse_args())

    def say(*words):
        print(*words, flush=True)

    c.syns()
    say("syn", c.a.count)
    c.listen(c.a.patience)
    say("answered", len(c.answers))
    for order in sys.stdin:
        word, *rest = order.split()
        if word == "ack":
            c.acks()
            say("acked", len(c.answers))
        elif word == "insist":
            threading.Thread(target=c.insist, daemon=True).start()
        elif word == "again":
            c.syns()
            say("again", c.a.count)
        elif word == "wait":
            c.listen(float(rest[0]), lambda: len(c.resets) >= len(c.answers))
            say("reset", len(c.resets))


main()
