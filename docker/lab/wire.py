# SPDX-License-Identifier: GPL-2.0
"""What weir sends is right on the wire, and what it changed it puts back. Frames are looked at
where they arrive: at the client's and the backends' eth0. Containers keep their offloads, so many
a checksum is unfinished there. That it will be finished right is seen when the host's ends of
these veths are told to finish them before delivery."""
import contextlib
import json
import pathlib
import re
import subprocess
import sys

from . import Failure, load
from .tools import finish

FRAMES = pathlib.Path(__file__).with_name("frames.py")
RECEIVERS = ("client", "b1", "b2")
INVOLVED = ("client", "lb", "b1", "b2")
ENDED = 180  # seconds within which all frames were looked at
ENOUGH, TRIES = 1000, 30  # frames; runs of wrk in which these must come
# What the host's bridge learns by itself, and timers.
CHANGES = re.compile("timer|mcast_n_groups|fdb_n_learned")


def check(site, ways):
    """Of those ways that lead by weir's balancer. Raises Failure, or tells what was checked."""
    before = state(site)
    errors = checksum_errors(site)
    seen = []
    for way in ways:
        if way.key.startswith(("nat-", "dsr-")):
            for family in site.families:
                with way.enter(site, family) as url:
                    seen += [look(site, way, family, url, False)]
                    with finished(site):
                        seen += [look(site, way, family, url, True)]
    compare_errors(errors, checksum_errors(site))
    compare_states(before, state(site))
    return {"ways": seen, "frames": sum(one["checked"] for one in seen), "bad": 0,
            "checksum_errors": 0, "put_back": sorted(before)}


def look(site, way, family, url, told):
    """At the frames that arrive in runs of wrk: handshakes, small requests, large answers. A slow
    machine needs several until there are enough, at both backends."""
    what = f"{way.title}, IPv{family}{', checksums finished before delivery' if told else ''}"
    found, failed = {}, 0
    for _ in range(TRIES):
        failed += one_run(site, url, found)
        if any(counts["bad"] for counts in found.values()) or (
                all(counts["checked"] for counts in found.values()) and total(found) > ENOUGH):
            break
    for host, counts in found.items():
        if counts["bad"]:
            raise Failure(f"{what}: {counts['bad']} of {counts['checked']} frames arrive at {host} "
                          f"with a wrong checksum, as {counts['examples'][0]}")
        if not counts["checked"]:
            raise Failure(f"{what}: no TCP frame was seen at {host}")
        if told and counts["unfinished"]:
            raise Failure(f"{what}: {counts['unfinished']} checksums are unfinished at {host}")
    if failed:
        raise Failure(f"{what}: {failed} requests failed")
    return {"key": way.key, "family": family, "finished": told, "hosts": found,
            "checked": total(found)}


def total(found):
    return sum(counts["checked"] for counts in found.values())


def one_run(site, url, found):
    """Adds to what was found at each host. Returns how many requests failed."""
    with contextlib.ExitStack() as stack:
        taps = {host: stack.enter_context(tap(site, host)) for host in RECEIVERS}
        said = site.run("client", "wrk", "-t1", "-c8", "-d1s", "--timeout", f"{load.LATE // 1000}s",
                        "-H", "Connection: close", f"{url}64K")
        for host, process in taps.items():
            now = ended(host, process)
            found[host] = {name: found[host][name] + count for name, count in now.items()} \
                if host in found else now
    return load.tool.failed(said)


@contextlib.contextmanager
def tap(site, host):
    """frames.py, which counts till its input ends."""
    argv = ["nsenter", f"--net=/proc/{site.pid(host)}/ns/net", sys.executable, str(FRAMES), "eth0"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        try:
            process.stdout.readline()  # it is ready
            yield process
        finally:
            process.kill()


def ended(host, process):
    try:
        said, _ = process.communicate(timeout=ENDED)
        return json.loads(said)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise Failure(f"{host}: frames were not looked at: {error}") from error


@contextlib.contextmanager
def finished(site):
    """The host's ends of the receivers' veths finish checksums; afterwards they leave it again."""
    with contextlib.ExitStack() as afterwards:
        for end in map(site.far_end, RECEIVERS):
            afterwards.callback(finish, ["ethtool", "-K", end, "tx", "on"])
            finish(["ethtool", "-K", end, "tx", "off"])
        yield


def checksum_errors(site):
    """All counters of wrong checksums that the kernel has, of everyone involved."""
    errors = {}
    for host in INVOLVED:
        base = f"/proc/{site.pid(host)}/net"
        for name, value in [*pairs(f"{base}/snmp"), *pairs(f"{base}/netstat"),
                            *columns(f"{base}/snmp6")]:
            if name.endswith("InCsumErrors"):
                errors[host, name] = int(value)
    return errors


def pairs(path):
    """A line of names, a line of their values, ..."""
    with open(path, encoding="ascii") as lines:
        for names, values in zip(lines, lines):
            names, values = names.split(), values.split()
            yield from zip((names[0][:-1] + name for name in names[1:]), values[1:])


def columns(path):
    with open(path, encoding="ascii") as lines:
        yield from (line.split() for line in lines)


def compare_errors(before, now):
    grown = [f"{host}: {now[host, name] - count} {name}" for (host, name), count in before.items()
             if now[host, name] != count]
    if grown:
        raise Failure(f"wrong checksums have arrived: {', '.join(grown)}")


def state(site):
    """Offloads, XDP programs and settings of each container's eth0 and of the host's end."""
    devices = {}
    for host in INVOLVED:
        end = site.far_end(host)
        devices[f"{host}: eth0"] = described(lambda *argv: site.on_host(host, *argv), "eth0")
        devices[f"{host}: the host's end"] = described(lambda *argv: finish(argv).stdout, end)
    return devices


def described(run, device):
    link = flat("link", json.loads(run("ip", "-j", "-d", "link", "show", device))[0])
    offloads = run("ethtool", "-k", device).splitlines()[1:]
    return {**{name: value for name, value in link.items() if not CHANGES.search(name)},
            **dict(line.strip().split(": ") for line in offloads)}


def flat(prefix, value):
    """The leaves of nested dictionaries, by their paths."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, inner in value.items()
            for name, leaf in flat(f"{prefix} {key}", inner).items()}


def compare_states(before, now):
    changed = [f"{device}: {name} {old.get(name)} → {now[device].get(name)}"
               for device, old in before.items() for name in {**old, **now[device]}
               if old.get(name) != now[device].get(name)]
    if changed:
        raise Failure(f"after detach not everything is as it was: {', '.join(changed)}")
