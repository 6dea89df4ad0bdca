#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A TCP listener that accepts nobody until SIGUSR1, and then all. Says "ready", and at SIGTERM how many it
has accepted. --sockets: an SO_REUSEPORT group. --refuse: a filter of the socket drops all that comes."""
import argparse
import ctypes
import select
import signal
import socket
import struct
import time

SO_ATTACH_FILTER = 26


def listen(a):
    s = socket.socket(socket.AF_INET6 if ":" in a.host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if a.sockets > 1:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((a.host, a.port))
    s.listen(a.backlog)
    if a.refuse:
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # return 0
        s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 1, ctypes.addressof(nothing)))
    return s


def main():
    p = argparse.ArgumentParser()
    p.add_argument("host")
    p.add_argument("port", type=int)
    p.add_argument("backlog", type=int)
    p.add_argument("--sockets", type=int, default=1)
    p.add_argument("--accept", action="store_true", help="from the beginning")
    p.add_argument("--refuse", action="store_true")
    a = p.parse_args()
    accepted, asked = [], {signal.SIGUSR1} if a.accept else set()
    # Noted only, and looked for often: a signal that comes just before a call that waits does not end it.
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: asked.add(number))
    signal.alarm(600)
    sockets = [listen(a) for _ in range(a.sockets)]
    print("ready", flush=True)
    ended = False
    while not ended:
        ended = signal.SIGTERM in asked
        if signal.SIGUSR1 not in asked:
            time.sleep(0.05)
            continue
        while waiting := select.select(sockets, [], [], 0 if ended else 0.05)[0]:
            accepted += [s.accept()[0] for s in waiting]
    print(len(accepted), flush=True)


main()
