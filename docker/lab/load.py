# SPDX-License-Identifier: GPL-2.0
"""One run of wrk in the client's container, timed only after a warm-up on the same connections:
these take a moment to be short-cut by `weir sock`, and to open their windows. What is counted are
the requests that the backends have answered, because there every way ends. wrk's latencies are of
its whole run."""
import pathlib
import re
import subprocess
import sys
import time

from . import Failure
from .engine import last_line

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
import wrk as tool  # noqa: E402

WARM_UP = 1.5  # seconds
GRACE = 60  # seconds for wrk to end
LATE = 5000  # milliseconds after which wrk counts an answer that comes as a failure
SUSPECT = 2000  # of silence, which is looked into


def wrk(site, url, seconds, by_tcp=True, warm_up=WARM_UP, connections=100, threads=2, headers=(),
        backends=("b1", "b2")):
    counts = [tool.Status(site.url(site.address(host, 4), path="/status")) for host in backends]
    for count in counts:
        count.wait(GRACE)  # connected before there is any load
    load = start(site, url, warm_up + seconds + GRACE, connections, threads, headers)
    try:
        load.stdout.readline()  # it begins
        begin = read_at(counts, time.monotonic() + warm_up)
        end = read_at(counts, begin[-1][1] + seconds)
        said, failed = ended(site, load, by_tcp)
    except OSError as error:
        raise Failure(f"wrk on {url}: a backend's count of requests: {error}") from error
    finally:
        load.kill()
        load.wait()
    if load.returncode != 0:
        raise Failure(f"wrk on {url}: {last_line(said)}")
    found = rate(begin, end)
    if found <= 0:
        raise Failure(f"wrk on {url}: no request was answered in {seconds:g} s: {last_line(said)}")
    return {
        "requests_per_second": found,
        "p50_us": tool.latency(said, 50),
        "p99_us": tool.latency(said, 99),
        "failed": failed,
    }


def start(site, url, longest, connections, threads, headers):
    """It is told to end from inside, because docker passes no signal on. Its first connection has
    no timeout of its own."""
    command = tool.command(url, longest, connections, threads, headers)
    command[1:1] = ["--timeout", f"{LATE // 1000}s"]
    return site.spawn("client", "sh", "-c", 'echo; exec "$@"', "sh",
                      "timeout", "--preserve-status", "-s", "INT", "-k", "5", f"{longest:g}",
                      *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(site, load, by_tcp=True):
    """Tells it to end. Returns what it says of its run, and how many requests failed."""
    missing = unanswered(site) if by_tcp else 0
    site.run("client", "sh", "-c", "kill -INT $(pidof wrk)", check=False)
    try:
        said = load.communicate(timeout=GRACE)[0]
    except subprocess.TimeoutExpired as error:
        raise Failure("wrk does not end") from error
    return said, tool.failed(said) + missing


def unanswered(site):
    """Connections whose answer is late and does not come, which wrk does not count: it looks at the
    time when an answer comes. Where the whole machine stood still they soon are fewer. What
    `weir sock` carries TCP does not see."""
    end = time.monotonic() + LATE / 1000
    while (found := suspects(site)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def suspects(site):
    """Those that are silent. A SYN that was sent three times is as old."""
    lines = site.run("client", "ss", "-tinHO", "state", "established", "state", "syn-sent",
                     "dport", "=", ":80").splitlines()
    return sum(is_silent(line) for line in lines)


def is_silent(line):
    if line.startswith("SYN-SENT"):
        sent_again = re.search(r" retrans:\d+/(\d+)", line)
        return bool(sent_again) and int(sent_again[1]) > 1
    silent = re.search(r" lastrcv:(\d+)", line)
    return bool(silent) and int(silent[1]) > SUSPECT


def read_at(counts, when):
    """How many requests each backend has answered, and when it said so."""
    time.sleep(max(0, when - time.monotonic()))
    return [(count.requests(), time.monotonic()) for count in counts]


def rate(begin, end):
    """Requests in a second, of all backends. Each reading is a request too, and falls into the time
    before it. Backends are timed one by one, lest the answer of one that is late counts for all."""
    return sum((after - before - 1) / (then - now)
               for (before, now), (after, then) in zip(begin, end))
