#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Connections whose both ends are in this process, and what of them a filter should have shown."""
import argparse
import collections
import ctypes
import ipaddress
import json
import os
import signal
import socket
import sys

CLONE_NEWNET = 0x40000000


def enter(name):
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/run/netns/" + name if name else "/proc/self/ns/net", "rb") as netns:
        if libc.setns(netns.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        return os.fstat(netns.fileno()).st_ino


def text(end):
    host, port = end[:2]
    address = ipaddress.ip_address(host)
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return "%s:%d" % ("[%s]" % address if address.version == 6 else address, port)


def cgroup():
    with open("/proc/self/cgroup", encoding="ascii") as file:
        return [line.strip()[3:] for line in file if line.startswith("0::")][0]


def dial(a):
    """Connects --count times to a listener of its own; the client closes first. At SIGUSR1, if --wait. Says
    of each socket what a filter may ask."""
    kind = socket.AF_INET6 if ":" in a.host else socket.AF_INET
    inode_there = enter(a.server_netns)
    listener = socket.socket(kind, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((a.host, a.port))
    listener.listen(128)
    inode_here = enter(a.client_netns)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    if a.wait:
        with open(a.wait, "w", encoding="ascii") as file:
            file.write("ready\n")
        signal.sigwait([signal.SIGUSR1])
    for _ in range(a.count):
        client = socket.socket(kind, socket.SOCK_STREAM)
        client.connect((a.host, a.port))
        served = listener.accept()[0]
        ends = text(client.getsockname()), text(served.getsockname())
        client.close()
        served.recv(1)
        served.close()
        if a.quiet:
            continue
        common = {"pid": os.getpid(), "cgroup": cgroup(), "family": 6 if "[" in ends[0] else 4}
        for local, remote, inode in ((ends[0], ends[1], inode_here), (ends[1], ends[0], inode_there)):
            print(json.dumps(dict(common, local=local, remote=remote, netns=inode)))


def split(end):
    host, port = end.rsplit(":", 1)
    return ipaddress.ip_address(host.strip("[]")), int(port)


def in_ranges(port, ranges):
    return any(int(r.split("-")[0]) <= port <= int(r.split("-")[-1]) for r in ranges.split(","))


def wanted(s, words):
    """Whether the filter of these words should show the socket: weir's rules, written once more."""
    words = list(words)
    while words:
        word = words.pop(0)
        if word in ("-4", "-6"):
            ok = s["family"] == int(word[1])
        else:
            value = words.pop(0)
            if word == "--port":
                ok = in_ranges(split(s["local"])[1], value)
            elif word == "--peer-port":
                ok = in_ranges(split(s["remote"])[1], value)
            elif word == "--peer":
                net = ipaddress.ip_network(value)
                ok = net.version == s["family"] and split(s["remote"])[0] in net
            elif word == "--pid":
                ok = s["pid"] == int(value)
            elif word == "--cgroup":
                ok = (s["cgroup"] + "/").startswith("/" + value.strip("/") + "/")
            elif word == "--netns":
                path = "/proc/%s/ns/net" % value if value.isdigit() else "/run/netns/" + value
                ok = s["netns"] == os.stat(path).st_ino
            else:
                sys.exit("what is %s?" % word)
        if not ok:
            return False
    return True


def compare(a):
    """Whether LINES are of the sockets in TRUTH that the filter asks for, each as often as --rows says. Sockets of
    nobody in TRUTH are passed over, and changes before there is a port; so is what mini-sockets do later."""
    with open(a.truth, encoding="ascii") as file:
        truth = [json.loads(line) for line in file]
    known = {(s["netns"], s["local"], s["remote"]) for s in truth}
    expected = {(s["netns"], s["local"], s["remote"]) for s in truth if wanted(s, a.words)}
    seen = collections.Counter()
    with open(a.lines, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row.get("seen_by") == "event" and not row["local"].endswith(":0"):
                seen[row["netns_inode"], row["local"], row["remote"]] += 1
    wrong = ["not shown: %s" % (s,) for s in expected if s not in seen]
    wrong += ["shown: %s" % (s,) for s in seen if s in known and s not in expected]
    if a.rows:
        wrong += ["%d rows of %s" % (seen[s], s) for s in expected
                  if not a.rows - 1 <= seen[s] <= a.rows]
    print("%d of %d sockets expected" % (len(expected), len(known)))
    print("\n".join(wrong[:20]))
    return 1 if wrong or not expected or len(expected) == len(known) else 0


def main():
    p = argparse.ArgumentParser()
    verbs = p.add_subparsers(required=True)
    v = verbs.add_parser("dial")
    v.set_defaults(run=dial)
    v.add_argument("host")
    v.add_argument("port", type=int)
    v.add_argument("--count", type=int, default=3)
    v.add_argument("--client-netns")
    v.add_argument("--server-netns")
    v.add_argument("--wait")
    v.add_argument("--quiet", action="store_true")
    v = verbs.add_parser("compare")
    v.set_defaults(run=compare)
    v.add_argument("truth")
    v.add_argument("lines")
    v.add_argument("--rows", type=int, default=0)
    v.add_argument("words", nargs=argparse.REMAINDER)
    a = p.parse_args()
    sys.exit(a.run(a))


main()
