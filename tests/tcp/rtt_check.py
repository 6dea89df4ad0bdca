#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares what `ss -Htin` says of connections with the rows of `weir -j tcp rtt --by peer,port,peer-port`."""
import ctypes
import errno
import json
import os
import re
import struct
import sys
import time


def sockets(path):
    """(peer, port, peer port): what ss says, in microseconds."""
    with open(path) as f:
        text = re.sub(r"\n\s+", " ", f.read())
    found = {}
    for line in text.splitlines():
        (_, port), (peer, peer_port) = (x.rsplit(":", 1) for x in line.split()[2:4])
        said = dict(re.findall(r"(\w+):([\d.]+)", line.split(None, 4)[4]))
        found[peer.strip("[]").replace("::ffff:", ""), int(port), int(peer_port)] = said
    return found


def settled(path):
    """Whether all is acknowledged, and nothing has come or gone for two seconds."""
    return all("unacked" not in said and
               all(int(said.get(x, 0)) >= 2000 for x in ("lastsnd", "lastrcv", "lastack"))
               for said in sockets(path).values())


def compare(said, row, accepted):
    """What is wrong."""
    rtt, least = (round(float(said[x]) * 1000) for x in ("rtt", "minrtt"))
    slot = max(rtt, 1).bit_length() - 1
    near = sum(x["samples"] for x in row["histogram"] if abs((x["least_us"] | 1).bit_length() - 1 - slot) <= 1)
    if not near:
        yield f"rtt is {rtt}, and no sample is near it"
    if any(x["most_us"] < least / 2 for x in row["histogram"]):
        yield f"a sample is far below the least, {least}"
    # The last segment was looked at before the kernel measured by it.
    if not least <= row["rtt_min_us"] <= 2 * least:
        yield f"minrtt is {least}, not {row['rtt_min_us']}"
    # The segments of the handshake come before the connection is established.
    segments = int(said["segs_in"]) - (2 if accepted else 1)
    if row["samples"] != segments:
        yield f"{segments} segments came, {row['samples']} samples"
    if sum(x["samples"] for x in row["histogram"]) != row["samples"]:
        yield "the histogram is not the whole"


def check(ss, rows):
    with open(rows) as f:
        rows = {(r["peer"], r["port"], r["peer_port"]): r for r in json.load(f)["rows"]}
    there = sockets(ss)
    wrong = [f"{sorted(there)} are there, rows are of {sorted(rows)}"] * (set(there) != set(rows))
    for key in set(there) & set(rows):
        wrong += [f"{key}: {text}" for text in compare(there[key], rows[key], key[1] in (5001, 5002))]
    print("\n".join(wrong))
    return bool(wrong)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(321 if os.uname().machine == "x86_64" else 280, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, buffer


def fill(path):
    """A map by struct weir_by_key, until it has no room; the counts are zero."""
    name = ctypes.create_string_buffer(path.encode())
    fd, _ = bpf(7, struct.pack("QII", ctypes.addressof(name), 0, 0))
    value = ctypes.create_string_buffer(1 << 16)
    for added in range(1 << 20):
        key = ctypes.create_string_buffer(struct.pack("=16sHHI", b"", 0, 0, added + 1), 24)
        while True:
            try:
                bpf(2, struct.pack("IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
                break
            except OSError as e:
                if e.errno == errno.E2BIG:
                    return added == 0
                if e.errno != errno.ENOMEM:  # for a moment there is none at hand
                    raise
                time.sleep(0.01)
    return True


if sys.argv[1] == "--settled":
    sys.exit(not all(settled(path) for path in sys.argv[2:]))
if sys.argv[1] == "--fill":
    sys.exit(fill(sys.argv[2]))
sys.exit(check(sys.argv[1], sys.argv[2]))
