#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""TCP clients that all connect at once, and keep what they have. Says how long each took to be connected: a
JSON array of [LEAST, MOST] seconds, as this process may stand still while the kernel works, null for who had
to give up; when all know, or after --wait seconds, when the others are called back."""
import argparse
import json
import select
import socket
import struct
import sys
import time


def came_in(s):
    """When the SYN-ACK came, or somewhat earlier."""
    now = time.monotonic()
    last_ack_recv, = struct.unpack_from("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 56)
    return now - last_ack_recv / 1000 - 0.01


def main():
    p = argparse.ArgumentParser()
    p.add_argument("host")
    p.add_argument("port", type=int)
    p.add_argument("count", type=int)
    p.add_argument("--wait", type=float, default=20)
    p.add_argument("--keep", type=float, default=0, help="seconds")
    a = p.parse_args()
    began, took, poll = {}, {}, select.poll()
    sockets = {}
    for _ in range(a.count):
        s = socket.socket(socket.AF_INET6 if ":" in a.host else socket.AF_INET)
        s.setblocking(False)
        sockets[s.fileno()] = s
        before = time.monotonic()
        s.connect_ex((a.host, a.port))
        began[s.fileno()] = before, time.monotonic()
        poll.register(s, select.POLLOUT)
    end = time.monotonic() + a.wait
    while len(took) < a.count and time.monotonic() < end:
        for fd, _ in poll.poll(100):
            poll.unregister(fd)
            before, after = began[fd]
            failed = sockets[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            took[fd] = None if failed else (came_in(sockets[fd]) - after, time.monotonic() - before)
    for fd in set(sockets) - set(took):
        sockets[fd].close()
    print(json.dumps([took.get(fd) for fd in sockets]), flush=True)
    sys.stdout.close()
    time.sleep(a.keep)


main()
