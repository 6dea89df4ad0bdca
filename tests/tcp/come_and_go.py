#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""COUNT listeners on 127.0.0.1, one after the other and each on the next port; each has one client."""
import socket
import sys

first, count = map(int, sys.argv[1:])
for port in range(first, first + count):
    with socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
        client.connect(("127.0.0.1", port))
