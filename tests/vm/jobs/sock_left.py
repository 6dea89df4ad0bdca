#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# sock_left.py READY GO: connections that are short-cut and then left in all states in which they may
# have to go back to TCP. It writes READY once they are, waits until GO is there, goes on with each
# and says in JSON what came of it. Both ends are in this process.
import json
import os
import socket
import sys
import threading
import time

PATIENCE = 60  # seconds
RUN = 64  # small messages one way, after which they go by TCP


def by_tcp(*ends):
    """Bytes that TCP sent from these ends: bytes_sent of struct tcp_info."""
    return sum(int.from_bytes(e.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[200:208],
                              sys.byteorder) for e in ends)


def wait(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


class Connection:
    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.client = socket.create_connection(listener.getsockname())
        self.server = listener.accept()[0]
        listener.close()
        for end in self.client, self.server:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = self.read = b""
        self.number = 0

    def send(self, count):
        for _ in range(count):
            message = b"%06d " % self.number
            self.number += 1
            assert self.client.send(message) == len(message)
            self.sent += message

    def take(self, size):
        """Reads all that was sent, in parts of this size."""
        end = time.monotonic() + PATIENCE
        while len(self.read) < len(self.sent) and time.monotonic() < end:
            try:
                self.read += self.server.recv(size)
            except BlockingIOError:
                time.sleep(0.005)

    def exchange(self):
        self.send(1)
        self.take(100)
        self.server.send(b"yes")
        answer = b""

        def answered():
            nonlocal answer
            try:
                answer += self.client.recv(3 - len(answer))
            except BlockingIOError:
                pass
            return answer == b"yes"
        wait(answered)

    def short_cut(self):
        before = by_tcp(self.client, self.server)
        self.exchange()
        return by_tcp(self.client, self.server) == before

    def right(self):
        return self.read == self.sent


def idle(c):
    pass


def unread(c):
    c.send(20)


def unread_of_tcp(c):
    c.send(RUN)
    c.take(1000)
    before = by_tcp(c.client)
    c.send(20)
    wait(lambda: by_tcp(c.client) == before + 140)


def unread_of_both(c):
    before = by_tcp(c.client)
    c.send(RUN + 20)
    wait(lambda: by_tcp(c.client) >= before + 140)


class Reader(threading.Thread):
    """Asleep in recv."""

    def __init__(self, c):
        super().__init__(daemon=True)
        c.server.setblocking(True)
        self.end, self.got, self.error = c.server, b"", None
        self.start()

    def run(self):
        try:
            self.got = self.end.recv(100)
        except OSError as error:
            self.error = error


def go_on(c):
    c.take(7)
    for _ in range(5):
        c.exchange()
    return c.right()


def go_on_asleep(c, reader):
    c.send(1)
    reader.join(PATIENCE)
    c.read += reader.got
    c.server.setblocking(False)
    return reader.error is None and c.right() and go_on(c)


def main():
    states = {"idle": idle, "unread": unread, "unread_of_tcp": unread_of_tcp,
              "unread_of_both": unread_of_both, "asleep": Reader}
    connections = {name: Connection() for name in states}
    deadline = time.monotonic() + PATIENCE
    waiting = set(states)
    while waiting and time.monotonic() < deadline:
        waiting -= {name for name in waiting if connections[name].short_cut()}
        for c in connections.values():
            c.exchange()
        time.sleep(0.005)
    if waiting:
        print(json.dumps({"not_short_cut": sorted(waiting)}))
        sys.exit(1)
    left = {name: state(connections[name]) for name, state in states.items()}
    time.sleep(0.2)
    open(sys.argv[1], "w").close()
    wait(lambda: os.path.exists(sys.argv[2]))
    said = {}
    for name, c in connections.items():
        before = by_tcp(c.client)
        right = go_on_asleep(c, left[name]) if name == "asleep" else go_on(c)
        said[name] = {"right": right, "bytes_by_tcp": by_tcp(c.client) - before}
    print(json.dumps(said))


main()
