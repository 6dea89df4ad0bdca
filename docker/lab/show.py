# SPDX-License-Identifier: GPL-2.0
"""weir at work, for somebody to watch: under one run of wrk a backend is drained, deleted and
stopped, and another one started and added. What weir says meanwhile is on screen, and in the end it
is held against what wrk and the backends have counted."""
import re
import subprocess
import sys
import time

from . import Failure, load
from .engine import last_line

CONNECTIONS = 64
LONGEST = 900  # seconds of wrk, which is told to end when all was shown
SHOWN = 4  # seconds before a change, and after it
DRAIN = 300  # seconds a drained backend may take to lose its connections
QUIET = load.LATE / 1000 + 1  # seconds in which a live connection would have said something
SETTLE = 20  # seconds within which all have counted what there was
JOIN = 20  # seconds a new backend may take to get a fifth of the traffic
BAR = 24  # characters for all of the traffic
ESTABLISHED = "01"  # in /proc/net/tcp
LIVE = sys.stdout.isatty()
BOLD, FAINT, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if LIVE else ("", "", "")
ABOUT = {"nat": "addresses are translated, and answers come back through weir",
         "dsr-l2": "backends have the service's address and answer the client themselves"}


def show(site, say):
    acts = [act(site, say, site.families[0], "nat", "native"),
            act(site, say, site.families[-1], "dsr-l2", "generic")]
    total = {key: sum(a[key] for a in acts) for key in ("requests", "failed", "seconds")}
    return {**total, "acts": acts}


def act(site, say, family, mode, xdp):
    stage = Stage(site, say, family, exact=mode == "nat")
    say(f"\n{BOLD}weir {mode}, IPv{family}: {ABOUT[mode]}{PLAIN}")
    site.stop("b3")
    try:
        stage.weir("attach", "eth0", "--mode", xdp)
        stage.weir("service", "add", *stage.service, "mode", mode)
        stage.weir("backend", "add", *stage.service, stage.address("b1"), stage.address("b2"))
        say(f"{FAINT}# and an observer at the client, who sees what connecting takes{PLAIN}")
        stage.weir(*stage.client, "attach", "eth0", "--tc-only")
        result = change(stage)
        stage.weir("detach", "--all")
    finally:
        stage.clear()
    return {"mode": mode, "xdp": xdp, "family": family, **result}


class Stage:
    """Where an act plays: a service, the client's observer, and the run of wrk."""

    def __init__(self, site, say, family, exact):
        self.site, self.say, self.family = site, say, family
        self.exact = exact  # weir knows how many connections are live
        self.service = ("tcp", self.endpoint(site.vip(family), 80))
        self.client = ("-n", f"/proc/{site.pid('client')}/ns/net", "--instance", "client")
        self.names = {self.address(host): host for host in ("b1", "b2", "b3")}
        self.before, self.wrk, self.asked = {}, None, {}

    def address(self, host):
        return self.site.address(host, self.family)

    def endpoint(self, address, port):
        return f"[{address}]:{port}" if self.family == 6 else f"{address}:{port}"

    def typed(self, *words):
        self.say(f"{BOLD}$ {' '.join(words)}{PLAIN}")

    def weir(self, *arguments):
        self.typed("weir", *arguments)
        self.say(self.site.weir(*arguments).rstrip("\n"))

    def load(self):
        url = self.site.url(self.site.vip(self.family))
        self.typed("wrk", "-t", "2", "-c", str(CONNECTIONS), url, "&")
        self.began = time.monotonic()
        self.wrk = load.start(self.site, url, LONGEST, CONNECTIONS, 2, ())

    def end_load(self):
        said, failed = load.ended(self.site, self.wrk)
        return said, failed, time.monotonic() - self.began

    def clear(self):
        """However far it came. What is left after a failure here is for the site's own end."""
        steps = [lambda: self.site.weir("detach", "--all"),
                 lambda: self.site.weir(*self.client, "detach", "--all"),
                 lambda: self.site.start("b1"), lambda: self.site.stop("b3")]
        if self.wrk and self.wrk.poll() is None:
            steps.insert(0, self.end_load)
        for step in steps:
            try:
                step()
            except (Failure, subprocess.SubprocessError):
                pass


def change(stage):
    stage.before = {host: nginx(stage, host) for host in ("b1", "b2")}
    stage.load()
    watch(stage, lambda look, seconds: seconds > SHOWN)
    seconds, look = drain(stage)
    counted = {"b1": count(stage, "b1", look)}
    replace(stage)
    watch(stage, lambda look, seconds: seconds > JOIN or seconds > SHOWN and joined(look))
    return {"drain_seconds": seconds, **outcome(stage, *stage.end_load(), counted)}


def drain(stage):
    stage.say(f"\n{BOLD}b1 has to go: what it has goes on, nothing new comes{PLAIN}")
    change = ("backend", "drain", *stage.service, stage.address("b1"))
    stage.weir("service", "plan", *change)
    stage.weir(*change)
    begin = time.monotonic()
    explain(stage)
    idle = Idle(stage.exact)
    look = watch(stage, lambda look, seconds: idle(look["b1"]) or seconds > DRAIN)
    if not idle(look["b1"]):
        raise Failure(f"{DRAIN} s after weir backend drain b1 still gets "
                      f"{look['b1']['packets_per_second']:.0f} packets/s and has "
                      f"{look['b1']['connections_live']} connections")
    return time.monotonic() - begin, look


class Idle:
    """With direct return the number of live connections is an estimate: a SYN that was sent again
    counts twice. Then it is silence that tells."""

    def __init__(self, exact):
        self.exact, self.since = exact, None

    def __call__(self, backend):
        now = time.monotonic()
        if backend["packets_per_second"]:
            self.since = None
            return False
        self.since = self.since or now
        return not backend["connections_live"] or not self.exact and now - self.since > QUIET


def explain(stage):
    """Where weir sends a connection that the drained backend has, if one is left."""
    table = "tcp6" if stage.family == 6 else "tcp"
    with open(f"/proc/{stage.site.pid('b1')}/net/{table}", encoding="ascii") as sockets:
        lines = [line.split() for line in sockets][1:]
    ports = [int(words[2].split(":")[1], 16) for words in lines if words[3] == ESTABLISHED]
    if ports:
        client = stage.endpoint(stage.address("client"), ports[-1])
        stage.weir("explain", "tcp", client, stage.service[1])


def replace(stage):
    stage.say(f"\n{BOLD}b1 has no connection left, and goes; b3 comes{PLAIN}")
    stage.weir("backend", "del", *stage.service, stage.address("b1"))
    stage.typed("docker", "stop", f"{stage.site.name}-b1")
    stage.site.stop("b1")
    stage.typed("docker", "start", f"{stage.site.name}-b3")
    stage.site.start("b3")
    stage.before["b3"] = nginx(stage, "b3")
    stage.weir("backend", "add", *stage.service, stage.address("b3"))


def joined(look):
    packets = {host: backend["packets_per_second"] for host, backend in look.items()}
    return packets["b3"] > sum(packets.values()) / 5


def watch(stage, until):
    """weir's rates are those of one second, and so each look takes as long."""
    begin, drawn = time.monotonic(), 0
    while True:
        look = backends(stage)
        lines = draw(stage, look, handshakes(stage))
        if LIVE:
            stage.say("\033[A\033[2K" * drawn + "\n".join(lines))
            drawn = len(lines)
        else:
            stage.say("  ".join(line.strip() for line in lines))
        if stage.wrk.poll() is not None:
            raise Failure(f"wrk has ended too early: {last_line(stage.wrk.stdout.read())}")
        if until(look, time.monotonic() - begin):
            return look


def backends(stage):
    found = stage.site.weir_json("backend", "list", *stage.service)["services"][0]["backends"]
    return {stage.names[backend["backend"]]: backend for backend in found}


def handshakes(stage):
    for endpoint in stage.site.weir_json(*stage.client, "handshake")["devices"][0]["endpoints"]:
        if endpoint["role"] == "client" and endpoint["port"] == 80:
            return endpoint
    return None


def draw(stage, look, handshake):
    lines = [f"{time.monotonic() - stage.began:4.0f} s"]
    total = sum(backend["packets_per_second"] for backend in look.values()) or 1
    for name, backend in sorted(look.items()):
        if backend["state"] == "leaving" and not backend["connections_live"]:
            continue
        bar = "#" * round(BAR * backend["packets_per_second"] / total) if LIVE else ""
        lines.append(f"  {name} {backend['state']:5} "
                     f"{backend['connections_per_second']:5.0f} conn/s "
                     f"{backend['packets_per_second']:6.0f} packets/s "
                     f"{backend['connections_live']:4} live  {bar}")
    if handshake and handshake["established"]:
        lines.append(f"  handshake p50 {micro(handshake['syn_to_synack_us_p50'])}, "
                     f"p99 {micro(handshake['syn_to_synack_us_p99'])}")
    return lines


def micro(value):
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.1f} ms"


def nginx(stage, host):
    """Connections now, this one included; connections and requests so far, less our questions."""
    status = load.tool.Status(stage.site.url(stage.site.address(host, 4), path="/status"))
    try:
        words = status.wait(load.GRACE).split()
    except OSError as error:
        raise Failure(f"{host}'s count of requests: {error}") from error
    status.connection.close()
    stage.asked[host] = asked = stage.asked.get(host, 0) + 1
    return int(words[2]), int(words[7]) - asked, int(words[9]) - asked


def count(stage, host, look):
    """What a backend has counted in this act, beside weir."""
    before, now = stage.before[host], nginx(stage, host)
    # A proxy may keep some from the time when the containers started.
    if host == "b1" and now[0] > before[0]:
        raise Failure(f"b1 still has {now[0] - before[0]} connections when weir says that it has "
                      "none")
    return {"connections": look[host]["connections"], "packets": look[host]["packets"],
            "accepted": now[1] - before[1], "requests": now[2] - before[2]}


def outcome(stage, said, failed, seconds, counted):
    found = re.search(r"(\d+) requests in ", said)
    requests = int(found[1]) if found else 0
    disagreement, handshake = settle(stage, requests, counted)
    answered = sum(host["requests"] for host in counted.values())
    stage.say(f"\n{BOLD}What came of it{PLAIN}")
    stage.weir(*stage.client, "handshake")
    stage.say("\n    weir: packets  connections   nginx: connections  requests  share")
    for host, n in counted.items():
        n["share"] = n["requests"] / max(answered, 1)
        stage.say(f"{host}  {n['packets']:13} {n['connections']:12} {n['accepted']:20} "
                  f"{n['requests']:9}  {n['share']:4.0%}")
    stage.say(f"\n{BOLD}{requests} requests in {seconds:.0f} s, {failed} failed.{PLAIN}")
    if failed or not requests:
        stage.say(said.strip())
        stage.weir("service", "list", *stage.service)
        stage.weir("drop")
        raise Failure(f"{failed} of {requests} requests failed while backends changed")
    if disagreement:
        raise disagreement
    return {"requests": requests, "failed": failed, "seconds": seconds,
            "backends": counted, "handshakes": handshake["established"],
            "handshake_p50_us": handshake["syn_to_synack_us_p50"],
            "handshake_p99_us": handshake["syn_to_synack_us_p99"]}


def settle(stage, requests, counted):
    """Adds what the backends have counted that are left. What is in a queue of theirs when wrk ends
    they count a moment later."""
    end = time.monotonic() + SETTLE
    while True:
        look = backends(stage)
        counted.update({host: count(stage, host, look) for host in ("b2", "b3")})
        handshake = handshakes(stage)
        try:
            agree(requests, counted, handshake)
            return None, handshake
        except Failure as failure:
            if time.monotonic() > end:
                return failure, handshake
        time.sleep(0.2)


def agree(requests, counted, handshake):
    """A request may be on its way when wrk ends; of SYNs weir counts all, nginx those that came to
    something."""
    answered = sum(host["requests"] for host in counted.values())
    if not 0 <= answered - requests <= CONNECTIONS:
        raise Failure(f"wrk has had {requests} answers, but the backends gave {answered}")
    vain = handshake["syn"] + handshake["syn_retransmits"] - handshake["established"]
    for host, n in counted.items():
        if not 0 <= n["connections"] - n["accepted"] <= vain:
            raise Failure(f"weir has counted {n['connections']} connections to {host}, which has "
                          f"accepted {n['accepted']}")
