#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A proxy in user space: takes connections at one port and makes one to another for each. Its sockets
are non-blocking, and bytes go through memory, or by splice() through a pipe."""
import argparse
import os
import selectors
import socket
import time

PART = 65536


class Way:
    """One direction. What could not be written yet waits, and no more is read meanwhile."""

    def __init__(self, source, to, spliced):
        self.source, self.to = source, to
        self.pipe = os.pipe2(os.O_NONBLOCK) if spliced else None
        self.waiting = b""
        self.in_pipe = 0

    def read(self):
        """False: the source has ended."""
        if self.pipe:
            got = os.splice(self.source.fileno(), self.pipe[1], PART, flags=os.SPLICE_F_NONBLOCK)
            self.in_pipe += got
            return got
        self.waiting = self.source.recv(PART)
        return len(self.waiting)

    def write(self):
        if self.pipe and self.in_pipe:
            self.in_pipe -= os.splice(
                self.pipe[0], self.to.fileno(), self.in_pipe, flags=os.SPLICE_F_NONBLOCK
            )
        elif self.waiting:
            self.waiting = self.waiting[self.to.send(self.waiting):]

    def full(self):
        return self.in_pipe or self.waiting


def turn(way):
    """False: it is over."""
    try:
        if not way.full() and not way.read():
            way.to.shutdown(socket.SHUT_WR)
            return False
        way.write()
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True


def connect(port):
    """Who listens there may have been started at the same moment."""
    for _ in range(1000):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise ConnectionRefusedError(port)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("listen", type=int)
    p.add_argument("to", type=int)
    p.add_argument("--splice", action="store_true")
    a = p.parse_args()
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", a.listen), backlog=128)
    listener.setblocking(False)
    selector.register(listener, selectors.EVENT_READ)
    print("ready", flush=True)
    ways = {}
    while True:
        for key, _ in selector.select(0.01 if any(w.full() for w in ways.values()) else 1):
            if key.fileobj is listener:
                near, _ = listener.accept()
                far = connect(a.to)
                for source, to in ((near, far), (far, near)):
                    source.setblocking(False)
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(source, selectors.EVENT_READ)
                    ways[source] = Way(source, to, a.splice)
            elif not turn(ways[key.fileobj]):
                selector.unregister(key.fileobj)
        for way in ways.values():
            if way.full():
                turn(way)


main()
