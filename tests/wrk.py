# SPDX-License-Identifier: GPL-2.0
"""What wrk says at its end, and nginx's own count of requests and the CPU time of cgroups, by which
any part of wrk's run can be timed."""
import http.client
import re
import time
import urllib.parse

UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}
SPARE = 30  # seconds after which wrk ends by itself


class Status:
    """A connection to nginx's stub_status that is kept. What goes wrong there is an OSError."""

    def __init__(self, url):
        self.url = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(self.url.netloc, timeout=20)

    def get(self, path):
        try:
            self.connection.request("GET", path)
            answer = self.connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{self.url.netloc} does not answer: {error}") from error
        if answer.status != 200:
            raise OSError(f"{self.url.netloc}{path} answers {answer.status}")
        return body

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while True:
            try:
                return self.get(self.url.path)
            except OSError as error:
                if time.monotonic() > end:
                    raise OSError(f"{self.url.netloc} does not serve: {error}") from error
                self.connection.close()
                time.sleep(0.02)

    def requests(self):
        """Each reading is a request too, and counts."""
        return int(self.get(self.url.path).split()[9])


def cpu_microseconds(cgroup):
    """What the members of a cgroup have used, by the path of its directory."""
    with open(f"{cgroup}/cpu.stat", encoding="ascii") as stat:
        return int(dict(line.split() for line in stat)["usage_usec"])


def command(url, seconds, connections, threads, headers):
    argv = ["wrk", "--latency", "-t", str(threads), "-c", str(connections)]
    argv += ["-d", f"{int(seconds) + SPARE}s"]
    for header in headers:
        argv += ["-H", header]
    return argv + [url]


def latency(said, percentile):
    found = re.search(rf"^ +{percentile}% +([0-9.]+)(us|ms|s|m)$", said, re.MULTILINE)
    return float(found[1]) * UNITS[found[2]] if found else None


def failed(said):
    found = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    count = sum(map(int, found.groups())) if found else 0
    found = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return count + (int(found[1]) if found else 0)
