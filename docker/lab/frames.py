#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks the checksums of the TCP frames over IPv4 and IPv6 that come in by DEVICE, till standard
input ends, and prints what it found as JSON. It runs with the host's Python in a container's
network namespace.

Where the sender has left a checksum to its device, as sockets do on veth, and nobody has finished
it yet, the kernel says so, and the field must hold the sum of the pseudo header: `unfinished`. All
others are held against the whole packet."""
import json
import select
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
PACKET_OUTGOING = 4
CHECKSUM_NOT_READY = 8
SO_RCVBUFFORCE = 33
IPV4, IPV6, TCP = b"\x08\x00", b"\x86\xdd", 6
LONGEST = 1 << 17
BUFFER = 1 << 24
EXAMPLES = 3


def main():
    counts = {"checked": 0, "unfinished": 0, "bad": 0, "examples": []}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as taps:
        taps.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        taps.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        taps.bind((sys.argv[1], ETH_P_ALL))
        print("ready", flush=True)
        while sys.stdin not in select.select([taps, sys.stdin], [], [])[0]:
            look(taps, counts)
        while look(taps, counts):
            pass
        statistics = taps.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
    counts["missed"] = struct.unpack("II", statistics)[1]
    print(json.dumps(counts))


def look(taps, counts):
    """At the next frame of those that have come; False: there is none."""
    try:
        frame, about, _, address = taps.recvmsg(LONGEST, 64, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    packet = None if address[2] == PACKET_OUTGOING else parse(frame)
    if packet:
        unfinished = any(struct.unpack_from("I", data)[0] & CHECKSUM_NOT_READY
                         for level, kind, data in about
                         if (level, kind) == (SOL_PACKET, PACKET_AUXDATA))
        fault = judge(*packet, unfinished)
        counts["checked"] += 1
        counts["unfinished"] += unfinished
        counts["bad"] += bool(fault)
        if fault and len(counts["examples"]) < EXAMPLES:
            counts["examples"].append(f"{fault}: {frame[:96].hex()}")
    return True


def parse(frame):
    """The IPv4 header or nothing, the pseudo header, the TCP segment."""
    if frame[12:14] == IPV4 and frame[23] == TCP and not frame[20] & 0x3f | frame[21]:
        begin, end = 14 + (frame[14] & 15) * 4, 14 + int.from_bytes(frame[16:18], "big")
        header, addresses = frame[14:begin], frame[26:34]
    elif frame[12:14] == IPV6 and frame[20] == TCP:
        begin, end = 54, 54 + int.from_bytes(frame[18:20], "big")
        header, addresses = b"", frame[22:54]
    else:
        return None
    segment = frame[begin:end]
    return header, addresses + struct.pack("!II", len(segment), TCP), segment


def judge(header, pseudo, segment, unfinished):
    if header and total(header):
        return "IPv4 header"
    if unfinished:
        field = int.from_bytes(segment[16:18], "big")
        return field % 0xffff != total(pseudo) and "TCP, unfinished"
    return total(pseudo + segment) and "TCP"


def total(data):
    """One's complement sum: 0 where the data includes its right checksum."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xffff


if __name__ == "__main__":
    main()
