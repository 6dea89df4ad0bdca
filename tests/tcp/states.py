#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Connections whose states are known, for tests of `weir tcp states`.

states.py run CLIENT-NETNS SERVER-NETNS   makes them, and writes what must have been seen
states.py check EXPECTED CLIENT SERVER    compares with what was seen; a line for each check
states.py reuse                           has mini-sockets follow one another in the same memory, and
                                          writes the ports of those that are gone
"""
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

ADDRESSES = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}
CLONE_NEWNET = 0x40000000
TCP_LINGER2 = 8
KEPT = 2.0  # seconds in CLOSE_WAIT and FIN_WAIT2
MINI = "FIN-WAIT-2 timer:(timewait"  # as ss tells of one
LATE = 30  # seconds: what has not come by then is missing

OPENED = ["CLOSE>SYN_SENT", "SYN_SENT>ESTABLISHED"]
BORN = ["LISTEN>SYN_RECV", "SYN_RECV>ESTABLISHED"]
ACTIVE = ["ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2"]
PASSIVE = ["ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE"]
TIME_WAIT = "FIN_WAIT2>TIME_WAIT mini"
HANDED_OVER = "FIN_WAIT2>FIN_WAIT2 mini"



def wait_for(condition):
    end = time.monotonic() + LATE
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)


def is_in(sock, state):
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == state


libc = ctypes.CDLL(None, use_errno=True)


def enter(netns):
    """The calling thread, and what it makes from now on."""
    with open(f"/run/netns/{netns}") as f:
        if libc.setns(f.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def now():
    return time.monotonic() * 1e6


def linger(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Bounds:
    """A time of which we know the least and the most."""

    def __init__(self):
        self.least = self.most = None

    def began(self, before, after):
        self.first, self.last = before, after

    def ended(self, before, after):
        self.least, self.most = before - self.last, after - self.first


class Family:
    def __init__(self, family, namespaces):
        self.family = family
        self.namespaces = namespaces
        self.kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self.expected = []
        self.kept = []  # sockets that stay open

    def listen(self):
        enter(self.namespaces[1])
        self.listener = socket.socket(self.kind)
        self.listener.bind((ADDRESSES[self.family][1], 0))
        self.listener.listen()
        enter(self.namespaces[0])

    def pair(self):
        client = socket.socket(self.kind)
        client.connect(self.listener.getsockname()[:2])
        return client, self.listener.accept()[0]

    def expect(self, name, sock, states, **more):
        side = "client" if sock is self.client else "server"
        self.expected.append({
            "name": name, "side": side, "family": self.family, "port": self.ports[side],
            "peer_port": self.ports["client" if side == "server" else "server"],
            "states": states, **more})

    def connect(self):
        self.client, self.server = self.pair()
        self.ports = {"client": self.client.getsockname()[1],
                      "server": self.server.getsockname()[1]}
        return self.client, self.server

    def ss(self, side="client"):
        """State and timer of the socket as ss tells them."""
        peer = "server" if side == "client" else "client"
        enter(self.namespaces[side == "server"])
        text = subprocess.run(
            ["ss", "-tanoH", f"sport = :{self.ports[side]} and dport = :{self.ports[peer]}"],
            capture_output=True, text=True, check=True).stdout.split()
        enter(self.namespaces[0])
        return f"{text[0]} {text[-1].split(',')[0]}" if text else ""

    # ---- each a way to end ----

    def client_closes(self):
        """Half closed for a while: FIN_WAIT2 is a whole socket until the FIN comes."""
        client, server = self.connect()
        fin_wait2, close_wait = Bounds(), Bounds()
        t = now()
        client.shutdown(socket.SHUT_WR)
        server.recv(1)
        close_wait.began(t, now())
        wait_for(lambda: is_in(client, b"\5"))
        fin_wait2.began(t, now())
        time.sleep(0.5)
        t = now()
        server.close()
        close_wait.ended(t, now())
        client.recv(1)
        fin_wait2.ended(t, now())
        client.close()
        self.expect("client closes, half closed for a while", client, OPENED + ACTIVE + [TIME_WAIT],
                    times={"FIN_WAIT2": vars(fin_wait2)})
        self.expect("client closes, half closed for a while", server, BORN + PASSIVE,
                    times={"CLOSE_WAIT": vars(close_wait)})

    def server_closes(self):
        client, server = self.connect()
        server.shutdown(socket.SHUT_WR)
        client.recv(1)
        client.close()
        server.recv(1)
        server.close()
        self.expect("server closes", client, OPENED + PASSIVE)
        self.expect("server closes", server, BORN + ACTIVE + [TIME_WAIT])

    def reset(self):
        client, server = self.connect()
        linger(client)
        client.close()
        try:
            server.recv(1)
        except ConnectionResetError:
            pass
        server.close()
        self.expect("client resets", client, OPENED + ["ESTABLISHED>CLOSE"])
        self.expect("client resets", server, BORN + ["ESTABLISHED>CLOSE"], error="ECONNRESET")

    def refused(self):
        enter(self.namespaces[1])
        free = socket.socket(self.kind)
        free.bind((ADDRESSES[self.family][1], 0))
        port = free.getsockname()[1]
        enter(self.namespaces[0])
        self.client = socket.socket(self.kind)
        self.client.bind((ADDRESSES[self.family][0], 0))
        self.ports = {"client": self.client.getsockname()[1], "server": port}
        try:
            self.client.connect((ADDRESSES[self.family][1], port))
        except ConnectionRefusedError:
            pass
        self.client.close()
        free.close()
        self.expect("refused", self.client, ["CLOSE>SYN_SENT", "SYN_SENT>CLOSE"],
                    error="ECONNREFUSED")

    def half_closed_and(self, name, end):
        """From FIN_WAIT2 without a mini-socket."""
        client, server = self.connect()
        client.shutdown(socket.SHUT_WR)
        server.recv(1)
        wait_for(lambda: is_in(client, b"\5"))
        end(client, server)
        client.close()
        self.kept.append(server)
        self.expect(name, client, OPENED + ACTIVE + ["FIN_WAIT2>CLOSE"])

    def unread(self, client, server):
        server.send(b"x")
        client.recv(1, socket.MSG_PEEK)

    # ---- what mini-sockets do ----

    def orphan(self, name, then):
        client, server = self.connect()
        handed, kept = Bounds(), Bounds()
        t = now()
        client.close()
        server.recv(1)
        kept.began(t, now())
        wait_for(lambda: self.ss() == MINI)
        handed.began(t, now())
        mini = self.ss()
        ports = self.ports

        def end():
            self.client, self.server, self.ports = client, server, ports
            t = now()
            states, after, closed, error = then(server)
            handed.ended(t, now())
            kept.ended(t, now())
            times = {"FIN_WAIT2 mini": vars(handed)} if closed else {}
            self.expect(name, client, OPENED + ACTIVE + [HANDED_OVER] + states, times=times,
                        ss=[mini, MINI])
            self.expect(name, server, BORN + after, error=error, goes_on=not closed,
                        times={"CLOSE_WAIT": vars(kept)} if closed else {})
        return end

    def answered(self, server):
        server.close()
        wait_for(lambda: self.ss().startswith("TIME-WAIT"))
        return ["FIN_WAIT2>TIME_WAIT mini looked"], PASSIVE, True, None

    def data_comes(self, server):
        server.send(b"x")
        wait_for(lambda: is_in(server, b"\7"))
        self.kept.append(server)
        return ["FIN_WAIT2>CLOSE looked"], ["ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>CLOSE"], True, "EPIPE"

    def never_answered(self, server):
        self.kept.append(server)
        wait_for(lambda: not self.ss())
        return ["FIN_WAIT2>CLOSE looked"], ["ESTABLISHED>CLOSE_WAIT"], False, None

    def run(self):
        self.listen()
        orphans = [self.orphan("closed, answered later", self.answered),
                   self.orphan("closed, data come later", self.data_comes)]
        began = time.monotonic()
        self.client_closes()
        self.server_closes()
        self.reset()
        self.refused()
        self.half_closed_and("half closed, data not read", self.unread)
        self.half_closed_and("half closed, then reset", lambda client, server: linger(client))
        self.half_closed_and(
            "half closed, no time for FIN_WAIT2",
            lambda client, server: client.setsockopt(socket.IPPROTO_TCP, TCP_LINGER2, -1))
        time.sleep(max(0, began + KEPT - time.monotonic()))
        for end in orphans:
            end()


def write_sysctl(name, value):
    subprocess.run(["sysctl", "-qw", f"net.ipv4.{name}={value}"], check=True)


def blackhole(family, namespaces, verb):
    for netns, address in zip(namespaces, reversed(ADDRESSES[family])):
        subprocess.run(["ip", f"-{family}", "-n", netns, "route", verb, "blackhole", address],
                       check=True)


def simultaneous(f):
    """Neither FIN arrives at first: who gets the other's before the ACK of its own is CLOSING."""
    client, server = f.connect()
    blackhole(f.family, f.namespaces, "add")
    client.close()
    server.close()
    blackhole(f.family, f.namespaces, "del")
    wait_for(lambda: all(f.ss(side).startswith("TIME-WAIT") for side in f.ports))
    f.expect("both close at once", client, OPENED + ["ESTABLISHED>FIN_WAIT1"], both=True)
    f.expect("both close at once", server, BORN + ["ESTABLISHED>FIN_WAIT1"], both=True)


def run(namespaces):
    families = [Family(4, namespaces), Family(6, namespaces)]
    threads = [threading.Thread(target=f.run) for f in families]
    enter(namespaces[0])
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for f in families:
        simultaneous(f)
    # Of the whole namespace: only now.
    write_sysctl("tcp_fin_timeout", 5)
    ends = [f.orphan("closed, never answered", f.never_answered) for f in families]
    write_sysctl("tcp_max_tw_buckets", 0)
    for f in families:
        f.half_closed_and("half closed, no room for a mini-socket",
                          lambda client, server: server.close() or client.recv(1))
    write_sysctl("tcp_max_tw_buckets", 4096)
    for end in ends:
        end()
    json.dump({"pid": os.getpid(), "expected": sum((f.expected for f in families), [])},
              sys.stdout)
    sys.stdout.flush()
    return families


def reuse():
    """The kernel gives what a CPU freed last to the next one there."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for i in range(20):
            client = socket.create_connection(listener.getsockname())
            server = listener.accept()[0]
            port = client.getsockname()[1]
            client.shutdown(socket.SHUT_WR)
            server.recv(1)
            server.close()
            client.recv(1)
            client.close()
            if i % 2 == 0:
                subprocess.run(["ss", "-KtnH", "state", "time-wait", f"sport = :{port}"],
                               stdout=subprocess.DEVNULL, check=True)
                print(port)


# ---- comparing ----

def connections(path):
    """(local port, remote port) -> lines, in order."""
    groups, open_ones = [], {}
    for line in open(path):
        line = json.loads(line)
        if "socket" not in line:
            continue
        change = (line["old_state"], line["new_state"])
        if line["old_state"] == "CLOSE" or change == ("LISTEN", "SYN_RECV"):
            group = []
            groups.append(group)
        elif line["seen_by"] == "event":
            group = open_ones.setdefault(line["socket"], [])
        else:
            # The socket's address may be another's by now.
            group = next(g for g in groups
                         if (g[-1]["local"], g[-1]["remote"]) == (line["local"], line["remote"]))
        if line["seen_by"] == "event":
            open_ones[line["socket"]] = group
        group.append(line)
    found = {}
    for g in groups:
        port = int(g[-1]["local"].rsplit(":", 1)[1])
        found[port, int(g[-1]["remote"].rsplit(":", 1)[1])] = g
    return found


def text_of(line):
    return (f"{line['old_state']}>{line['new_state']}" + (" mini" if line["mini_socket"] else "") +
            (" looked" if line["seen_by"] == "iterator" else ""))


def closing_is_right(lines):
    """One of the two was CLOSING, and both are mini-sockets now, or one was acknowledged last."""
    seen = [text_of(line) for line in lines]
    rest = seen[seen.index("ESTABLISHED>FIN_WAIT1") + 1:]
    return rest in (["FIN_WAIT1>CLOSING", "CLOSING>TIME_WAIT mini"],
                    ["FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>FIN_WAIT2 mini",
                     "FIN_WAIT2>TIME_WAIT mini looked"],
                    ["FIN_WAIT1>FIN_WAIT2", TIME_WAIT])


def wrong(e, lines, pid):
    if e.get("goes_on"):
        lines = lines[:len(e["states"])]
    last = lines[-1]
    if text_of(last) == "TIME_WAIT>CLOSE looked" and last["in_old_state_us"] > 59e6:
        lines = lines[:-1]
    seen = [text_of(line) for line in lines]
    if e.get("both"):
        if not closing_is_right(lines):
            return f"states {seen}"
    elif seen != e["states"]:
        return f"states {seen}, wanted {e['states']}"
    if any(line["family"] != e["family"] for line in lines):
        return "family"
    if lines[-1]["error"] != e.get("error"):
        return f"error {lines[-1]['error']}"
    if "ss" in e and e["ss"][0] != e["ss"][1]:
        return f"ss says {e['ss']}"
    pids = [line["pid"] for line in lines]
    if e["side"] == "client" and set(pids) != {pid}:
        return f"pids {pids}"
    # A passive socket's process is known when it closes.
    if e["side"] == "server" and (pids[:2] != [None, None] or set(pids) - {None, pid}):
        return f"pids {pids}"
    closing = [line["pid"] for line in lines if line["new_state"] in ("LAST_ACK", "FIN_WAIT1")]
    if closing and set(closing) != {pid}:
        return f"pid when it closes {closing}"
    for line in lines[1:]:
        if line["in_old_state_us"] is None:
            return f"no time in {line['old_state']}"
    for state, t in e.get("times", {}).items():
        line = [line for line in lines if line["old_state"] == state.split()[0] and
                (" " not in state or line["seen_by"] == "iterator")][-1]
        if line["in_old_state_us"] < t["least"] or line["in_old_state_us_least"] > t["most"]:
            return (f"{line['in_old_state_us_least']} to {line['in_old_state_us']} us in {state}, "
                    f"was {t['least']} to {t['most']}")
    return None


def check(expected, paths):
    """A line for each; whether all is well."""
    all_well = True
    expected = json.load(open(expected))
    found = {"client": connections(paths[0]), "server": connections(paths[1])}
    for e in expected["expected"]:
        lines = found[e["side"]].get((e["port"], e["peer_port"]), [])
        reason = wrong(e, lines, expected["pid"]) if lines else "no lines"
        all_well = all_well and not reason
        print(f"{'not ok' if reason else 'ok'}\tIPv{e['family']}, {e['name']}: {e['side']}"
              f"\t{reason or ''}")
    closing = [g for side in found.values() for g in side.values()
               if any(line["new_state"] == "CLOSING" for line in g)]
    print(f"{'ok' if len(closing) >= 2 else 'not ok'}\tCLOSING was seen in both families"
          f"\t{len(closing)} times")
    return all_well and len(closing) >= 2


if __name__ == "__main__":
    if sys.argv[1] == "run":
        KEPT_OPEN = run(sys.argv[2:4])
        sys.stdin.readline()
    elif sys.argv[1] == "reuse":
        reuse()
    else:
        sys.exit(not check(sys.argv[2], sys.argv[3:5]))
