#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Connections that end in every way, and what `ss` says of them beside what `weir tcp port` says."""
import argparse
import collections
import errno
import ipaddress
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time

LIFE = 600  # seconds: no test forgets them
PATIENCE = 60
AT_ONCE = struct.pack("ii", 1, 0)


def many_files():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    s.close()


def wait_for_end():
    print("ready", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


def serve(a):
    """Listens on [::]:PORT..., and does to each connection what its first byte asks for."""
    many_files()
    poll = select.epoll()
    listeners, open_ = {}, {}
    for port in a.ports:
        s = socket.create_server(("::", port), family=socket.AF_INET6, backlog=16384,
                                 dualstack_ipv6=True)
        s.setblocking(False)
        listeners[s.fileno()] = s
        poll.register(s, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for fd, _ in poll.poll():
            if fd in listeners:
                accept_all(listeners[fd], open_, poll)
            else:
                obey(open_, fd, poll)


def accept_all(listener, open_, poll):
    while True:
        try:
            s = listener.accept()[0]
        except OSError:
            return
        s.setblocking(False)
        open_[s.fileno()] = s
        poll.register(s, select.EPOLLIN)


def obey(open_, fd, poll):
    s = open_[fd]
    try:
        word = s.recv(1)
    except OSError:
        word = b""
    if word == b"k":  # it stays, whatever the other side does
        poll.unregister(fd)
        return
    del open_[fd]
    if word == b"r":
        reset(s)
    else:
        s.close()


class Client:
    def __init__(self, a):
        self.hosts, self.ports = a.host, a.ports
        self.kept = []

    def connect(self, port=None):
        host = random.choice(self.hosts)
        s = socket.socket(family(host))
        s.settimeout(PATIENCE)
        s.connect((host, port or random.choice(self.ports)))
        return s

    def close_first(self):
        self.connect().close()

    def reset_first(self):
        reset(self.connect())

    def ask(self, word):
        s = self.connect()
        s.send(word)
        try:
            s.recv(1)
        except OSError:
            pass
        s.close()

    def closed_by_server(self):
        self.ask(b"q")

    def reset_by_server(self):
        self.ask(b"r")

    def half_closed(self):
        s = self.connect()
        s.send(b"k")
        s.shutdown(socket.SHUT_WR)
        self.kept.append(s)

    def forked(self):
        s = self.connect()
        if not os.fork():
            os._exit(0)
        os.wait()
        s.close()

    def refused(self):
        try:
            self.connect(port=1).close()
        except ConnectionRefusedError:
            pass

    def kept_open(self):
        s = self.connect()
        s.send(b"k")
        self.kept.append(s)

    def mapped(self):
        """IPv4 by an IPv6 socket."""
        host = random.choice([h for h in self.hosts if ":" not in h])
        s = socket.socket(socket.AF_INET6)
        s.settimeout(PATIENCE)
        s.connect(("::ffff:" + host, random.choice(self.ports)))
        s.close()

    def again(self):
        """A second connect() by a socket whose first was refused."""
        host = random.choice(self.hosts)
        s = socket.socket(family(host))
        try:
            s.connect((host, 1))
        except ConnectionRefusedError:
            pass
        s.connect((host, random.choice(self.ports)))
        s.close()

    def bound_first(self):
        """The kernel chooses in bind()."""
        host = random.choice(self.hosts)
        s = socket.socket(family(host))
        s.settimeout(PATIENCE)
        s.bind(("", 0))
        s.connect((host, random.choice(self.ports)))
        s.close()


def churn(a):
    """COUNT connections, each ended in one way or another. Some stay open until SIGTERM."""
    many_files()
    random.seed(a.seed)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    c = Client(a)
    ways = [c.close_first, c.reset_first, c.closed_by_server, c.reset_by_server, c.half_closed,
            c.forked, c.refused, c.kept_open, c.mapped, c.again, c.bound_first]
    for _ in range(a.count):
        random.choice(ways)()
    wait_for_end()


def abandon(s):
    """From FIN_WAIT2 to nothing: by TCP_LINGER2 there is no mini-socket."""
    s.shutdown(socket.SHUT_WR)
    while s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\x05":
        time.sleep(0.01)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, -1)
    s.close()


def hold(a):
    """COUNT connections to each port, from each source; says how many failed for want of a port."""
    many_files()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    held, failed = [], 0
    for source in a.source or [None]:
        for port in a.ports:
            for i in range(a.count):
                s = socket.socket(family(a.host[0]))
                try:
                    if source:
                        s.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                        s.bind((source, 0))
                    if a.bind:
                        s.bind(("", a.bind + i))
                    s.connect((a.host[0], port))
                    if not a.close:
                        s.send(b"k")
                    held.append(s)
                except OSError as e:
                    if e.errno != errno.EADDRNOTAVAIL:
                        raise
                    failed += 1
    print("failed", failed, flush=True)
    if a.abandon:
        for s in held:
            abandon(s)
    if a.close:
        for s in held:
            s.close()
    wait_for_end()


# ---- what ss says ----

def end(text):
    host, port = text.rsplit(":", 1)
    address = ipaddress.ip_address(host.split("%")[0].strip("[]"))
    mapped = address.version == 6 and address.ipv4_mapped
    address = mapped or address
    port = int(port)
    return str(address), port, f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


SS = ["ss", "-tanoH"]


def sockets_of(said):
    for line in said.splitlines():
        word = line.split()
        if word[0] != "LISTEN":
            yield word[0], end(word[3]), end(word[4]), "timer:(timewait" in line


def from_ss(ports, said):
    services = collections.Counter({port: 0 for port in ports})
    to = collections.defaultdict(collections.Counter)
    for state, local, remote, mini in sockets_of(said):
        if local[1] in ports:
            services[local[1]] += state == "ESTAB"
            continue
        key = local[0], remote[2]
        if mini or state == "TIME-WAIT":
            to[key]["time_wait"] += 1
            continue
        to[key]["in_use"] += 1
        to[key]["established"] += state == "ESTAB"
    return dict(services), {k: dict(v) for k, v in to.items()}


def from_weir(document, ports):
    services = {s["port"]: s["established"] for s in document["services"] if s["port"] in ports}
    to = {}
    for d in document["destinations"]:
        counts = {f: d[f] for f in ("in_use", "established", "time_wait")}
        if any(counts.values()):
            to[d["local"], d["remote"]] = counts
    return services, to


def compare(a):
    """Reads what `weir -j tcp port` has said; says what is not as ss says. Of what waited --before some may
    have left meanwhile."""
    document = json.load(sys.stdin)
    before = from_ss(a.ports, open(a.before, encoding="ascii").read())[1] if a.before else {}
    services, to = from_ss(a.ports, subprocess.run(SS, check=True, capture_output=True, text=True).stdout)
    weir_services, weir_to = from_weir(document, a.ports)
    wrong = 0
    for port in sorted(services.keys() | weir_services.keys()):
        if services.get(port) != weir_services.get(port):
            print(f"port {port}: ss {services.get(port)}, weir {weir_services.get(port)}")
            wrong += 1
    for key in sorted(to.keys() | weir_to.keys()):
        for field in ("in_use", "established") + (() if a.no_time_wait else ("time_wait",)):
            x, y = to.get(key, {}).get(field, 0), weir_to.get(key, {}).get(field, 0)
            most = max(x, before.get(key, {}).get(field, 0)) if field == "time_wait" else x
            if not x <= y <= most:
                print(f"{key} {field}: ss {x}, {most} before, weir {y}")
                wrong += 1
    print(f"{len(services)} services, {len(to)} destinations, {wrong} wrong; "
          f"{sum(services.values())} came, {sum(v.get('in_use', 0) for v in to.values())} went, "
          f"{sum(v.get('time_wait', 0) for v in to.values())} wait")
    sys.exit(wrong != 0)


def cost(a):
    """The least CPU time of so many runs of a command, in milliseconds."""
    least = None
    for _ in range(a.count):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(a.command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        least = took if least is None else min(least, took)
    print(f"{least * 1000:.1f}")


def main():
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(dest="verb", required=True)
    for verb in (serve, churn, hold, compare):
        v = verbs.add_parser(verb.__name__)
        v.set_defaults(run=verb)
        if verb in (churn, hold):
            v.add_argument("--host", action="append", required=True)
            v.add_argument("--count", type=int, default=100)
            v.add_argument("--seed", type=int, default=1)
            v.add_argument("--source", action="append")
            v.add_argument("--bind", type=int)
            v.add_argument("--close", action="store_true")
            v.add_argument("--abandon", action="store_true")
        if verb is compare:
            v.add_argument("--no-time-wait", action="store_true")
            v.add_argument("--before", help="what ss said before weir")
        v.add_argument("ports", type=int, nargs="+")
    v = verbs.add_parser("cost")
    v.set_defaults(run=cost)
    v.add_argument("count", type=int)
    v.add_argument("command", nargs="+")
    a = p.parse_args()
    signal.alarm(LIFE)
    a.run(a)


if __name__ == "__main__":
    main()
