#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""wrk, timed only after a warm-up on the same connections: nginx's own count of requests (stub_status),
the CPU time of a cgroup and the bytes that pass the devices of this network namespace are read when the
warm-up ends and again before wrk is told to end. wrk's latencies are of its whole run. What is printed is
one JSON document."""
import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse

UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}
SPARE = 30  # seconds after which wrk ends by itself


class Status:
    def __init__(self, url):
        self.url = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(self.url.netloc, timeout=5)

    def get(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"http_load.py: {self.url.netloc}{path} answers {answer.status}")
        return body

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while True:
            try:
                return self.get(self.url.path)
            except OSError as error:
                if time.monotonic() > end:
                    sys.exit(f"http_load.py: {self.url.netloc} does not serve: {error}")
                self.connection.close()
                time.sleep(0.02)

    def requests(self):
        return int(self.get(self.url.path).split()[9])


def cpu_microseconds(cgroup):
    with open(f"{cgroup}/cpu.stat", encoding="ascii") as stat:
        return int(dict(line.split() for line in stat)["usage_usec"])


def device_bytes():
    with open("/proc/self/net/dev", encoding="ascii") as devices:
        counters = {line.split(":")[0].strip(): line.split(":")[1].split()
                    for line in list(devices)[2:]}
    # What loopback sends it receives as well.
    return sum(int(c[0]) + (int(c[8]) if name != "lo" else 0) for name, c in counters.items())


def sample(status, cgroup):
    requests = status.requests()
    return time.monotonic(), requests, cpu_microseconds(cgroup), device_bytes()


def become_member(arguments):
    if arguments.cgroup:
        with open(f"{arguments.cgroup}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write("0")
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})


def start_wrk(arguments):
    command = ["wrk", "--latency", "-t", "1", "-c", str(arguments.connections)]
    command += ["-d", f"{int(arguments.warm_up + arguments.seconds) + SPARE}s"]
    for header in arguments.header:
        command += ["-H", header]
    return subprocess.Popen(command + [arguments.url], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True,
                            preexec_fn=lambda: become_member(arguments))


def latency(said, percentile):
    found = re.search(rf"^ +{percentile}% +([0-9.]+)(us|ms|s|m)$", said, re.MULTILINE)
    return float(found[1]) * UNITS[found[2]] if found else None


def errors(said):
    found = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = sum(map(int, found.groups())) if found else 0
    found = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return failed + (int(found[1]) if found else 0)


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
    status = Status(arguments.status)
    status.wait(5)
    status.get(urllib.parse.urlsplit(arguments.url).path)
    wrk = start_wrk(arguments)
    try:
        time.sleep(arguments.warm_up)
        first = sample(status, arguments.measure)
        time.sleep(arguments.seconds)
        last = sample(status, arguments.measure)
        wrk.send_signal(signal.SIGINT)
        said, _ = wrk.communicate(timeout=10)
    finally:
        wrk.kill()
    if wrk.returncode != 0:
        sys.exit(f"http_load.py: wrk: {said}")
    # Each reading is a request too, and falls into the time before it.
    seconds, requests, cpu, passed = (b - a for a, b in zip(first, last))
    requests -= 1
    if requests <= 0:
        sys.exit(f"http_load.py: no request was answered in {seconds:.1f} s")
    print(json.dumps({
        "seconds": seconds,
        "requests": requests,
        "requests_per_second": requests / seconds,
        "cpu_microseconds_per_request": cpu / requests,
        "device_bytes_per_request": passed / requests,
        "p50_microseconds": latency(said, 50),
        "p99_microseconds": latency(said, 99),
        "failed": errors(said),
    }))


if __name__ == "__main__":
    main()
