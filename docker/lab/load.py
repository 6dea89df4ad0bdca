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
    load = start(site, url, warm_up + seconds, connections, threads, headers)
    try:
        load.stdout.readline()  # it begins
        started = time.monotonic()
        begin = read_at(counts, started + warm_up)
        end = read_at(counts, started + warm_up + seconds)
        said, _ = load.communicate(timeout=warm_up + seconds + GRACE)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"wrk on {url} does not end") from error
    except OSError as error:
        raise Failure(f"wrk on {url}: a backend's count of requests: {error}") from error
    finally:
        load.kill()
        load.wait()
    if load.returncode != 0:
        raise Failure(f"wrk on {url}: {last_line(said)}")
    # Each reading is a request too, and falls into the time before it.
    requests = end[1] - begin[1] - len(counts)
    if requests <= 0:
        raise Failure(f"wrk on {url}: no request was answered in {seconds:g} s: {last_line(said)}")
    return {
        "requests_per_second": requests / (end[0] - begin[0]),
        "requests": requests,
        "seconds": end[0] - begin[0],
        "p50_us": tool.latency(said, 50),
        "p99_us": tool.latency(said, 99),
        "failed": tool.failed(said),
    }


def start(site, url, seconds, connections, threads, headers):
    """wrk is told to end from inside, because docker passes no signal on. Its first connection has
    no timeout of its own."""
    command = tool.command(url, seconds, connections, threads, headers)
    return site.spawn("client", "sh", "-c", 'echo; exec "$@"', "sh",
                      "timeout", "--preserve-status", "-s", "INT", "-k", "5", f"{seconds + 0.5:g}",
                      *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_at(counts, when):
    time.sleep(max(0, when - time.monotonic()))
    requests = sum(count.requests() for count in counts)
    return time.monotonic(), requests
