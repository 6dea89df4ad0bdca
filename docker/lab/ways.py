# SPDX-License-Identifier: GPL-2.0
"""The ways from the client to the backends. All containers are there all the time; what a way
changes in the kernel is made when it is entered and is gone when it is left."""
import contextlib
import functools
import json
import pathlib
import sys
import time
from typing import Callable, NamedTuple

from . import Failure

FETCH = pathlib.Path(__file__).with_name("fetch.py")
FETCHES = 20  # new connections, that none of two backends is missed by chance


class Way(NamedTuple):
    key: str
    title: str
    enter: Callable  # of site and family: a context manager of the URL that leads this way
    state: Callable = lambda site: {}  # what can be told of it after a run, before it is left
    by_tcp: bool = True  # the client's TCP sees the answers


def check(site, url, *backends):
    """Connections by this way come to these backends, and to each of them."""
    said = site.on_host("client", sys.executable, str(FETCH), url, str(FETCHES)).split()
    if sorted(set(said)) != sorted(backends):
        raise Failure(f"{url} leads to {' and '.join(sorted(set(said)))}, not to "
                      f"{' and '.join(backends)}")


@contextlib.contextmanager
def straight(site, family):
    url = site.url(site.address("b1", family))
    check(site, url, "b1")
    yield url


@contextlib.contextmanager
def by(peer, site, family):
    url = site.url(site.address(peer, family))
    check(site, url, "b1", "b2")
    yield url


# Short connections after the attach would make weir pass over the port, so the check comes first.
@contextlib.contextmanager
def short_cut(peer, site, family):
    with by(peer, site, family) as url, detached_after(site):
        for host in ("client", peer, "b1", "b2"):
            site.weir("sock", "attach", site.cgroup(host).lstrip("/"))
        await_tender(site)
        yield url


@contextlib.contextmanager
def balanced(mode, hook, site, family):
    host = f"[{site.vip(family)}]" if family == 6 else site.vip(family)
    service = ("tcp", f"{host}:80")
    with detached_after(site):
        attached = site.weir_json("attach", "eth0", "--mode", hook)["mode"]
        if attached != hook:
            raise Failure(f"weir is attached in {attached} mode, not in {hook}")
        site.weir("service", "add", *service, "mode", mode)
        site.weir("backend", "add", *service,
                  site.address("b1", family), site.address("b2", family))
        url = site.url(site.vip(family))
        check(site, url, "b1", "b2")
        yield url


@contextlib.contextmanager
def detached_after(site):
    try:
        yield
    finally:
        site.weir("detach", "--all")


def await_tender(site, seconds=60):
    end = time.monotonic() + seconds
    while not all(sockets["tender_process"] for sockets in site.weir_json("status")["sockets"]):
        if time.monotonic() > end:
            raise Failure("weir sock: no process tends; `weir run` should")
        time.sleep(0.1)


def how_balanced(site):
    backends = [backend for service in site.weir_json("backend", "list")["services"]
                for backend in service["backends"]]
    idle = [backend["backend"] for backend in backends if not backend["packets"]]
    if idle:
        raise Failure(f"weir has sent nothing to {' and '.join(idle)}, but they answered")
    return {"transmits_by": sorted({backend["way"] for backend in backends})}


def how_short_cut(peer, site):
    """Since the attach: of the bytes on connections that were short-cut in the end, those that TCP
    did not see, by the accepting end."""
    lines = site.weir("-j", "sock", "show", "-i", "0.05", "-c", "1").splitlines()
    ports = [json.loads(line) for line in lines]
    percents = {}
    for host in (peer, "b1", "b2"):
        own = [port for port in ports if port["cgroup"] == site.cgroup(host)]
        by_weir, by_tcp = (sum(port[field] for port in own) for field in ("bytes", "tcp_bytes"))
        percents[host] = 100 * by_weir / (by_weir + by_tcp) if by_weir else 0
    return {"short_cut_percent": percents}


def proxied(key, title):
    return Way(key, title, functools.partial(by, key))


def with_sock(peer, title):
    return Way(f"{peer}+sock", title, functools.partial(short_cut, peer),
               functools.partial(how_short_cut, peer), by_tcp=False)


def with_weir(mode, hook):
    return Way(f"{mode}-{hook}", f"weir {mode}, {hook} XDP",
               functools.partial(balanced, mode, hook), how_balanced)


WAYS = (
    Way("direct", "one backend, no balancer", straight),
    proxied("course", "nginx, plain proxy"),
    proxied("tuned", "nginx, tuned"),
    proxied("stream", "nginx, stream"),
    proxied("haproxy", "haproxy TCP"),
    proxied("nft", "nftables DNAT"),
    with_sock("course", "plain nginx + weir sock"),
    with_sock("tuned", "tuned nginx + weir sock"),
    with_weir("nat", "native"),
    with_weir("nat", "generic"),
    with_weir("dsr-l2", "native"),
    with_weir("dsr-l2", "generic"),
)
