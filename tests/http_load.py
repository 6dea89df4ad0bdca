#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""wrk, timed only after a warm-up on the same connections: nginx's own count of requests (stub_status),
the CPU time of a cgroup and the bytes that pass the devices of this network namespace are read when the
warm-up ends and again before wrk is told to end. wrk's latencies are of its whole run. What is printed is
one JSON document."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse

import wrk


def device_bytes():
    with open("/proc/self/net/dev", encoding="ascii") as devices:
        counters = {line.split(":")[0].strip(): line.split(":")[1].split()
                    for line in list(devices)[2:]}
    # What loopback sends it receives as well.
    return sum(int(c[0]) + (int(c[8]) if name != "lo" else 0) for name, c in counters.items())


def sample(status, cgroup):
    requests = status.requests()
    return time.monotonic(), requests, wrk.cpu_microseconds(cgroup), device_bytes()


def become_member(arguments):
    if arguments.cgroup:
        with open(f"{arguments.cgroup}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})


def start_wrk(arguments):
    command = wrk.command(arguments.url, arguments.warm_up + arguments.seconds,
                          arguments.connections, 1, arguments.header)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            preexec_fn=lambda: become_member(arguments))


def measure(arguments):
    status = wrk.Status(arguments.status)
    status.wait(5)
    status.get(urllib.parse.urlsplit(arguments.url).path)
    load = start_wrk(arguments)
    try:
        time.sleep(arguments.warm_up)
        first = sample(status, arguments.measure)
        time.sleep(arguments.seconds)
        last = sample(status, arguments.measure)
        load.send_signal(signal.SIGINT)
        said, _ = load.communicate(timeout=10)
    finally:
        load.kill()
    if load.returncode != 0:
        sys.exit(f"http_load.py: wrk: {said}")
    # Each reading is a request too, and falls into the time before it.
    seconds, requests, cpu, passed = (b - a for a, b in zip(first, last))
    requests -= 1
    if requests <= 0:
        sys.exit(f"http_load.py: no request was answered in {seconds:.1f} s")
    return {
        "seconds": seconds,
        "requests": requests,
        "requests_per_second": requests / seconds,
        "cpu_microseconds_per_request": cpu / requests,
        "device_bytes_per_request": passed / requests,
        "p50_microseconds": wrk.latency(said, 50),
        "p99_microseconds": wrk.latency(said, 99),
        "failed": wrk.failed(said),
    }


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--url", required=True)
    p.add_argument("--status", required=True, help="URL of stub_status")
    p.add_argument("--connections", type=int, default=16)
    p.add_argument("--warm-up", type=float, default=1, help="seconds before what is timed")
    p.add_argument("--seconds", type=float, default=2, help="that are timed")
    p.add_argument("--measure", required=True, help="cgroup whose CPU time counts")
    p.add_argument("--cgroup", help="that wrk becomes a member of")
    p.add_argument("--cpu", type=int, help="that wrk stays on")
    p.add_argument("--header", action="append", default=[])
    arguments = p.parse_args()
    try:
        print(json.dumps(measure(arguments)))
    except OSError as error:
        sys.exit(f"http_load.py: {error}")


if __name__ == "__main__":
    main()
