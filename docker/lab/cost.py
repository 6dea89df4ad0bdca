# SPDX-License-Identifier: GPL-2.0
"""What it costs traffic that weir is attached to the interface it comes in by: one run of wrk, in
the midst of which weir is attached and detached. The time with weir is compared with the times
without right before and right after it: requests in a second, and CPU time of a request, which is
what both containers have used, the kernel's work in their name included."""
import contextlib
import functools
import json
import os
from typing import NamedTuple

from . import Failure, load
from .rounds import spread

SERVER, CLIENT = "b1", "client"
CONNECTIONS = 100
SETTLE = 0.5  # seconds after wrk has begun
SPARE = 600  # seconds of wrk, which is told to end when all was measured, beyond what that takes
PREFIXES = 10000
STILL = 10  # seconds in which something must be answered
PART = 0.3  # of the time that a way is measured: here come seven or more times for each round


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
    Traffic("new", "small answers, a connection each", SERVER, headers=("Connection: close",)),
    Traffic("sent", "64 KB answers, at the sender", SERVER, "/64K"),
    Traffic("received", "64 KB answers, at the receiver", CLIENT, "/64K"),
)
VARIANTS = (
    Variant("count", "counting", ("--xdp-only",)),
    Variant("observe", "counting, observer"),
    Variant("rules", f"counting, observer, {PREFIXES} prefixes", prefixes=PREFIXES),
)
IN_TURN = (  # one of them each round
    Variant("generic", "counting, observer, generic XDP", ("--mode", "generic")),
    Variant("observer", "observer alone", ("--tc-only",)),
)


def cost(site, rounds, seconds, say):
    seconds *= PART
    runs = {(traffic, variant): [] for traffic in TRAFFIC for variant in VARIANTS + IN_TURN}
    failed = 0
    for number in range(rounds):
        variants = VARIANTS + IN_TURN[number % len(IN_TURN):][:1]
        first = number % len(variants)
        for traffic in TRAFFIC:
            failed += measure(site, traffic, variants[first:] + variants[:first], seconds, runs)
            say(f"round {number + 1} of {rounds}  {traffic.title:<32}  " + "  ".join(
                f"{of.key} {runs[traffic, of][-1]['requests']:.2f}" for of in variants))
    return {"rounds": rounds, "seconds": seconds, "failed": failed,
            "ratios": [summary(*of, samples) for of, samples in runs.items() if samples]}


def summary(traffic, variant, samples):
    return {"traffic": traffic.key, "variant": variant.key, "samples": samples,
            "requests_ratio": spread([sample["requests"] for sample in samples]),
            "cpu_ratio": spread([sample["cpu"] for sample in samples])}


def table(result):
    """Of what cost() returns, for a terminal."""
    titles = {of.key: of.title for of in TRAFFIC + VARIANTS + IN_TURN}
    lines = [f"{'With weir, as multiples of without':<40}"
             f"{'requests/s':>19}{'CPU time of each':>20}"]
    traffic = None
    for entry in result["ratios"]:
        if entry["traffic"] != traffic:
            traffic = entry["traffic"]
            lines.append(titles[traffic])
        shown = "".join(f"{of['median']:.2f} ({of['min']:.2f}..{of['max']:.2f})".rjust(20)
                        for of in (entry["requests_ratio"], entry["cpu_ratio"]))
        lines.append(f"  {titles[entry['variant']]:<37}{shown}")
    lines += ["Native XDP takes segmentation offload from a veth's far end, whatever the",
              "program does; generic XDP and the observer alone leave it."]
    if result["failed"]:
        lines.append(f"{result['failed']} requests failed, likely since a veth loses what is on "
                     "its way when\nnative XDP comes or goes.")
    return "\n".join(lines)


def measure(site, traffic, variants, seconds, runs):
    """One run of wrk through all variants. Returns how many requests failed."""
    server = site.address(SERVER, 4)
    count = load.tool.Status(site.url(server, path="/status"))
    count.wait(load.GRACE)  # connected before there is any load
    wrk = load.start(site, site.url(server, path=traffic.path),
                     SPARE + seconds * (1 + 2 * len(variants)), CONNECTIONS, 2, traffic.headers)
    here = functools.partial(rate, count, [site.cgroup(host) for host in (CLIENT, SERVER)])
    try:
        wrk.stdout.readline()  # it begins
        here(SETTLE)
        before = here(seconds)
        for variant in variants:
            with attached(site, traffic.host, variant) as weir:
                during = here(seconds)
                if not runs[traffic, variant]:
                    check(weir, variant, during[0] * seconds)
            after = here(seconds)
            runs[traffic, variant].append(compare(before, during, after))
            before = after
        return load.ended(site, wrk)[1]
    except OSError as error:
        raise Failure(f"{traffic.title}: {error}") from error
    finally:
        wrk.kill()
        wrk.wait()
        count.connection.close()


def compare(before, during, after):
    ratios = [2 * of / (earlier + later) for earlier, of, later in zip(before, during, after)]
    return {"requests": ratios[0], "cpu": ratios[1],
            "requests_per_second": during[0], "cpu_microseconds": during[1]}


def rate(count, groups, seconds):
    """Requests answered in a second, CPU time of each in microseconds."""
    cpu = -sum(map(cpu_microseconds, groups))
    begin = load.read_at([count], 0)
    end = load.read_at([count], begin[0][1] + seconds)
    # What a veth loses when native XDP comes or goes is sent again after 0.2 s and more.
    while load.rate(begin, end) <= 0 and end[0][1] - begin[0][1] < STILL:
        begin = [(begin[0][0] + 1, begin[0][1])]  # our last question
        end = load.read_at([count], end[0][1] + seconds)
    cpu += sum(map(cpu_microseconds, groups))
    found = load.rate(begin, end)
    if found <= 0:
        raise Failure(f"{SERVER} has answered no request in {end[0][1] - begin[0][1]:.1f} s")
    return found, cpu / (end[0][0] - begin[0][0])


def cpu_microseconds(group):
    paths = [f"{mount}{group}" for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")]
    return load.tool.cpu_microseconds(next(filter(os.path.exists, paths), paths[-1]))


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
    """weir has seen what it should have: every request, or answer, is a packet at least. Those that
    were under way may have come before."""
    status = json.loads(weir("-j", "status"))["devices"][0]
    if "--tc-only" in variant.attach:
        if status["tc"] == "none":
            raise Failure(f"{variant.title}: it is not attached")
        return
    wanted = "generic" if "generic" in variant.attach else "native"
    seen = json.loads(weir("-j", "stats"))["devices"][0]
    too_few = not seen["packets"] or seen["packets"] + CONNECTIONS < requests
    if status["mode"] != wanted or too_few:
        raise Failure(f"{variant.title}: attached in {status['mode']} mode, weir has counted "
                      f"{seen['packets']} packets of {requests:.0f} requests")
    if seen["reasons"]["rule"]["packets"]:
        raise Failure(f"{variant.title}: {seen['reasons']['rule']['packets']} packets were dropped "
                      "by a list that names none of them")
