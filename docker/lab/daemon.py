# SPDX-License-Identifier: GPL-2.0
"""A dockerd that the demo starts, and stops. What was started is on record in /run: the next demo
stops what a killed one has left."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

from lab import firewall
from lab.tools import NoEngine, finish, last_line

UNITS = ("docker.service", "docker.socket", "containerd.service")
PIDFILE = pathlib.Path("/run/docker.pid")
CONTAINERD_PIDFILE = pathlib.Path("/run/docker/containerd/containerd.pid")
PROGRAMS = {"docker.pid": "dockerd", "containerd.pid": "containerd"}
START = 120  # seconds
ENDING = 15
STOP = 90


def record(name):
    return pathlib.Path(f"/run/{name}.engine")


def note(name, **what):
    """In one step: half a record would be in the way of every demo after this one."""
    new = record(name).with_suffix(".new")
    new.write_text(json.dumps(what), encoding="ascii")
    new.replace(record(name))


def started_by_demo(name):
    return record(name).exists()


def remembered(name):
    return json.loads(record(name).read_text(encoding="ascii"))


def start(name, work, answers):
    # One that was killed has left its rules, its bridge and units: what was there before it counts.
    known = remembered(name) if started_by_demo(name) else {}
    before = known["before"] if known else firewall.snapshot()
    if await_other(answers):
        return
    if os.path.isdir("/run/systemd/system") and has_unit():
        off = [unit for unit in UNITS if unit in known.get("units", ()) or
               finish(["systemctl", "is-active", unit], check=False).returncode]
        note(name, units=off, before=before)
        finish(["systemctl", "start", "--no-block", "docker.service"], check=False)
        process, told = None, "systemctl status docker"
    else:
        told = pathlib.Path(work, "dockerd.log")
        with open(told, "wb") as log:
            process = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
        note(name, pid=process.pid, born=born(process.pid), before=before)
    end = time.monotonic() + START
    while not answers():
        if process and process.poll() is not None or time.monotonic() > end:
            why = last_line(told.read_text(errors="replace")) if process else "it does not start"
            stop(name)
            raise NoEngine(f"dockerd does not run here: {why} (see {told})")
        time.sleep(0.1)


def await_other(answers):
    """Whether one that runs already has begun to answer. Of one that was killed containerd ends in
    a moment, too; a dockerd that takes its number for a running one waits for it in vain."""
    pid = running(PIDFILE)
    end = time.monotonic() + (START if pid else ENDING)
    while not pid and running(CONTAINERD_PIDFILE) and time.monotonic() < end:
        time.sleep(0.05)
    while pid and not answers():
        if time.monotonic() > end:
            raise NoEngine(f"dockerd runs as process {pid}, but does not answer: stop it, or let "
                           "it go on")
        time.sleep(0.1)
    return bool(pid)


def running(pidfile):
    """The number that a program has left. Of one that was killed it may be that
    of something else now; then the program does not start, and so the file goes."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pidfile.read_text(encoding="ascii"))
        if born(pid) is not None and comm(pid) == PROGRAMS[pidfile.name]:
            return pid
        pidfile.unlink()
    return None


def comm(pid):
    return pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()


def has_unit():
    return not finish(["systemctl", "cat", "docker.service"], check=False).returncode


def born(pid):
    """When a process began, which tells it from a later one of the same number; None if there is
    none."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] == "Z" else int(fields[19])


def stop(name):
    """Stops what start() has started, if it did."""
    if not started_by_demo(name):
        return
    it = remembered(name)
    if "units" in it:
        # The socket would start it again.
        finish(["systemctl", "stop", *sorted(it["units"], key=lambda unit: "socket" not in unit)],
               check=False, timeout=STOP)
    else:
        end_process(it["pid"], it["born"])
    firewall.restore(it["before"])
    record(name).unlink()


def end_process(pid, since):
    end = time.monotonic() + STOP
    if since is not None and born(pid) == since:
        os.kill(pid, signal.SIGTERM)
    while since is not None and born(pid) == since and time.monotonic() < end:
        time.sleep(0.05)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
