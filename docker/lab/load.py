# SPDX-License-Identifier: GPL-2.0
"""One run of wrk in the client's container, timed only after a warm-up on the same connections:
these take a moment to be short-cut by `weir sock`, and to open their windows. What is counted are
the requests that the backends have answered, because there every way ends. wrk's latencies are of
its whole run."""
import pathlib
import subprocess
import sys
import time

from . import Failure
from .engine import last_line

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests"))
import wrk as tool  # noqa: E402

WARM_UP = 1.5  # seconds
GRACE = 10  # seconds for wrk to end


def wrk(site, url, seconds, warm_up=WARM_UP, connections=100, threads=2, headers=(),
        backends=("b1", "b2")):
    counts = [tool.Status(site.url(site.address(host, 4), path="/status")) for host in backends]
    for count in counts:
        count.wait(GRACE)  # connected before there is any load
    load = start(site, url, warm_up + seconds + GRACE, connections, threads, headers)
    try:
        load.stdout.readline()  # it begins
        begin = read_at(counts, time.monotonic() + warm_up)
        end = read_at(counts, begin[-1][1] + seconds)
        said = ended(site, load)
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
        "failed": tool.failed(said),
    }


def start(site, url, longest, connections, threads, headers):
    """It is told to end from inside, because docker passes no signal on. Its first connection has
    no timeout of its own."""
    command = tool.command(url, longest, connections, threads, headers)
    return site.spawn("client", "sh", "-c", 'echo; exec "$@"', "sh",
                      "timeout", "--preserve-status", "-s", "INT", "-k", "5", f"{longest:g}",
                      *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(site, load):
    """Tells it to end. Returns what it says of its run."""
    site.run("client", "sh", "-c", "kill -INT $(pidof wrk)", check=False)
    try:
        return load.communicate(timeout=GRACE)[0]
    except subprocess.TimeoutExpired as error:
        raise Failure("wrk does not end") from error


def read_at(counts, when):
    """How many requests each backend has answered, and when it said so."""
    time.sleep(max(0, when - time.monotonic()))
    return [(count.requests(), time.monotonic()) for count in counts]


def rate(begin, end):
    """Requests in a second, of all backends. Each reading is a request too, and falls into the time
    before it. Backends are timed one by one, lest the answer of one that is late counts for all."""
    return sum((after - before - 1) / (then - now)
               for (before, now), (after, then) in zip(begin, end))
