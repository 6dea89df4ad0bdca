#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Parts of the containers' demo without a container: the function that is named as its argument."""
import contextlib
import itertools
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from unittest import mock

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "docker"))
from lab import Failure, Interrupted, daemon, images, load, report, rounds, show, site, ways  # noqa: E402
from lab.tools import NoEngine  # noqa: E402

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
CONNECTIONS, WAITING = 8, 3


class Here:
    """A site without containers."""
    families = (4,)

    @staticmethod
    def run(_service, *argv):
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def listener(family, address, backlog):
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, 80))
    server.listen(backlog)
    return server


def serve(connection, most):
    """Answers so many requests, and then no more."""
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            if most > 0:
                connection.sendall(ANSWER)
            most -= 1


def accept(server):
    for most in itertools.cycle((100, sys.maxsize)):
        connection = server.accept()[0]
        threading.Thread(target=serve, args=(connection, most), daemon=True).start()


def unanswered():
    """Half of wrk's connections fall silent, which wrk does not tell; and of a listener that does
    not accept, one connection is there, the other SYNs are in vain."""
    server, full = listener(socket.AF_INET, "127.0.0.1", 64), listener(socket.AF_INET6, "::1", 0)
    threading.Thread(target=accept, args=(server,), daemon=True).start()
    clients = [socket.socket(socket.AF_INET6) for _ in range(WAITING)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(("::1", 80))
    # Those that are answered may be so late where the machine stands still.
    wrk = subprocess.Popen(["wrk", "-t1", f"-c{CONNECTIONS}", "-d240s", "--timeout", "60s",
                            "http://127.0.0.1:80/"], stdout=subprocess.PIPE, text=True)
    end, found = time.monotonic() + 120, 0
    while found != CONNECTIONS / 2 + WAITING and time.monotonic() < end:
        time.sleep(0.1)
        found = load.unanswered(Here())
    wrk.send_signal(2)
    said = wrk.communicate()[0]
    full.close()
    assert found == CONNECTIONS / 2 + WAITING, f"{found} are late"
    assert load.tool.failed(said) == 0, said


def table():
    """On a narrow terminal it has no ranges; with room for them it has."""
    spread = {"median": 34567.8, "min": 23456.7, "max": 45678.9}
    few = {"median": 12.34, "min": 10.1, "max": 15.9}
    way = {"key": "dsr-l2-generic", "title": "weir dsr-l2, generic XDP", "requests_per_second": spread,
           "p50_us": spread, "p99_us": spread, "failed": 0, "failed_runs": 0, "samples": [],
           "ratio_to_course": few, "ratio_to_tuned": few, "ratio_to_nft": few}
    result = {"ways": [way | {"family": family} for family in (4, 6)], "rounds": 5, "seconds": 2,
              "machine": {"kernel": "6.1.0", "cpu": "A processor of some length", "cpus": 2}}
    wide, narrow = (report.table(result, columns) for columns in (report.WIDE, 80))
    assert "12.34 (10.1..15.9)" in wide and "(23.5..45.7)" in wide, wide
    assert max(map(len, narrow.splitlines())) <= 80, narrow
    assert "12.34" in narrow and "34.6k" in narrow and "(10.1" not in narrow, narrow


def interruption():
    """Clearing up that fails after a Ctrl-C is no failure of the way, after which the next comes."""
    @contextlib.contextmanager
    def enter(_site, _family):
        try:
            raise Interrupted(2)
        finally:
            raise Failure("weir detach: no end after 60 s")
        yield

    try:
        sample = rounds.one(Here(), ways.Way("one", "a way", enter), 4, 1)
    except Interrupted:
        return
    raise AssertionError(f"it goes on, with {sample}")


def engine():
    """One that runs and does not answer is named; the number that a killed one has left is not."""
    daemon.START = 0.5
    with tempfile.TemporaryDirectory() as directory:
        program, daemon.PIDFILE = f"{directory}/dockerd", pathlib.Path(directory, "docker.pid")
        daemon.CONTAINERD_PIDFILE = pathlib.Path(directory, "containerd.pid")
        shutil.copy(shutil.which("sleep"), program)
        with subprocess.Popen([program, "60"]) as process:
            while daemon.comm(process.pid) != "dockerd":
                time.sleep(0.01)
            daemon.PIDFILE.write_text(str(process.pid), encoding="ascii")
            try:
                raise AssertionError(f"waited in vain: {daemon.await_other(lambda: False)}")
            except NoEngine as failure:
                assert f"process {process.pid}," in str(failure), failure
            assert daemon.await_other(lambda: True)
            process.kill()
        assert not daemon.await_other(lambda: True) and not daemon.PIDFILE.exists()


def units():
    """Units that a killed engine leaves running are stopped by the demo that comes next."""
    active = set()

    def systemctl(argv, **_):
        if argv[1] == "start":
            active.update(daemon.UNITS)
        elif argv[1] == "stop":
            active.difference_update(argv[2:])
        return subprocess.CompletedProcess(argv, argv[1] == "is-active" and argv[2] not in active)

    with tempfile.TemporaryDirectory() as directory:
        daemon.PIDFILE = daemon.CONTAINERD_PIDFILE = pathlib.Path(directory, "docker.pid")
        daemon.record = lambda name: pathlib.Path(directory, name)
        daemon.finish, daemon.has_unit = systemctl, lambda: True
        daemon.firewall = types.SimpleNamespace(snapshot=dict, restore=lambda before: None)
        with mock.patch("os.path.isdir", return_value=True):
            daemon.start("demo", directory, lambda: True)
            active.discard("docker.service")
            daemon.start("demo", directory, lambda: True)
        daemon.stop("demo")
    assert not active, active


def mirror():
    """One that does not answer is asked again; one that never answers makes it a test to skip, but
    what does not compile does not."""
    images.PAUSE, said = 0, []

    def fails(times, why):
        left = iter(range(times))

        def make():
            if next(left, None) is not None:
                raise Failure(why)
            return "made"
        return make

    def outcome(times, why):
        try:
            return images.patiently(fails(times, why), said.append)
        except Failure as failure:
            return type(failure)

    apt = "The command '/bin/sh -c apt-get update' returned a non-zero code: 100"
    assert outcome(images.TRIES - 1, apt) == "made" and len(said) == images.TRIES - 1, said
    assert outcome(images.TRIES, apt) == NoEngine
    for why, kind in ("for lb  Cannot start service lb: OCI runtime create failed: no cgroup mount", NoEngine), (
            "for lb  Cannot start service lb: exec: \"weird\": not found in $PATH", Failure), (
            "Failed to Setup IP tables: iptables failed", NoEngine), (
            "The Compose file is invalid", Failure):
        failure = site.Site(None).why_not_up(f"ERROR: {why}\nERROR: Encountered errors while ...")
        assert type(failure) is kind and why in str(failure), failure
    assert outcome(1, "The command '/bin/sh -c make weir' returned a non-zero code: 2") == Failure


def silence():
    """Where the number of live connections is an estimate that stays above 0, silence tells that
    there are none; but only a long one, and none does where the number is exact."""
    show.QUIET = 0.3
    still, talks = ({"packets_per_second": rate, "connections_live": 1} for rate in (0, 5))
    exact, estimate = show.Idle(exact=True), show.Idle(exact=False)
    assert estimate({"packets_per_second": 0, "connections_live": 0})
    assert not estimate(talks) and not estimate(still) and not exact(still)
    time.sleep(0.4)
    assert estimate(still) and not exact(still)
    assert not estimate(talks)


globals()[sys.argv[1]]()
