# SPDX-License-Identifier: GPL-2.0
"""What it costs traffic that weir is attached to the interface it comes in by: one run of wrk, in the
midst of which weir is attached and detached. Each time with weir is compared with the times without right
before and right after it."""
import contextlib
import json
import statistics
import subprocess
from typing import NamedTuple

from . import Failure, load

SERVER = "b1"
CONNECTIONS = 100
SETTLE = 0.5  # seconds after wrk has begun
LONGEST = 120  # seconds of wrk, which is told to end when all was measured
PREFIXES = 10000


class Traffic(NamedTuple):
    key: str
    title: str
    host: str  # whose eth0 weir is attached to
    path: str = "/"
    headers: tuple = ()


class Variant(NamedTuple):
    key: str
    title: str
    attach: tuple = ()
    prefixes: int = 0


TRAFFIC = (
    Traffic("kept", "small answers, connections kept", SERVER),
    Traffic("new", "a new connection for each", SERVER, headers=("Connection: close",)),
    Traffic("sent", "64 KB answers, at the sender", SERVER, "/64K"),
    Traffic("received", "64 KB answers, at the receiver", "client", "/64K"),
)
VARIANTS = (
    Variant("count", "counting", ("--xdp-only",)),
    Variant("observe", "counting, observer"),
    Variant("rules", f"the same, {PREFIXES} prefixes", prefixes=PREFIXES),
    Variant("generic", "the same, generic XDP", ("--mode", "generic"), PREFIXES),
    Variant("observer", "observer alone", ("--tc-only",)),
)


def cost(site, rounds, seconds, say):
    runs = {(traffic, variant): [] for traffic in TRAFFIC for variant in VARIANTS}
    failed = 0
    for number in range(rounds):
        turned = VARIANTS[number % len(VARIANTS):] + VARIANTS[:number % len(VARIANTS)]
        for traffic in TRAFFIC:
            said = measure(site, traffic, turned, seconds, runs)
            failed += load.tool.failed(said)
            say(f"round {number + 1} of {rounds}  {traffic.title:<31} " + "  ".join(
                f"{variant.key} {runs[traffic, variant][-1]['ratio']:.2f}" for variant in VARIANTS))
    if failed:
        raise Failure(f"{failed} requests failed while weir was attached and detached")
    return {"rounds": rounds, "seconds": seconds, "failed": failed,
            "ratios": [summary(*of, samples) for of, samples in runs.items()]}


def summary(traffic, variant, samples):
    ratios = [sample["ratio"] for sample in samples]
    return {"traffic": traffic.key, "traffic_title": traffic.title,
            "variant": variant.key, "variant_title": variant.title,
            "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            "samples": samples}


def measure(site, traffic, variants, seconds, runs):
    """One run of wrk through all variants. Returns what wrk has said."""
    server = site.address(SERVER, 4)
    wrk = load.start(site, site.url(server, path=traffic.path), LONGEST, CONNECTIONS, 2,
                     traffic.headers)
    count = load.tool.Status(site.url(server, path="/status"))
    try:
        wrk.stdout.readline()  # it begins
        rate(count, SETTLE)
        before = rate(count, seconds)
        for variant in variants:
            with attached(site, traffic.host, variant) as weir:
                with_weir = rate(count, seconds)
                if not runs[traffic, variant]:
                    check(weir, variant, with_weir * seconds)
            after = rate(count, seconds)
            plain = (before + after) / 2
            runs[traffic, variant].append({"plain": plain, "attached": with_weir,
                                           "ratio": with_weir / plain})
            before = after
        site.run("client", "sh", "-c", "kill -INT $(pidof wrk)")
        return wrk.communicate(timeout=load.GRACE)[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{traffic.title}: {error}") from error
    finally:
        wrk.kill()
        wrk.wait()
        count.connection.close()


def rate(count, seconds):
    """Requests answered in a second. The second reading falls into the time of the next."""
    begin = load.read_at([count], 0)
    end = load.read_at([count], begin[0] + seconds)
    if end[1] - begin[1] <= 1:
        raise Failure(f"{SERVER} has answered no request in {seconds:g} s")
    return (end[1] - begin[1] - 1) / (end[0] - begin[0])


@contextlib.contextmanager
def attached(site, host, variant):
    own = ("-n", f"/proc/{site.pid(host)}/ns/net", "--instance", "cost")

    def weir(*arguments, **how):
        return site.run("weir", "weir", *own, *arguments, **how)

    try:
        if variant.prefixes:
            weir("rule", "load", "-", "name", "none", input=prefixes(variant.prefixes))
        weir("attach", "eth0", *variant.attach)
        yield weir
    finally:
        weir("detach", "--all")


def prefixes(count):
    """Of 198.18.0.0/15 and 2001:2::/48, which are for benchmarks: nothing here has them."""
    return "".join(f"198.18.{i >> 8}.{i & 255}\n2001:2:0:{i:x}::/64\n" for i in range(count // 2))


def check(weir, variant, requests):
    """weir has seen what it should have: every request, or answer, is a packet at least."""
    status = json.loads(weir("-j", "status"))["devices"][0]
    if "--tc-only" in variant.attach:
        if status["tc"] == "none":
            raise Failure(f"{variant.title}: the observer is not attached")
        return
    wanted = "generic" if "generic" in variant.attach else "native"
    seen = json.loads(weir("-j", "stats"))["devices"][0]
    if status["mode"] != wanted or seen["packets"] < requests:
        raise Failure(f"{variant.title}: attached in {status['mode']} mode, weir has counted "
                      f"{seen['packets']} packets of {requests:.0f} requests")
    if seen["reasons"]["rule"]["packets"]:
        raise Failure(f"{variant.title}: {seen['reasons']['rule']['packets']} packets were dropped "
                      "by a list that names none of them")
