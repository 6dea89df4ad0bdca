#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Who may repair TCP sockets may also choose their sequence numbers: a connection between two sockets here,
and a third socket that was given those of its client. --late: when it is told to, else at once. Says at
the end, or at SIGTERM, what the third one read, and whether the two understood each other all the time."""
import argparse
import json
import signal
import socket
import sys
import time

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
RECEIVED, SENT = 1, 2
ended = []


def sequence(s, queue):
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    return s.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF


def set_sequence(s, queue, value):
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
    s.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, value - (value >> 31 << 32))


def numbers_of(client):
    """What it begins with, behind the SYNs."""
    client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    numbers = sequence(client, SENT), sequence(client, RECEIVED)
    client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
    return numbers


def impostor(numbers, off):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    set_sequence(s, SENT, (numbers[0] - off) & 0xFFFFFFFF)
    set_sequence(s, RECEIVED, numbers[1])
    s.bind(("127.0.0.2", 0))
    s.connect(("127.0.0.3", 9))
    s.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
    s.setblocking(False)
    return s


def converse(client, server, until):
    good, i = True, 0
    while not ended and time.monotonic() < until and good:
        i += 1
        for a, b in ((client, server), (server, client)):
            word = b"%07d\n" % i
            a.send(word)
            until_there(b)
            good = good and b.recv(100) == word
        time.sleep(0.005)
    return good


def until_there(s):
    for _ in range(20000):
        try:
            if s.recv(1, socket.MSG_PEEK):
                return
        except BlockingIOError:
            time.sleep(0.001)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--late", action="store_true")
    p.add_argument("--seconds", type=float, default=2)
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    numbers = numbers_of(client)
    for s in (client, server):
        s.setblocking(False)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    others = []
    if not a.late:
        others = [impostor(numbers, off) for off in (0, 1)]
    print(json.dumps({"client": "%s:%d" % client.getsockname()}), flush=True)
    good = converse(client, server, time.monotonic() + a.seconds)
    if a.late:
        others = [impostor(numbers, off) for off in (0, 1)]
        good = good and converse(client, server, time.monotonic() + a.seconds)
    stolen = 0
    for s in others:
        try:
            stolen += len(s.recv(100000))
        except OSError:
            pass
    print(json.dumps({"right": good, "stolen": stolen, "impostors": len(others)}), flush=True)
    sys.exit(not good)


main()
