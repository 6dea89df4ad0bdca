#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Connections of which it is known when which segment is sent: rounds of one byte, then a burst."""
import argparse
import ctypes
import os
import select
import signal
import socket
import struct
import threading
import time


def answer(c):
    try:
        while data := c.recv(65536):
            if data.endswith(b"\n"):
                c.sendall(b"\n")
    except OSError:
        pass
    c.close()


def serve(a):
    """Answers each line."""
    listeners = []
    for port in a.port:
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::", port))
        s.listen(64)
        listeners.append(s)
    print("ready", flush=True)
    while True:
        for s in select.select(listeners, [], [])[0]:
            c, _ = s.accept()
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(c,), daemon=True).start()


def await_line(s):
    while not s.recv(65536).endswith(b"\n"):
        pass


def wait_for(path):
    print("ready", flush=True)
    while not os.path.exists(path):
        time.sleep(0.02)


def talk(a):
    """Says its port when all is answered, and keeps the connection until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if a.after:
        wait_for(a.after)
    s = socket.socket(socket.AF_INET6 if ":" in a.host else socket.AF_INET)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not a.small)
    s.connect((a.host, a.port))
    for _ in range(a.rounds):
        s.sendall(b"\n")
        await_line(s)
    mss = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    if a.segments:
        s.sendall(b"x" * (a.segments * mss - a.small - 1) + b"\n" * (not a.small))
    if a.small:
        s.sendall(b"x" * 9 + b"\n")
    print("sent", flush=True)
    if a.segments:
        await_line(s)
    print("done", s.getsockname()[1], flush=True)
    if a.disconnect:
        nowhere = struct.pack("H14x", socket.AF_UNSPEC)
        ctypes.CDLL(None).connect(s.fileno(), nowhere, len(nowhere))
    signal.sigwait([signal.SIGTERM])


def main():
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(required=True)
    v = verbs.add_parser("serve")
    v.set_defaults(run=serve)
    v.add_argument("port", type=int, nargs="+")
    v = verbs.add_parser("talk")
    v.set_defaults(run=talk)
    v.add_argument("host")
    v.add_argument("port", type=int)
    v.add_argument("--rounds", type=int, default=4)
    v.add_argument("--segments", type=int, default=0)
    v.add_argument("--small", action="store_true", help="behind it a small one, which Nagle holds back")
    v.add_argument("--disconnect", action="store_true", help="then, by connect(), which keeps the socket")
    v.add_argument("--after", metavar="FILE", help="when there is one")
    a = p.parse_args()
    a.run(a)


main()
