#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""weir beside other ways from a client to two backends, in containers: what `make docker-demo`
runs. It makes the images, starts the containers, shows weir at work, measures all ways in turn, and
removes what it has made, however it ends."""
import argparse
import contextlib
import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import sys
import time

from lab import (Failure, Interrupted, chart, cost, daemon, images, report, rounds, show,
                 unless_interrupted, wire)
from lab.engine import Engine, answers, project_name, provide, release
from lab.site import Site
from lab.tools import ROOT, NoEngine
from lab.ways import WAYS

sys.path.append(f"{ROOT}/tests")
from machine import machine  # noqa: E402

QUICK_WAYS = ("course", "tuned", "nft", "tuned+sock", "nat-native", "dsr-l2-generic")
NO_ENGINE = 77  # the exit status that tells a test to skip
STARTED = time.monotonic()
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESULTS = ("result.json", "table.txt", "chart.svg", "cost.txt")


def say(text):
    print(f"{time.monotonic() - STARTED:5.0f} s  {text}", flush=True)


def tell(text=""):
    print(text, flush=True)


def arguments():
    keys = [way.key for way in WAYS]
    parser = argparse.ArgumentParser(
        prog="docker/run.py", description=__doc__,
        epilog="WEIR_DEMO_NAME, WEIR_DEMO_NET4 (10.99.77) and WEIR_DEMO_NET6 (fd99:77:) name the "
        "project and its networks; WEIR_DEMO_BASE is an image of Debian to build from. "
        f"Exit status: 0 done, 1 failed, {NO_ENGINE} no Docker engine can run here. All of it "
        "takes about ten minutes; its images stay for the next run.")
    parser.add_argument("--rounds", type=number(int, 1), help="rounds of all ways (3)")
    parser.add_argument("--seconds", type=number(float, 0.1), help="length of a run (1)")
    parser.add_argument("--only", type=some_of(keys), metavar="WAY,...",
                        help=f"only these ways: {', '.join(keys)}")
    parser.add_argument("--family", choices=("4", "6", "both"), default="both",
                        help="IPv4, IPv6 or both (both)")
    parser.add_argument("--skip", type=some_of(ACTS), default=[], metavar="ACT,...",
                        help=f"leave out of {', '.join(ACTS)}")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(ROOT, "build/docker-demo"),
                        metavar="DIR", help="where results are written (build/docker-demo)")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s of fewer ways")
    parser.add_argument("--keep", action="store_true", help="leave the containers up")
    parser.add_argument("--clean", action="store_true",
                        help="only remove what an earlier run has left")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or 1
    chosen = options.only or (QUICK_WAYS if options.quick else keys)
    options.ways = [way for way in WAYS if way.key in chosen]
    options.families = (4, 6) if options.family == "both" else (int(options.family),)
    return options


def number(kind, least):
    def parse(text):
        value = kind(text)
        if not least <= value <= 3600:
            raise argparse.ArgumentTypeError(f"{text} is not from {least} to 3600")
        return value
    parse.__name__ = "number"
    return parse


def some_of(names):
    def parse(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join(names)}")
        return chosen
    return parse


@contextlib.contextmanager
def alone(name):
    """One demo of a name at a time. An abstract name ends with the process, whatever ends that."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(f"\0weir-demo/{name}")
        except OSError:
            raise Failure(f"another demo called {name} is running: wait for its end, or set "
                          "WEIR_DEMO_NAME, WEIR_DEMO_NET4 and WEIR_DEMO_NET6") from None
        yield


def heed_signals():
    """The first one ends the demo, but none ends the clearing up."""
    def handler(number, _frame):
        heed_no_signals()
        raise Interrupted(signal.Signals(number))
    for each in SIGNALS:
        signal.signal(each, handler)


def heed_no_signals():
    for each in SIGNALS:
        signal.signal(each, lambda *_: None)


def perform(site, options):
    """All acts; what one could not do is told, and the others go on."""
    result = {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds,
              "failed_acts": {}}
    for act, play in ACTS.items():
        if act not in options.skip:
            try:
                result[act] = play(site, options)
            except Failure as failure:
                result["failed_acts"][act] = unless_interrupted(failure)
                print(f"docker-demo: {act}: {failure}", file=sys.stderr, flush=True)
    return result


def measure(site, options):
    say(f"{len(options.ways) * len(options.families)} ways, {report.rounds(vars(options))} each")
    return rounds.measure(site, options.rounds, options.seconds, say, options.ways)


def attach(site, options):
    say("what attaching costs")
    return cost.cost(site, options.rounds, options.seconds, say)


def check_wire(site, options):
    say("checksums on the wire, and what is left after a detach")
    found = wire.check(site, options.ways)
    say(f"{found['frames']} frames checked, {found['bad']} bad; {len(found['put_back'])} devices "
        "are as they were")
    return found


ACTS = {"show": lambda site, options: show.show(site, tell),
        "ways": measure, "cost": attach, "wire": check_wire}


def write(result, options):
    options.out.mkdir(parents=True, exist_ok=True)
    texts = {"result.json": json.dumps(result, indent=1) + "\n"}
    if "ways" in result:
        texts["table.txt"] = report.table(result)
        if any(way.get("ratio_to_course") for way in result["ways"]):
            texts["chart.svg"] = chart.svg(result)
        else:
            say("no chart: its unit is the way called course")
    if "cost" in result:
        texts["cost.txt"] = cost.table(result["cost"]) + "\n"
    for name in RESULTS:
        (options.out / name).unlink(missing_ok=True)  # of an earlier run
    for name, text in texts.items():
        (options.out / name).write_text(text, encoding="utf-8")
    if "ways" in result:
        tell("\n" + report.table(result, columns()))
    if "cost" in result:
        tell("\n" + texts["cost.txt"])
    say(f"written to {options.out}: {', '.join(texts)}")


def columns():
    """Of the terminal, if it is one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else report.WIDE


def failures(result):
    failed = sum(way["failed"] + way["failed_runs"] for way in result.get("ways", ()))
    return failed + result.get("show", {}).get("failed", 0) + len(result["failed_acts"])


def how_to_use(site):
    tell(f"The containers are up. For example:\n"
         f"  docker exec {site.container('weir')} weir attach eth0\n"
         f"  docker exec {site.container('client')} wrk -d1s {site.url(site.address('tuned', 4))}\n"
         f"They go by: sudo {own_variables()}{shlex.quote(sys.argv[0])} --clean")


def own_variables():
    """What must be set again to mean the same containers."""
    own = [f"{name}={shlex.quote(os.environ[name])}"
           for name in ("WEIR_DEMO_NAME", "WEIR_DEMO_NET4", "WEIR_DEMO_NET6") if name in os.environ]
    return f"env {' '.join(own)} " if own else ""


def make_out(options):
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"--out {options.out}: {error.strerror}") from None


def demo(options, name):
    with contextlib.ExitStack() as clear_up:
        clear_up.callback(release, name, say)
        clear_up.callback(heed_no_signals)  # the first of these to be called
        provide(name, options.out, say)
        docker = Engine()
        site = Site(docker, options.families)
        site.down()
        site.check_networks()
        images.build(docker, name, say)
        say("containers")
        clear_up.callback(site.down)
        clear_up.callback(heed_no_signals)
        site.up()
        say("they serve")
        result = perform(site, options)
        write(result, options)
        if options.keep:
            clear_up.pop_all()
            how_to_use(site)
        else:
            say("clearing up")
    return 1 if failures(result) else 0


def clean(options, name):
    """An engine that was killed has left its containers running: it alone can remove them."""
    if not answers() and daemon.started_by_demo(name):
        say("starting dockerd again")
        daemon.start(name, options.out, answers)
    if answers():
        Site(Engine()).down()
    elif pathlib.Path("/sys/class/net", Site(None).bridge).exists():
        raise Failure(f"no engine answers, but the bridge {Site(None).bridge} is there: start the "
                      "engine, then try again")
    release(name, say)
    say("nothing of the demo is left but its images")
    return 0


def main():
    options = arguments()
    if os.geteuid() != 0:
        raise Failure("needs root: sudo make docker-demo")
    heed_signals()
    name = project_name()
    make_out(options)
    with alone(name):
        return clean(options, name) if options.clean else demo(options, name)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"docker-demo: {failure}", file=sys.stderr)
        sys.exit(NO_ENGINE if isinstance(failure, NoEngine) else 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Interrupted as interrupted:
        print("docker-demo: interrupted; all that it made is removed but its images",
              file=sys.stderr)
        sys.exit(128 + interrupted.args[0])
