#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""COUNT ACKs that belong to nothing for HOST PORT, each followed by a SYN to port CLOSED of the same host, all of
them by one CPU: so the SYN gets the memory that the ACK had."""
import os
import socket
import struct
import sys

SYN, ACK = 2, 16


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


host, port, closed, count = sys.argv[1], *map(int, sys.argv[2:])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
address = socket.inet_pton(family, host)
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.bind((host, 0))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def send(source, target, flags):
    tcp = struct.pack("!HHIIBBHHH", source, target, 1000, 1, 5 << 4, flags, 1000, 0, 0)
    length_protocol = struct.pack("!II", len(tcp), socket.IPPROTO_TCP)
    tcp = tcp[:16] + struct.pack("!H", checksum(2 * address + length_protocol + tcp)) + tcp[18:]
    raw.sendto(tcp, (host, 0))


for i in range(count):
    send(20000 + i, port, ACK)
    send(30000 + i, closed, SYN)
