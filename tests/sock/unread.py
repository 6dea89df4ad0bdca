#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A connection whose ends answer each other without sleeping in recv(), and always have more to read.
Ends with SIGTERM."""
import socket
import sys
import time

MESSAGE = 100
WAITING = 8  # messages in each direction

port = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", port))
ends = [socket.create_connection(("127.0.0.1", port)), listener.accept()[0]]
for end in ends:
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(WAITING):
        end.send(bytes(MESSAGE))
turns = 0
while True:
    for end in ends:
        try:
            end.send(bytes(len(end.recv(MESSAGE))))
        except BlockingIOError:
            pass
    turns += 1
    if turns % 20 == 0:
        time.sleep(0.001)
