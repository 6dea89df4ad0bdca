#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Who connects and who listens, what each saw of it with its own clock, and whether weir says the same."""
import argparse
import errno
import ipaddress
import json
import os
import select
import socket
import struct
import sys
import time

IPPROTO_MPTCP = 262
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def text(end):
    address = ipaddress.ip_address(end[0])
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return "%s:%d" % ("[%s]" % address if address.version == 6 else address, end[1])


def say(**fields):
    os.write(1, (json.dumps(dict(fields, pid=os.getpid())) + "\n").encode())


def forked(count):
    """Goes on in so many processes; who called waits for them, and ends as badly as they do."""
    if count == 1:
        return
    children = []
    for _ in range(count):
        pid = os.fork()
        if not pid:
            return
        children.append(pid)
    sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))


def stream(a):
    s = socket.socket(family(a.host), socket.SOCK_STREAM, IPPROTO_MPTCP if a.mptcp else 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s


def serve(a):
    """Accepts so long after somebody has come."""
    s = stream(a)
    s.bind((a.host, a.port))
    s.listen(4096)
    os.write(1, b"ready\n")
    forked(a.processes)
    kept = []
    for _ in range(a.count):
        select.select([s], [], [])
        time.sleep(a.delay)
        kept.append(s.accept())
        now = time.monotonic()
        say(local=text(kept[-1][0].getsockname()), remote=text(kept[-1][1]), accepted=now)
    time.sleep(a.linger)


def dial(a):
    forked(a.processes)
    kept = []
    for _ in range(a.count):
        s = stream(a)
        if a.source:
            s.bind((a.source, a.source_port))
        began = time.monotonic()
        error = s.connect_ex((a.host, a.port))
        took = time.monotonic() - began
        local = None if error else text(s.getsockname())
        say(local=local, remote=text((a.host, a.port)), began=began, took_us=took * 1e6,
            error=errno.errorcode.get(error))
        kept.append(s)
        if a.send:
            time.sleep(a.send)
            s.sendall(b"weir")
        if a.reset:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            s.close()
    time.sleep(a.linger)


def twins(a):
    """Two sockets are bound to the same port before both connect to the same end."""
    pair = [stream(a), stream(a)]
    for s in pair:
        s.bind((a.source, a.source_port))
    for s in pair:
        print(errno.errorcode.get(s.connect_ex((a.host, a.port))), flush=True)


def give_up(a):
    """Does not wait in connect(), but for its end, so long at most, and may ask for it, once more or often."""
    s = stream(a)
    s.setblocking(False)
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    for _ in range(a.count):
        s.connect_ex((a.host, a.port))
        poll.poll(a.linger * 1000)
    s.close()


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def only(rows, what):
    if len(rows) != 1:
        sys.exit("%d rows for %s: %s" % (len(rows), what, rows))
    return rows[0]


def agree(holds, row, seen):
    if not holds:
        sys.exit("weir: %s\nseen: %s" % (row, seen))


def dialed(a):
    """Each connection is there once, with its process and in no more than the time it saw."""
    rows = [row for row in lines(a.weir) if row["role"] == "active"]
    seen = lines(a.seen)
    for one in seen:
        row = only([row for row in rows if row["local"] == one["local"]
                    and row["remote"] == one["remote"]], one)
        agree(row["pid"] == one["pid"] and row["comm"].startswith("python"), row, one)
        agree(row["result"] == "established" and row["error"] is None, row, one)
        agree(0 < row["total_us"] <= one["took_us"], row, one)
        agree(row["accept_wait_us"] is None, row, one)
        parts = (row["port_search_us"] or 0) + row["handshake_us"]
        agree(row["port_search_us"] is None or abs(parts - row["total_us"]) < 1, row, one)
        agree((row["port_search_us"] is None) == a.bound, row, one)
    print(len(seen))


def accepted(a):
    """Each is there once, with the process that accepted it, in no more time than both ends allow."""
    rows = [row for row in lines(a.weir) if row["role"] == "passive"]
    clients = {(one["local"], one["remote"]): one for one in lines(a.clients)}
    seen = lines(a.seen)
    for one in seen:
        row = only([row for row in rows if row["local"] == one["local"]
                    and row["remote"] == one["remote"]], one)
        most = (one["accepted"] - clients[one["remote"], one["local"]]["began"]) * 1e6
        agree(row["pid"] == one["pid"] and row["comm"].startswith("python"), row, one)
        agree(row["result"] == "accepted" and row["port_search_us"] is None, row, one)
        agree(a.least <= row["accept_wait_us"] <= most, row, dict(one, most=most))
        agree(row["accept_wait_at_most_us"] == row["accept_wait_us"], row, one)
        agree(row["accept_wait_us"] <= row["total_us"] <= most, row, dict(one, most=most))
    print(len(seen))


def main():
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(required=True)
    for verb in serve, dial, twins, give_up:
        v = sub.add_parser(verb.__name__)
        v.set_defaults(run=verb)
        v.add_argument("host")
        v.add_argument("port", type=int)
        v.add_argument("--count", type=int, default=1)
        v.add_argument("--processes", type=int, default=1)
        v.add_argument("--delay", type=float, default=0)
        v.add_argument("--linger", type=float, default=0)
        v.add_argument("--send", type=float, help="after so many seconds")
        v.add_argument("--source")
        v.add_argument("--source-port", type=int, default=0)
        v.add_argument("--reset", action="store_true")
        v.add_argument("--mptcp", action="store_true")
    for verb in dialed, accepted:
        v = sub.add_parser(verb.__name__)
        v.set_defaults(run=verb)
        v.add_argument("weir")
        v.add_argument("seen")
        v.add_argument("--clients")
        v.add_argument("--least", type=float, default=0)
        v.add_argument("--bound", action="store_true")
    a = p.parse_args()
    a.run(a)


main()
