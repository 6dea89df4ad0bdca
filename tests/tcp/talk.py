#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""TCP connections of known size, process and end. Each side writes a line of JSON for each connection
that is over into LOG; `check` compares them with the lines of `weir tcp life`."""
import argparse
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import termios
import threading
import time

HEADER = struct.Struct("!BII")  # how it ends, bytes of the client behind this, bytes of the server
LINGER = struct.pack("ii", 1, 0)
TCP_USER_TIMEOUT = 18

# Who closes first and why it is over, as the client sees it and as the server does.
ENDS = {
    "local": (("local", "fin"), ("peer", "fin")),
    "half": (("local", "fin"), ("peer", "fin")),
    "peer": (("peer", "fin"), ("local", "fin")),
    "client_rst": (("local", "rst_sent"), ("peer", "rst_received")),
    "server_rst": (("peer", "rst_received"), ("local", "rst_sent")),
    "timeout": ((None, "timeout"), None),
}
MODES = list(ENDS)


def end_of(address):
    host, port = address[0].removeprefix("::ffff:"), address[1]
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


class Talk:
    """One side of a connection, and what it will say of it."""

    def __init__(self, s, log, side, begin):
        self.s, self.log = s, log
        self.line = {
            "side": side, "pid": os.getpid(), "local": end_of(s.getsockname()), "remote": end_of(s.getpeername()),
            "sent": 0, "received": 0, "begin": begin, "open": time.monotonic(),
        }

    def send(self, data):
        self.s.sendall(data)
        self.line["sent"] += len(data)

    def receive(self, count):
        """So many bytes, or until there are no more: -1."""
        left = count
        while left:
            data = self.s.recv(min(left, 65536) if left > 0 else 65536)
            if not data:
                break
            self.line["received"] += len(data)
            left = left - len(data) if left > 0 else left
        assert left <= 0, "%d bytes are missing" % left

    def take(self, count):
        data = b""
        while len(data) < count:
            data += self.s.recv(count - len(data))
        self.line["received"] += count
        return data

    def wait_until_acknowledged(self):
        while struct.unpack("i", fcntl.ioctl(self.s, termios.TIOCOUTQ, b"    "))[0]:
            time.sleep(0.001)

    def sign(self):
        """The other side sees it, too."""
        ends = self.line["local"], self.line["remote"]
        name = "_".join(ends if self.line["side"] == "client" else ends[::-1])
        return os.path.join(os.path.dirname(self.log), "acknowledged." + name)

    def close(self, mode, reset=False):
        if reset:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        self.line.setdefault("closing", time.monotonic())
        self.s.close()
        self.line["closed"] = time.monotonic()
        first, reason = ENDS[mode][self.line["side"] == "server"]
        self.line.update(mode=mode, role="active" if self.line["side"] == "client" else "passive",
                         closed_first=first, reason=reason)
        with open(self.log, "a", encoding="ascii") as f:
            f.write(json.dumps(self.line) + "\n")

    def wait_for_error(self, number):
        try:
            self.receive(-1)
        except OSError as e:
            assert e.errno == number, e
            return
        raise AssertionError("the connection ended without an error")


def serve_one(s, log):
    t = Talk(s, log, "server", time.monotonic())
    mode, incoming, outgoing = HEADER.unpack(t.take(HEADER.size))
    mode = MODES[mode]
    t.receive(incoming)
    if mode == "half":
        t.receive(-1)
    t.send(b"s" * outgoing)
    if mode in ("local", "timeout"):
        t.receive(-1)
    elif mode == "client_rst":
        t.wait_until_acknowledged()
        open(t.sign(), "w", encoding="ascii").close()
        t.wait_for_error(errno.ECONNRESET)
    elif mode == "server_rst":
        t.wait_until_acknowledged()
    t.close(mode, mode == "server_rst")


def work(listener, log):
    while True:
        s, _ = listener.accept()
        threading.Thread(target=serve_one, args=(s, log), daemon=True).start()


def serve(a):
    """Who reads is a worker that accepts, or with --fork the child of the process that accepted."""
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", a.port))
    listener.listen(512)
    workers = []
    for _ in range(a.workers):
        workers.append(os.fork())
        if not workers[-1]:
            work(listener, a.log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if a.fork:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    try:
        while not a.fork:
            signal.pause()
        while True:
            s, _ = listener.accept()
            if not os.fork():
                listener.close()
                serve_one(s, a.log)
                os._exit(0)
            s.close()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)


def pause(a):
    """Until the file is there."""
    print("ready", flush=True)
    while not os.path.exists(a.wait):
        time.sleep(0.02)


def dial(a):
    begin = time.monotonic()
    s = socket.socket(socket.AF_INET6 if ":" in a.host else socket.AF_INET)
    s.connect((a.host, a.port))
    return Talk(s, a.log, "client", begin)


def finish(t, mode, outgoing):
    if mode == "half":
        t.s.shutdown(socket.SHUT_WR)
        t.line["closing"] = time.monotonic()
    t.receive(outgoing)
    if mode in ("half", "peer"):
        t.receive(-1)
    elif mode == "server_rst":
        t.wait_for_error(errno.ECONNRESET)
    elif mode == "client_rst":  # which must not overtake an acknowledgement that waits, or is on its way
        t.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        while not os.path.exists(t.sign()):
            time.sleep(0.001)
        os.unlink(t.sign())
    t.close(mode, mode == "client_rst")


def time_out(a, t):
    """What is sent into the void is not acknowledged, so it does not count."""
    t.receive(a.reply)
    t.s.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, a.user_timeout)
    pause(a)
    t.line["closing"] = time.monotonic()
    t.s.sendall(b"v" * 1000)
    t.wait_for_error(errno.ETIMEDOUT)
    t.close("timeout")


def talk(a):
    """Connections of each mode, one after another. --wait: half of what they send, then a sign, then the rest."""
    for mode in a.mode.split(",") * a.count:
        t = dial(a)
        first = a.size // 2 if a.wait else a.size
        t.send(HEADER.pack(MODES.index(mode), a.size, a.reply) + b"c" * first)
        if mode == "timeout":
            t.send(b"c" * (a.size - first))
            time_out(a, t)
            continue
        if a.wait:
            pause(a)
            t.send(b"c" * (a.size - first))
        finish(t, mode, a.reply)


# ---- what weir said ----

def lines(paths):
    return [json.loads(line) for path in paths for line in open(path, encoding="utf8") if line.strip()]


def differences(said, true, older):
    for field, wanted in (("pid", true["pid"]), ("role", true["role"]), ("bytes_sent", true["sent"]),
                          ("bytes_received", true["received"]), ("closed_first", true["closed_first"]),
                          ("reason", true["reason"])):
        if said[field] != wanted:
            yield "%s is %s, not %s" % (field, said[field], wanted)
    if older:
        if said["duration_us"] is not None or said["started"] is not None:
            yield "a duration, though it is older than the tracer"
        return
    # It was made between `begin` and `open` of the client, and was over when both had closed, which
    # the other may be told later.
    least, most = true["closing"] - true["open"], true["over"] - true["begin"] + 2
    if not (said["duration_us"] and least <= said["duration_us"] / 1e6 <= most):
        yield "duration %s us, not %.6f to %.6f s" % (said["duration_us"], least, most)
    if said["rtt_us"] is None or said["rtt_min_us"] is None or said["rtt_min_us"] > most * 1e6:
        yield "RTT %s, at least %s" % (said["rtt_us"], said["rtt_min_us"])


def join(logs):
    """Both sides' words of one connection, with what both know of its times."""
    both = {}
    for line in logs:
        key = tuple(sorted((line["local"], line["remote"])))
        both.setdefault(key, []).append(line)
    for sides in both.values():
        client = next((s for s in sides if s["side"] == "client"), sides[0])
        for side in sides:
            side["begin"] = client["begin"]
            side["open"] = max(s["open"] for s in sides)
            side["over"] = max(s["closed"] for s in sides)
            side["closing"] = min(s["closing"] for s in sides)


def check(a):
    """Every connection of the logs that is SIDE's has one line, which is right; and there are no others."""
    logs = lines(a.logs)
    join(logs)
    older = lines([a.older]) if a.older else []
    older = {(o["local"], o["remote"]) for o in older} | {(o["remote"], o["local"]) for o in older}
    said = {}
    wrong = 0
    for row in lines([a.said]):
        if "lost" not in row:  # anywhere on the host
            said.setdefault((row["local"], row["remote"]), []).append(row)
    for true in (line for line in logs if line["side"] == a.side):
        key = (true["local"], true["remote"])
        rows = said.pop(key, [])
        problems = ["%d lines" % len(rows)] if len(rows) != 1 else list(differences(rows[0], true, key in older))
        for problem in problems:
            print("%s %s %s -> %s: %s" % (true["mode"], a.side, *key, problem))
        wrong += len(problems)
    for key in said:
        print("a line of %s -> %s, which is not known" % key)
    return wrong + len(said) + (not logs)


NOBODY = str(None)


def key_of(a, line):
    if a.by == "process":
        return str(line["pid"])
    if a.by == "connection":
        return line["local"] + " " + line["remote"]
    return "%s %s" % (line["role"], line["local" if line["role"] == "passive" else "remote"].rpartition(":")[2])


def said_key(a, row):
    if a.by == "process":
        return str(row["pid"])
    if a.by == "connection":
        return row["local"] + " " + row["remote"]
    return "%s %s" % (row["role"], row["server_port"])


def give_unaccepted(said, true):
    """What came in before a process had taken the connection is nobody's: where each process has no more than
    it should and together they lack just that, it is given to them."""
    nobody = said.get(NOBODY)
    lack = {key: true[key][1] - said[key][1] for key in true if key in said}
    if nobody and not nobody[0] and not nobody[2] and min(lack.values(), default=-1) >= 0 \
            and sum(lack.values()) == nobody[1]:
        del said[NOBODY]
        for key, received in lack.items():
            said[key][1] += received


def give_unread(said, true):
    """Likewise of each connection, where nobody's are not shown: of one of them at least nothing is missing."""
    lack = {key: true[key][1] - said[key][1] for key in true if key in said}
    if min(lack.values(), default=-1) == 0:
        for key, received in lack.items():
            said[key][1] += received


def sums(a):
    """Whether what `weir tcp top` said of all intervals adds up to what SIDE wrote down, by process,
    connection or port. The client had sent --before bytes of each of --older when it began."""
    older = {key for o in lines([a.older]) for key in (o["local"], o["remote"])} if a.older else set()
    true, said = {}, {}
    for line in lines(a.logs):
        if line["side"] != a.side or a.pid not in (0, line["pid"]):
            continue
        t = true.setdefault(key_of(a, line), [0, 0, 0])
        before = a.before if {line["local"], line["remote"]} <= older else 0
        t[0] += line["sent"] - (before if a.side == "client" else 0)
        t[1] += line["received"] - (before if a.side == "server" else 0)
        t[2] += 1
    for interval in lines([a.said]):
        for row in interval["rows"]:
            s = said.setdefault(said_key(a, row), [0, 0, 0])
            for i, field in enumerate(("bytes_sent", "bytes_received", "connections_ended")):
                s[i] += row[field]
        for field in ("bytes_sent", "bytes_received", "connections", "connections_ended"):
            if sum(row[field] for row in interval["rows"]) != interval["total"][field]:
                print("the rows of %s are not its total" % interval["time"])
                return 1
    if a.by == "process":
        give_unaccepted(said, true)
    if a.pid:
        give_unread(said, true)
    wrong = {key for key in true.keys() | said.keys() if true.get(key) != said.get(key)}
    for key in wrong:
        print("%s: %s, not %s" % (key, said.get(key), true.get(key)))
    return bool(wrong) or not true


def main():
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(required=True)

    v = verbs.add_parser("serve")
    v.set_defaults(run=serve)
    v.add_argument("port", type=int)
    v.add_argument("log")
    v.add_argument("--workers", type=int, default=0)
    v.add_argument("--fork", action="store_true")

    v = verbs.add_parser("talk")
    v.set_defaults(run=talk)
    v.add_argument("host")
    v.add_argument("port", type=int)
    v.add_argument("log")
    v.add_argument("--mode", default="local")
    v.add_argument("--count", type=int, default=1)
    v.add_argument("--size", type=int, default=1000)
    v.add_argument("--reply", type=int, default=2000)
    v.add_argument("--wait", help="for this file")
    v.add_argument("--user-timeout", type=int, default=500)

    v = verbs.add_parser("check")
    v.set_defaults(run=check)
    v.add_argument("side")
    v.add_argument("said")
    v.add_argument("logs", nargs="+")
    v.add_argument("--older", help="a log of those that are older than the tracer")

    v = verbs.add_parser("sums")
    v.set_defaults(run=sums)
    v.add_argument("side")
    v.add_argument("by")
    v.add_argument("said")
    v.add_argument("logs", nargs="+")
    v.add_argument("--older")
    v.add_argument("--before", type=int, default=0)
    v.add_argument("--pid", type=int, default=0)

    a = p.parse_args()
    return a.run(a)


if __name__ == "__main__":
    sys.exit(main())
